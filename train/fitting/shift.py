"""A parent artifact and a few labels from traffic in, the same with its log-odds moved out.

The log shows one tier's answer to most questions and says of few whether it was right: far too
little to grow trees on, and enough to learn where this traffic differs from what the parent was
fitted on. So the heads stay, and a linear term over the question's vector is added to each tier's
log-odds: logistic regression with the parent's own log-odds as its offset and a prior that holds
the term at zero. Without labels nothing moves; fifty labels move little; thousands move it far.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import KFold

from router.artifact import Artifact
from router.calibration import logit
from router.estimate import ArtifactEstimator
from router.tiers import Ladder, Tier
from train.samples.examples import Example
from train.samples.vectors import Vectors

Numbers = NDArray[np.float64]

BIAS_PRIOR: Final = 4.0
WEIGHT_PRIOR: Final = 1.0
"""Precisions of the normal priors on the constant and on each weight of the (unit) vector. Chosen:
the constant as if 16 balanced labels had said "as the parent says"; a direction of meaning may
move the log-odds by about 1. The signals get no weight: they have no bounds, and a question unlike
the labelled ones would be carried far away."""
ROUNDS: Final = 12
HALVINGS: Final = 12
FOLDS: Final = 5


def keep_known(examples: Sequence[Example], tiers: Sequence[str]) -> list[Example]:
    """The examples with a label of a tier that the artifact knows, other tiers left out."""
    known = [
        replace(example, answers={t: a for t, a in example.answers.items() if t in tiers})
        for example in examples
    ]
    return [e for e in known if any(a.correct is not None for a in e.answers.values())]


def is_unseen(parent: Artifact, examples: Sequence[Example]) -> NDArray[np.bool_]:
    """(n,) they were asked after all that the parent learnt from the log, if it did from one.

    Of what it has seen it tells more than of anything else, and what it learnt there is not to be
    learnt twice.
    """
    until = float(parent.manifest.get("until", -np.inf))
    return np.array([example.at > until for example in examples], bool)


def shifted(
    parent: Artifact, examples: Sequence[Example], vectors: Vectors, *, seed: int
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The parent's arrays with the shift added, and figures of it on labels kept apart."""
    dim = parent.dim
    rows = np.asarray(vectors - parent.shift.centre[:dim], np.float64)
    arrays = {name: np.array(values) for name, values in parent.arrays.items()}
    metrics: dict[str, Any] = {}
    prior = _prior(parent, examples, vectors)
    for place, tier in enumerate(parent.tiers):
        told = [i for i, e in enumerate(examples) if _label(e, tier) is not None]
        if not told:
            continue
        label = np.array([_label(examples[i], tier) for i in told], float)
        weight = np.array([examples[i].weight for i in told])
        x, offset = rows[told], prior[told, place]
        apart = _kept_apart(x, offset, label, weight, seed)
        # Where it says less of labels kept apart than the parent does, nothing is to be moved.
        is_moved = apart.get("log_loss_shifted", -np.inf) < apart["log_loss_parent"]
        if is_moved:
            term = fit_shift(x, offset, label, weight)
            arrays["shift_bias"][place] += term[-1]
            arrays["shift_weights"][:dim, place] += term[:-1]
        metrics[tier] = {"labels": len(told), "moved": is_moved, **apart}
    return arrays, metrics


def fit_shift(x: Numbers, offset: Numbers, label: Numbers, weight: Numbers) -> Numbers:
    """(columns + 1,) weights and constant, most likely given the labels and the prior at zero.

    Newton's steps on the penalised log-likelihood, each halved until it does not lead downhill:
    from odds far off a whole one leads to where the likelihood is flat. `label` may lie between 0
    and 1.
    """
    wide = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    prior = np.append(np.full(x.shape[1], WEIGHT_PRIOR), BIAS_PRIOR)
    # Weights tell whom to believe more, not that there were more labels.
    weight = weight / weight.mean()

    def worth(term: Numbers) -> float:
        odds = offset + wide @ term
        return float(weight @ (label * odds - np.logaddexp(0.0, odds)) - prior @ term**2 / 2.0)

    term = np.zeros(wide.shape[1])
    for _ in range(ROUNDS):
        chance = 1.0 / (1.0 + np.exp(-np.clip(offset + wide @ term, -30, 30)))
        slope = wide.T @ (weight * (label - chance)) - prior * term
        curve = (wide * (weight * chance * (1 - chance))[:, None]).T @ wide + np.diag(prior)
        step, before = np.linalg.solve(curve, slope), worth(term)
        steps = (term + step / 2**halved for halved in range(HALVINGS))
        term = next((each for each in steps if worth(each) >= before), term)
    return term


def _kept_apart(
    x: Numbers, offset: Numbers, label: Numbers, weight: Numbers, seed: int
) -> dict[str, float]:
    """Log loss of the parent and of the shift, the latter on folds that it was not fitted on."""
    before = _log_loss(offset, label, weight)
    if len(label) < 2 * FOLDS:
        return {"log_loss_parent": before}
    moved = offset.copy()
    for fitted_on, kept in KFold(FOLDS, shuffle=True, random_state=seed).split(x):
        term = fit_shift(x[fitted_on], offset[fitted_on], label[fitted_on], weight[fitted_on])
        moved[kept] += x[kept] @ term[:-1] + term[-1]
    return {"log_loss_parent": before, "log_loss_shifted": _log_loss(moved, label, weight)}


def _log_loss(odds: Numbers, label: Numbers, weight: Numbers) -> float:
    chance = np.clip(1.0 / (1.0 + np.exp(-odds)), 1e-4, 1 - 1e-4)
    loss = -(label * np.log(chance) + (1 - label) * np.log(1 - chance))
    return float(np.average(loss, weights=weight))


def _prior(parent: Artifact, examples: Sequence[Example], vectors: Vectors) -> Numbers:
    """(n, tiers) the parent's log-odds of each tier's answer, by all that was known of it.

    Where the parent itself judged the answer, that is its confidence: an answer is served because
    it looked right, and so labels come from the better-looking ones. Against the odds before any
    answer they would make a tier seem better than it is; given its looks they are fair.
    """
    ladder = Ladder([Tier(name=name, model=name) for name in parent.tiers])
    estimator = ArtifactEstimator(ladder, parent)
    chances = []
    for example, vector in zip(examples, vectors, strict=True):
        estimate = estimator.estimate(example.task(vector, len(ladder), 0.5), {})
        assert estimate is not None, "a vector of the parent's width"  # noqa: S101 - a bug of ours
        judged = example.answers if example.artifact == parent.version else {}
        confidences = [judged[tier].confidence if tier in judged else None for tier in parent.tiers]
        chances.append(
            [
                before if after is None else after
                for before, after in zip(estimate.right, confidences, strict=True)
            ]
        )
    return logit(np.array(chances))


def _label(example: Example, tier: str) -> float | None:
    answer = example.answers.get(tier)
    return answer.correct if answer else None
