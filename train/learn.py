"""Fully labelled rows in, an artifact's arrays out: every head cross-fitted, then fitted on all.

A head of a later state stands on the heads before it: the forests see what the linear heads
foretell, and a plan's gain is the gain of serving what the next state's heads would choose. So
each of these is taken from a fit that never saw the row (5 folds), and calibration, the gains'
usual limits and the table of quality and price rest on such scores alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GroupKFold
from tqdm import tqdm

from router.artifact import Held, plans_above, state_key, subsets
from router.calibration import calibrated, logit
from router.decision import AnswerView, Task
from router.estimate import MAX_LOG_TOKENS, Estimate
from router.features import answers_row
from router.signals import Reading, question_signals, read_answer, read_question
from router.tiers import Ladder
from train.dataset import Example, Vectors
from train.heads import Targets, cross_fitted, fit_heads
from train.trees import DEFAULT, Split, TreesConfig

_BLANK = re.compile(r"[\d\W]+")
Numbers = NDArray[np.float64]
Rows = NDArray[np.float32]

FOLDS: Final = 5
RIDGE: Final = 3000.0
"""Measured: train rows, cross-fitted: AUC of the three heads .688 .698 .680 at 3000, within .002 of
that at 1000 and 10000 (columns of unit scale, 9,003 rows)."""
FAMILY_CHARACTERS: Final = 80
"""Chosen: templates differ in numbers and in their ends; 11,906 rows make 10,634 families."""
MOST_QUANTILE: Final = 0.995
"""Chosen: one answer in two hundred may have called for an escalation that a stream, relayed at
once on the strength of this limit, no longer allows."""


@dataclass(slots=True)
class Crossed:
    """Cross-fitted scores by state: what a router fitted on other rows would have said.

    Attributes:
        right: By state, then place, (n,) calibrated chances.
        gain: By state, then plan, (n,) gains.
        tokens: (n, tiers) foretold log1p of tokens.
    """

    right: dict[Held, dict[int, Numbers]] = field(default_factory=dict)
    gain: dict[Held, dict[Held, Numbers]] = field(default_factory=dict)
    tokens: Numbers = field(default_factory=lambda: np.empty((0, 0)))


@dataclass(frozen=True, slots=True, eq=False)
class Rowset:
    """The examples as arrays.

    Attributes:
        question: (n, dim + signals) float32.
        readings: (n) tuples of the answers' readings, smallest tier first.
        labels: (n, tiers) float64.
        log_tokens: (n, tiers) float64.
        dim: Width of the vectors.
        families: (n), alike for questions that may be one and the same in other numbers: no fold
            parts them, or a head would be asked what it has all but seen.
    """

    question: Rows
    readings: Sequence[tuple[Reading, ...]]
    labels: Numbers
    log_tokens: Numbers
    dim: int
    families: Sequence[str]


def rowset(examples: Sequence[Example], vectors: Vectors, tiers: Sequence[str]) -> Rowset:
    """Every signal of every example, read once."""
    queries = [example.query for example in examples]
    signals = np.array([question_signals(query) for query in queries], np.float32)
    answers = [[example.answers[tier] for tier in tiers] for example in examples]
    return Rowset(
        question=np.concatenate([vectors, signals], axis=1),
        readings=[
            tuple(read_answer(asked, told.text, told.tokens_out) for told in row)
            for asked, row in zip(map(read_question, queries), answers, strict=True)
        ],
        labels=np.array([[told.correct or 0.0 for told in row] for row in answers]),
        log_tokens=np.array([[np.log1p(told.tokens_out) for told in row] for row in answers]),
        dim=vectors.shape[1],
        families=[_BLANK.sub(" ", query.lower())[:FAMILY_CHARACTERS] for query in queries],
    )


def learn(
    rows: Rowset, seed: int, config: TreesConfig = DEFAULT
) -> tuple[dict[str, NDArray[Any]], Crossed]:
    """The arrays of an artifact but for its table, and the cross-fitted scores that fill that."""
    count, tiers = rows.labels.shape
    splits = folds_of(rows, seed)
    linear, foretold = learn_linear(rows, splits)
    arrays: dict[str, NDArray[Any]] = dict(linear)
    crossed = Crossed(tokens=foretold[:, tiers:])
    served: dict[Held, Numbers] = {(): np.zeros(count)}
    # Largest sets first: a plan's gain is told by the state that it leads to.
    states = sorted(subsets(tiers), key=len, reverse=True)
    for held in tqdm(states, desc="states", delay=1):
        told = state_rows(foretold[:, :tiers], rows, held)
        plans = plans_above(held, tiers)
        right = [rows.labels[:, place] for place in held]
        seen = partial(cross_fitted, told, held=len(held), splits=splits, seed=seed, config=config)
        if held:
            chances = seen(Targets(right=right, before=served[()], after=[]))
            _calibrate(arrays, crossed, held, chances.T, rows.labels)
            chances = np.array([crossed.right[held][place] for place in held])
            best = np.array(held)[chances.argmax(axis=0)]
            served[held] = rows.labels[np.arange(count), best]
        after = [served[held + plan] for plan in plans]
        gains = seen(Targets(right=[], before=served[held], after=after)).T if plans else ()
        crossed.gain[held] = dict(zip(plans, gains, strict=True))
        if not held:
            _calibrate(arrays, crossed, held, np.array(gains[:tiers]), rows.labels)
        targets = Targets(right=right, before=served[held], after=after)
        fitted = fit_heads(told, targets, len(held), seed, config)
        arrays |= fitted.arrays(held, config.depth, told.shape[1])
        arrays[f"{state_key(held)}_most_gain"] = np.array(
            [np.quantile(gain, MOST_QUANTILE) for gain in gains]
        )
    return arrays, crossed


def folds_of(rows: Rowset, seed: int) -> list[Split]:
    """The folds that no family of questions straddles."""
    folds = GroupKFold(FOLDS, shuffle=True, random_state=seed)
    return list(folds.split(np.empty(len(rows.labels)), groups=rows.families))


def learn_linear(rows: Rowset, splits: Sequence[Split]) -> tuple[dict[str, NDArray[Any]], Numbers]:
    """The linear heads' arrays, and their cross-fitted scores (n, 2 tiers)."""
    target = np.concatenate([rows.labels, rows.log_tokens], axis=1)
    centre, scale = rows.question.mean(axis=0), rows.question.std(axis=0)
    # One scale for the whole vector, lest directions without variance be blown up.
    scale[: rows.dim] = max(float(scale[: rows.dim].mean()), 1e-6)
    scale = np.where(scale > 1e-6, scale, 1.0)  # noqa: PLR2004 - a column that never varies
    unit = (rows.question - centre) / scale
    scores = np.zeros_like(target)
    for fitted_on, kept in splits:
        scores[kept] = (
            Ridge(alpha=RIDGE).fit(unit[fitted_on], target[fitted_on]).predict(unit[kept])
        )
    whole = Ridge(alpha=RIDGE).fit(unit, target)
    tiers = rows.labels.shape[1]
    # What the logarithm takes from the mean is given back, so that foretold costs add up.
    foretold = np.expm1(np.clip(scores[:, tiers:], 0, MAX_LOG_TOKENS)).mean(axis=0)
    smear = np.log(np.expm1(rows.log_tokens).mean(axis=0) / np.maximum(foretold, 1e-9))
    scores[:, tiers:] += smear
    bias = np.asarray(whole.intercept_, float)
    bias[tiers:] += smear
    wide = rows.question.shape[1]
    arrays = {
        "linear_centre": centre.astype(np.float32),
        "linear_weights": (whole.coef_.T / scale[:, None]).astype(np.float32),
        "linear_bias": bias.astype(np.float32),
        "scale": scale.astype(np.float32),
        "shift_centre": centre.astype(np.float32),
        "shift_weights": np.zeros((wide, tiers), np.float32),
        "shift_bias": np.zeros(tiers, np.float32),
    }
    return arrays, scores


