"""Rows of which only some tiers' answers are known in, an artifact's arrays out.

What the traffic log gives: of each question the answers that were asked for, labelled or not. It is
`train.learn` with gaps. Each head is fitted on the rows that tell its target, all heads with the
same folds; a set of tiers that nobody asked together tells nothing. Of a head over the question
alone a row counts as often as such rows were left unasked: what a climb reached is known for sure,
what was asked in shadow is known by chance, and the rest of its kind is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold

from router.artifact import Held, plans_above, state_key, subsets
from router.calibration import calibrated, logit
from router.estimate import MAX_LOG_TOKENS
from router.features import answers_row, answers_width
from router.signals import Reading, question_signals, read_answer
from train.dataset import Example, Vectors
from train.errors import DataError
from train.learn import FOLDS, MOST_QUANTILE, RIDGE, Crossed
from train.trees import DEFAULT, Split, TreesConfig, fit_trees, forest_of

Numbers = NDArray[np.float64]
Rows = NDArray[np.float32]
Mask = NDArray[np.bool_]

LEAST_TOLD: Final = 100
"""Chosen: rows that must tell a head's target; below it five folds leave too little to grow on."""

MAX_ROW_WEIGHT: Final = 10.0
"""Chosen: as `train.dataset.MAX_WEIGHT`."""


@dataclass(frozen=True, slots=True, eq=False)
class PartialRows:
    """The examples as arrays; what is not known is NaN.

    Attributes:
        question: (n, dim + signals) float32.
        readings: (n) the known answers' readings, by place.
        labels: (n, tiers) float64.
        log_tokens: (n, tiers) float64.
        weight: (n, tiers) float64, how many requests' answers this one stands for.
        dim: Width of the vectors.
    """

    question: Rows
    readings: Sequence[Mapping[int, Reading]]
    labels: Numbers
    log_tokens: Numbers
    weight: Numbers
    dim: int

    @property
    def is_whole(self) -> Mask:
        """(n,) every tier's answer is known, and whether it was right."""
        return np.asarray(np.isfinite(self.labels).all(axis=1))

    def has(self, held: Held) -> Mask:
        """(n,) these tiers' answers are known."""
        return np.array([all(place in told for place in held) for told in self.readings])


def partial_rows(
    examples: Sequence[Example], vectors: Vectors, tiers: Sequence[str]
) -> PartialRows:
    """Every signal of every answer, read once."""
    signals = np.array([question_signals(example.query) for example in examples], np.float32)
    shape = (len(examples), len(tiers))
    labels, log_tokens, weight = np.full(shape, np.nan), np.full(shape, np.nan), np.ones(shape)
    readings: list[dict[int, Reading]] = []
    for row, example in enumerate(examples):
        read: dict[int, Reading] = {}
        for place, tier in enumerate(tiers):
            if (told := example.answers.get(tier)) is None:
                continue
            read[place] = read_answer(example.query, told.text, told.tokens_out)
            labels[row, place] = np.nan if told.correct is None else told.correct
            log_tokens[row, place] = np.log1p(told.tokens_out)
            weight[row, place] = min(MAX_ROW_WEIGHT, 1.0 / max(told.share, 1e-6))
        readings.append(read)
    question = np.concatenate([vectors, signals], axis=1)
    return PartialRows(question, readings, labels, log_tokens, weight, vectors.shape[1])


def learn_partial(
    rows: PartialRows, seed: int, config: TreesConfig = DEFAULT
) -> tuple[dict[str, NDArray[Any]], Crossed]:
    """The arrays of an artifact but for its table, and the cross-fitted scores.

    Scores of a state are NaN in rows that do not know its answers.

    Raises:
        DataError: Too few rows tell a head's target.
    """
    count, tiers = rows.labels.shape
    splits: list[Split] = list(KFold(FOLDS, shuffle=True, random_state=seed).split(np.empty(count)))
    arrays, foretold = _learn_linear(rows, splits)
    crossed = Crossed(tokens=foretold[:, tiers:])
    shared = np.concatenate([foretold[:, :tiers], rows.question[:, rows.dim :]], axis=1)
    served: dict[Held, Numbers] = {(): np.zeros(count)}
    learner = _States(splits, seed, config)
    # Largest sets first: a plan's gain is told by the state that it leads to.
    for held in sorted(subsets(tiers), key=len, reverse=True):
        known = rows.has(held)
        features = _state_rows(shared, rows, held, known)
        # Given the answers held, whoever was asked next was chosen by what the heads see too.
        plans = plans_above(held, tiers)
        weights = [np.ones(count) if held else rows.weight[:, plan].max(axis=1) for plan in plans]
        heads = [rows.labels[:, place] for place in held]
        scores = [learner.crossed(features, known, head, np.ones(count)) for head in heads]
        if held:
            _calibrate(arrays, crossed, held, np.array(scores), rows.labels)
            served[held] = _served(crossed, rows, held, known)
        targets = [served[held + plan] - served[held] for plan in plans]
        gains = [
            learner.crossed(features, known, target, weight)
            for target, weight in zip(targets, weights, strict=True)
        ]
        crossed.gain[held] = dict(zip(plans, gains, strict=True))
        if not held:
            _calibrate(arrays, crossed, held, np.array(gains[:tiers]), rows.labels)
        every = [*((head, np.ones(count)) for head in heads), *zip(targets, weights, strict=True)]
        learner.store(arrays, held, features, every)
        most = [float(np.quantile(gain[known], MOST_QUANTILE)) for gain in gains]
        arrays[f"{state_key(held)}_most_gain"] = np.array(most)
    return arrays, crossed


