"""Rows with some or all tiers' answers in, an artifact's arrays out: every head cross-fitted first.

A head of a state stands on the linear heads, and what a plan gains on how far the chances of one
state move until everybody has answered. So each of these is taken from a fit that never saw the row
(5 folds, no family of questions in two), and calibration, spreads, the gains' usual limits and the
table of quality and price rest on such scores alone.

The traffic log gives of each question the answers that were asked for, labelled or not. Each head
is fitted on the rows that tell its label; a set of tiers that nobody asked together tells nothing.
Of a head over the question alone a row counts as often as such rows were left unasked: what a climb
reached is known for sure, what was asked in shadow is known by chance, and the rest of its kind is
not. Rows that know everything count once.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
from router.features import answers_row, answers_width
from router.signals import Reading, question_signals, read_answer, read_question
from router.tiers import Ladder
from router.value import moves, spread_of, values
from train.errors import DataError
from train.fitting.heads import LEAST_TOLD, Head, StateLearner, StateRows
from train.fitting.trees import DEFAULT, Split, TreesConfig
from train.samples.examples import Example
from train.samples.traffic import MAX_WEIGHT
from train.samples.vectors import Vectors

Numbers = NDArray[np.float64]
Rows = NDArray[np.float32]
Mask = NDArray[np.bool_]

_BLANK = re.compile(r"[\d\W]+")
FOLDS: Final = 5
RIDGE: Final = 3000.0
"""Measured: train rows, cross-fitted: AUC of the three heads .688 .698 .680 at 3000, within .002 of
that at 1000 and 10000 (columns of unit scale, 9,003 rows)."""
FAMILY_CHARACTERS: Final = 80
"""Chosen: templates differ in numbers and in their ends; 11,906 rows make 10,634 families."""
FAMILY_SHARE: Final = 0.02
"""Chosen: what a fiftieth of all rows begins with is a kind of traffic and no near-duplicate."""
MOST_QUANTILE: Final = 0.995
"""Chosen: one answer in two hundred may have called for an escalation that a stream, relayed at
once on the strength of this limit, no longer allows."""


@dataclass(slots=True)
class Crossed:
    """Cross-fitted scores by state: what a router fitted on other rows would have said.

    NaN in rows that do not know the state's answers.

    Attributes:
        right: By state, then place, (n,) calibrated chances of every tier.
        gain: By state, then plan, (n,) gains.
        tokens: (n, tiers) foretold log1p of tokens.
    """

    right: dict[Held, dict[int, Numbers]] = field(default_factory=dict)
    gain: dict[Held, dict[Held, Numbers]] = field(default_factory=dict)
    tokens: Numbers = field(default_factory=lambda: np.empty((0, 0)))


@dataclass(frozen=True, slots=True, eq=False)
class Rowset:
    """The examples as arrays; what is not known is NaN.

    Attributes:
        question: (n, dim + signals) float32.
        readings: (n) the known answers' readings, by place.
        labels: (n, tiers) float64.
        log_tokens: (n, tiers) float64.
        weight: (n, tiers) float64, how many requests' answers this one stands for.
        dim: Width of the vectors.
        families: (n), alike for questions that may be one and the same in other numbers: no fold
            parts them, or a head would be asked what it has all but seen.
    """

    question: Rows
    readings: Sequence[Mapping[int, Reading]]
    labels: Numbers
    log_tokens: Numbers
    weight: Numbers
    dim: int
    families: Sequence[str]

    @property
    def is_whole(self) -> Mask:
        """(n,) every tier's answer is known, and whether it was right."""
        return np.asarray(np.isfinite(self.labels).all(axis=1))

    def has(self, held: Held) -> Mask:
        """(n,) these tiers' answers are known."""
        return np.array([all(place in told for place in held) for told in self.readings])

    def state(self, held: Held, chances: Numbers) -> StateRows:
        """What the state's heads see: the linear heads' `chances`, the question, the answers."""
        known, blank = self.has(held), np.zeros(answers_width(len(held)), np.float32)
        told = [
            answers_row([reading[place] for place in held]) if is_known else blank
            for reading, is_known in zip(self.readings, known, strict=True)
        ]
        parts = [chances.astype(np.float32), self.question[:, self.dim :], np.array(told)]
        return StateRows(held=held, rows=np.concatenate(parts, axis=1), known=known)


def rowset(examples: Sequence[Example], vectors: Vectors, tiers: Sequence[str]) -> Rowset:
    """Every signal of every answer, read once."""
    queries = [example.query for example in examples]
    shape = (len(examples), len(tiers))
    labels, log_tokens, weight = np.full(shape, np.nan), np.full(shape, np.nan), np.ones(shape)
    readings: list[dict[int, Reading]] = []
    for row, example in enumerate(examples):
        asked, read = read_question(example.query), {}
        for place, tier in enumerate(tiers):
            if (told := example.answers.get(tier)) is None:
                continue
            read[place] = read_answer(asked, told.text, told.tokens_out)
            labels[row, place] = np.nan if told.correct is None else told.correct
            log_tokens[row, place] = np.log1p(told.tokens_out)
            weight[row, place] = min(MAX_WEIGHT, 1.0 / max(told.share, 1e-6))
        readings.append(read)
    signals = np.array([question_signals(query) for query in queries], np.float32)
    return Rowset(
        question=np.concatenate([vectors, signals], axis=1),
        readings=readings,
        labels=labels,
        log_tokens=log_tokens,
        weight=weight,
        dim=vectors.shape[1],
        families=_families(queries),
    )