def state_rows(chances: Numbers, rows: Rowset, held: Held) -> Rows:
    """What a state's heads see, (n, width): the linear heads' chances, question and answers."""
    told = [answers_row([reading[place] for place in held]) for reading in rows.readings]
    parts = [chances, rows.question[:, rows.dim :], np.array(told)]
    return np.concatenate(parts, axis=1).astype(np.float32)


def _calibrate(
    arrays: dict[str, NDArray[Any]], crossed: Crossed, held: Held, raw: Numbers, labels: Numbers
) -> None:
    """Platt's numbers for each "is right" of the state; `raw` is (heads, n), cross-fitted."""
    places = held or tuple(range(labels.shape[1]))
    fits = [_platt(score, labels[:, place]) for score, place in zip(raw, places, strict=True)]
    slope, offset = (np.array(column, np.float64) for column in zip(*fits, strict=True))
    key = state_key(held)
    arrays[f"{key}_slope"], arrays[f"{key}_offset"] = slope, offset
    chances = calibrated(raw, slope[:, None], offset[:, None])
    crossed.right[held] = dict(zip(places, chances, strict=True))


def _platt(score: Numbers, label: Numbers) -> tuple[float, float]:
    """Slope and offset; a head whose label never varies keeps its score."""
    if len(np.unique(label > 0.5)) < 2:  # noqa: PLR2004 - right and wrong
        return 1.0, 0.0
    fit = LogisticRegression(C=1e6).fit(logit(score)[:, None], label > 0.5)  # noqa: PLR2004 - half right
    return float(fit.coef_[0, 0]), float(fit.intercept_[0])


@dataclass(frozen=True, slots=True)
class CrossedEstimator:
    """Estimates from cross-fitted scores, for the rows that they belong to."""

    crossed: Crossed
    ladder: Ladder
    place: Mapping[str, int]

    def estimate(self, task: Task, answers: Mapping[int, AnswerView]) -> Estimate | None:
        """See `router.estimate.Estimator`."""
        row, held = self.place[task.text], tuple(sorted(answers))
        prior = self.crossed.right[()]
        told = {**prior, **self.crossed.right[held]}
        costs = [
            float(tier.price.in_usd_per_mtok) * task.tokens_in / 1e6
            + float(tier.price.out_usd_per_mtok) * float(np.expm1(min(log, MAX_LOG_TOKENS))) / 1e6
            for tier, log in zip(self.ladder.tiers, self.crossed.tokens[row], strict=True)
        ]
        return Estimate(
            right=tuple(float(told[place][row]) for place in range(len(self.ladder))),
            gain={plan: float(gain[row]) for plan, gain in self.crossed.gain[held].items()},
            cost_usd=tuple(costs),
            most_gain={},
        )