def _served(crossed: Crossed, rows: PartialRows, held: Held, known: Mask) -> Numbers:
    """(n,) the label of the answer of best chance; NaN where it is not told."""
    chances = np.array([crossed.right[held][place] for place in held])
    best = np.array(held)[np.where(known, chances, 0.0).argmax(axis=0)]
    told = rows.labels[np.arange(len(best)), best]
    return np.where(known, told, np.nan)


def _learn_linear(
    rows: PartialRows, splits: Sequence[Split]
) -> tuple[dict[str, NDArray[Any]], Numbers]:
    """The linear heads' arrays, and their cross-fitted scores (n, 2 tiers)."""
    target = np.concatenate([rows.labels, rows.log_tokens], axis=1)
    weight = np.concatenate([rows.weight, rows.weight], axis=1)
    centre, scale = rows.question.mean(axis=0), rows.question.std(axis=0)
    # One scale for the whole vector, lest directions without variance be blown up.
    scale[: rows.dim] = max(float(scale[: rows.dim].mean()), 1e-6)
    scale = np.where(scale > 1e-6, scale, 1.0)  # noqa: PLR2004 - a column that never varies
    unit = (rows.question - centre) / scale
    tiers, wide = rows.labels.shape[1], rows.question.shape[1]
    scores, weights, bias = np.zeros(target.shape), np.zeros((wide, 2 * tiers)), np.zeros(2 * tiers)
    for head in range(2 * tiers):
        told = np.isfinite(target[:, head])
        if told.sum() < LEAST_TOLD:
            raise DataError(f"{told.sum()} rows tell of tier {head % tiers}; {LEAST_TOLD} must")
        for fitted_on, kept in splits:
            some = fitted_on[told[fitted_on]]
            fit = Ridge(alpha=RIDGE).fit(unit[some], target[some, head], weight[some, head])
            scores[kept, head] = fit.predict(unit[kept])
        whole = Ridge(alpha=RIDGE).fit(unit[told], target[told, head], weight[told, head])
        weights[:, head], bias[head] = whole.coef_, whole.intercept_
    smear = _smear(scores[:, tiers:], rows.log_tokens)
    scores[:, tiers:] += smear
    bias[tiers:] += smear
    arrays = {
        "linear_centre": centre.astype(np.float32),
        "linear_weights": (weights / scale[:, None]).astype(np.float32),
        "linear_bias": bias.astype(np.float32),
        "scale": scale.astype(np.float32),
        "shift_centre": centre.astype(np.float32),
        "shift_weights": np.zeros((wide, tiers), np.float32),
        "shift_bias": np.zeros(tiers, np.float32),
    }
    return arrays, scores


def _smear(foretold: Numbers, log_tokens: Numbers) -> Numbers:
    """What the logarithm takes from the mean, given back, so that foretold costs add up."""
    told = np.isfinite(log_tokens)
    most = np.where(told, np.expm1(np.clip(foretold, 0, MAX_LOG_TOKENS)), np.nan)
    smear: Numbers = np.log(
        np.nanmean(np.expm1(log_tokens), axis=0) / np.maximum(np.nanmean(most, axis=0), 1e-9)
    )
    return smear


def _state_rows(shared: Numbers, rows: PartialRows, held: Held, known: Mask) -> Rows:
    blank = np.zeros(answers_width(len(held)), np.float32)
    told = [
        answers_row([reading[place] for place in held]) if is_known else blank
        for reading, is_known in zip(rows.readings, known, strict=True)
    ]
    return np.concatenate([shared, np.array(told)], axis=1).astype(np.float32)


@dataclass(frozen=True, slots=True)
class _States:
    """Grows the trees of one state after the other."""

    splits: Sequence[Split]
    seed: int
    config: TreesConfig

    def crossed(self, features: Rows, known: Mask, target: Numbers, weight: Numbers) -> Numbers:
        """(n,) scores by trees that never saw the row; NaN where the answers are not known."""
        scores = np.full(len(target), np.nan)
        for fitted_on, kept in self.splits:
            grown = self._grown(features, target, weight, fitted_on)
            asked = kept[known[kept]]
            if len(asked):
                scores[asked] = grown.predict(features[asked])
        return scores

    def _grown(self, features: Rows, target: Numbers, weight: Numbers, some: Any) -> Any:
        told = some[np.isfinite(target[some])]
        if len(told) < LEAST_TOLD * (FOLDS - 1) // FOLDS:
            raise DataError(
                f"{len(told)} rows are too few to tell what a set of tiers gains; ask them together"
                ' for more requests ([router] shadow_tiers = "all")'
            )
        return fit_trees(features[told], target[told], self.seed, self.config, weight[told])

    def store(
        self,
        arrays: dict[str, NDArray[Any]],
        held: Held,
        features: Rows,
        heads: Sequence[tuple[Numbers, Numbers]],
    ) -> None:
        """The state's forest, each head (target, weight) fitted on all rows that tell of it."""
        every = np.arange(len(features))
        grown = [self._grown(features, target, weight, every) for target, weight in heads]
        forest, key = forest_of(grown, self.config.depth, features.shape[1]), state_key(held)
        arrays[f"{key}_columns"], arrays[f"{key}_thresholds"] = forest.columns, forest.thresholds
        arrays[f"{key}_leaves"], arrays[f"{key}_base"] = forest.leaves, forest.base


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
    told = np.isfinite(score) & np.isfinite(label)
    right = label[told] > 0.5  # noqa: PLR2004 - half right
    if len(np.unique(right)) < 2:  # noqa: PLR2004 - right and wrong
        return 1.0, 0.0
    fit = LogisticRegression(C=1e6).fit(logit(score[told])[:, None], right)
    return float(fit.coef_[0, 0]), float(fit.intercept_[0])
