"""Judged pairs in, the risk model and its operating table out.

Every figure of the table is cross-fitted: a row is judged by a model that has not seen it. Two
models are fitted alike: one on the cosine and the facets, and one that is told the verifier's
verdict as well, over the pairs that the first one leaves in doubt.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from cache.risk import INPUTS, VERDICT, OperatingPoint, RiskModel
from train.similarity.coverage import lower_bound, upper_bound
from train.similarity.judged import Numbers, Pairs

GRID: Final = tuple(float(hits) for hits in np.geomspace(40, 6400, 23).round())
"""Chosen before any label is seen: the effective hits at which the operating table has a point."""

_STRENGTH: Final = 1.0
"""Inverse of the ridge. Measured: .05, .3 and 1 differ by less than .003 AUC on each file."""

_FOLDS: Final = 5
_ROUNDS: Final = 3
"""Chosen: three shuffles of five folds, their risks averaged."""


@dataclass(frozen=True, eq=False)
class CrossFit:
    """What was said of each pair by models that have not seen it.

    Attributes:
        logits: (n,) float64, of being wrong, not yet scaled.
        scale: Platt's slope.
        offset: Platt's offset.
    """

    logits: Numbers
    scale: float
    offset: float

    def risks(self, pairs: Pairs) -> Numbers:
        """(n,) float64 in [0, 1]; infinite where a veto forbids."""
        return risks_of(pairs, self.scale * self.logits + self.offset)


def cross_fit(pairs: Pairs, seed: int) -> CrossFit:
    """The cross-fitted logits, and their scale over what no veto forbids."""
    logits = cross_fitted(pairs, seed)
    open_rows = ~pairs.vetoed
    platt = LogisticRegression(C=1e6)
    platt.fit(
        logits[open_rows, np.newaxis],
        ~pairs.good[open_rows],
        sample_weight=pairs.weight[open_rows],
    )
    return CrossFit(logits, float(platt.coef_[0, 0]), float(platt.intercept_[0]))


def cross_fitted(pairs: Pairs, seed: int) -> Numbers:
    """(n,) float64: each row's raw logit of being wrong."""
    logits = np.zeros(len(pairs.good))
    for turn in range(_ROUNDS):
        folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed + turn)
        for rows, held in folds.split(pairs.x, 2 * pairs.file + pairs.good):
            weights, intercept = coefficients(pairs, rows)
            logits[held] += (pairs.x[held] @ weights + intercept) / _ROUNDS
    return logits


def coefficients(pairs: Pairs, rows: NDArray[Any]) -> tuple[Numbers, float]:
    """Weights and intercept for unscaled inputs: (inputs,) float64, and one number."""
    x = pairs.x[rows]
    mean, spread = x.mean(axis=0), x.std(axis=0) + 1e-9
    head = LogisticRegression(C=_STRENGTH, max_iter=5000)
    head.fit((x - mean) / spread, ~pairs.good[rows], sample_weight=pairs.weight[rows])
    weights = head.coef_[0] / spread
    return weights, float(head.intercept_[0] - weights @ mean)


def left_out(pairs: Pairs, held: NDArray[np.bool_]) -> Numbers:
    """(n,) float64: logits of the `held` rows by a model fitted on the others; else 0."""
    weights, intercept = coefficients(pairs, np.flatnonzero(~held))
    return np.where(held, pairs.x @ weights + intercept, 0.0)


def risks_of(pairs: Pairs, logits: Numbers) -> Numbers:
    """(n,) float64; infinite where a veto forbids."""
    return np.where(pairs.vetoed, np.inf, 1.0 / (1.0 + np.exp(-logits)))


def fit(
    pairs: Pairs, told: CrossFit, restated_risk: float, doubt: float | None = None
) -> RiskModel:
    """The model fitted on all rows; its scale and table come from the cross-fitted logits."""
    weights, intercept = coefficients(pairs, np.arange(len(pairs.good)))
    names = (*INPUTS, VERDICT) if len(weights) > len(INPUTS) else INPUTS
    return RiskModel(
        names=names,
        intercept=intercept,
        weights=tuple(map(float, weights)),
        scale=told.scale,
        offset=told.offset,
        restated_risk=restated_risk,
        doubt=doubt,
        points=operating_points(pairs, told.risks(pairs)),
        lowest=float(pairs.x[:, 0].min()),
    )


def with_verdicts(pairs: Pairs, verdicts: Numbers, doubtful: NDArray[np.bool_]) -> Pairs:
    """The same pairs with a further input; what the cheap stage refuses is vetoed."""
    return replace(pairs, x=np.column_stack([pairs.x, verdicts]), vetoed=pairs.vetoed | ~doubtful)


def operating_points(pairs: Pairs, risks: Numbers) -> tuple[OperatingPoint, ...]:
    """One point for each step of `GRID` that the rows reach."""
    order = np.argsort(risks, kind="stable")[: int(np.isfinite(risks).sum())]
    weight, wrong = pairs.weight[order], ~pairs.good[order]
    served = np.cumsum(weight)
    hits = served**2 / np.cumsum(weight**2)  # Kish's effective number
    wrong_ratio = np.cumsum(weight * wrong) / served
    points = []
    for wanted in GRID:
        row = int(np.searchsorted(hits, wanted))
        if row < len(order):
            n, ratio = float(hits[row]), float(wrong_ratio[row])
            points.append(
                OperatingPoint(
                    risk=round(float(risks[order[row]]), 6),
                    coverage=round(_coverage(pairs, order[: row + 1]), 5),
                    wrong_ratio=round(ratio, 5),
                    upper=round(upper_bound(ratio * n, n), 5),
                    hits=round(n, 1),
                    worst=round(_worst(pairs, order[: row + 1]), 5),
                )
            )
    return tuple(points)


def _worst(pairs: Pairs, rows: NDArray[Any]) -> float:
    """The highest of the corpora's lower bounds of the share of wrong hits among `rows`."""
    corpus, wrong = pairs.corpus[rows], ~pairs.good[rows]
    lows = [0.0]
    for place in np.unique(corpus):
        share = pairs.share[rows][corpus == place]
        hits = float(share.sum() ** 2 / (share**2).sum())
        ratio = float(share @ wrong[corpus == place] / share.sum())
        lows.append(lower_bound(ratio * hits, hits))
    return max(lows)


def _coverage(pairs: Pairs, rows: NDArray[Any]) -> float:
    """Share of all questions that `rows` are, the mean over the files."""
    shares = np.bincount(pairs.file[rows], pairs.share[rows], minlength=len(pairs.files))
    return float(np.mean(shares))