def _families(queries: Sequence[str]) -> list[str]:
    """The questions' beginnings without numbers; itself, where very many begin alike."""
    begun = [_BLANK.sub(" ", query.lower())[:FAMILY_CHARACTERS] for query in queries]
    size, most = Counter(begun), len(queries) * FAMILY_SHARE
    return [
        begin if size[begin] <= most else query for begin, query in zip(begun, queries, strict=True)
    ]


def folds_of(rows: Rowset, seed: int) -> list[Split]:
    """The folds that no family of questions straddles."""
    folds = GroupKFold(FOLDS, shuffle=True, random_state=seed)
    return list(folds.split(np.empty(len(rows.labels)), groups=rows.families))


def learn(
    rows: Rowset,
    seed: int,
    config: TreesConfig = DEFAULT,
    splits: Sequence[Split] | None = None,
) -> tuple[dict[str, NDArray[Any]], Crossed]:
    """The arrays of an artifact but for its table, and the cross-fitted scores that fill that.

    `splits` are the folds, if they are not to be `folds_of` the rows.

    Raises:
        DataError: Too few rows tell a head's target.
    """
    count, tiers = rows.labels.shape
    splits = folds_of(rows, seed) if splits is None else splits
    arrays, foretold = learn_linear(rows, splits)
    crossed = Crossed(tokens=foretold[:, tiers:])
    states = subsets(tiers)
    for held in tqdm(states, desc="states", delay=1):
        learner = StateLearner(rows.state(held, foretold[:, :tiers]), splits, seed, config)
        heads = [
            Head(
                label=rows.labels[:, place],
                # Given answers, whoever was asked next was chosen by what the heads see too.
                weight=np.ones(count) if held else rows.weight[:, place],
            )
            for place in range(tiers)
        ]
        raw = np.array([learner.crossed(head) for head in heads])
        _calibrate(arrays, crossed, held, raw, rows.labels)
        arrays |= learner.arrays(heads)
    for held in states:
        _weigh_plans(arrays, crossed, held, rows)
    return arrays, crossed


def _weigh_plans(
    arrays: dict[str, NDArray[Any]], crossed: Crossed, held: Held, rows: Rowset
) -> None:
    """How the state's chances may still move, and what each plan gains by that."""
    tiers = rows.labels.shape[1]
    everyone, plans = tuple(range(tiers)), plans_above(held, tiers)
    chances, last = (
        np.stack([crossed.right[of][place] for place in everyone], axis=1)
        for of in (held, everyone)
    )
    whole = rows.is_whole & np.isfinite(chances).all(axis=1)
    spread = spread_of(chances[whole], last[whole])
    sets, moved = [held, *(held + plan for plan in plans)], moves(spread)
    worths = np.array([values(row, moved, sets) for row in chances])  # NaN stays NaN
    gains = (worths[:, 1:] - worths[:, :1]).T
    crossed.gain[held] = dict(zip(plans, gains, strict=True))
    key = state_key(held)
    arrays[f"{key}_spread"] = spread
    arrays[f"{key}_most_gain"] = np.array([np.nanquantile(g, MOST_QUANTILE) for g in gains])


def learn_linear(rows: Rowset, splits: Sequence[Split]) -> tuple[dict[str, NDArray[Any]], Numbers]:
    """The linear heads' arrays, and their cross-fitted scores (n, 2 tiers).

    Raises:
        DataError: Too few rows tell of a tier.
    """
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


def _calibrate(
    arrays: dict[str, NDArray[Any]], crossed: Crossed, held: Held, raw: Numbers, labels: Numbers
) -> None:
    """Platt's numbers for each head of the state; `raw` is (tiers, n), cross-fitted."""
    fits = [_platt(score, label) for score, label in zip(raw, labels.T, strict=True)]
    slope, offset = (np.array(column, np.float64) for column in zip(*fits, strict=True))
    key = state_key(held)
    arrays[f"{key}_slope"], arrays[f"{key}_offset"] = slope, offset
    chances = calibrated(raw, slope[:, None], offset[:, None])
    crossed.right[held] = dict(enumerate(chances))


def _platt(score: Numbers, label: Numbers) -> tuple[float, float]:
    """Slope and offset; a head whose label never varies keeps its score."""
    told = np.isfinite(score) & np.isfinite(label)
    right = label[told] > 0.5  # noqa: PLR2004 - half right
    if len(np.unique(right)) < 2:  # noqa: PLR2004 - right and wrong
        return 1.0, 0.0
    fit = LogisticRegression(C=1e6).fit(logit(score[told])[:, None], right)
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
        told = self.crossed.right[held]
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
