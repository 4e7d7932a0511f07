"""One state's rows and what is to be foretold in, cross-fitted scores and the state's arrays out.

A head is the mean of two kinds. Boosted trees find what depends on what; a ridge over the folded
row (see `router.features.folded_row`) does not split few rows up any further. A row that does not
know a head's label (NaN) takes no part in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import Ridge

from router.artifact import Held, state_key
from router.features import folded_row
from train.errors import DataError
from train.fitting.trees import Split, TreesConfig, fit_trees, forest_of

Numbers = NDArray[np.float64]
Rows = NDArray[np.float32]
Chosen = NDArray[np.int64]

RIDGE: Final = 3000.0
"""Measured: (small, medium) state, lead .0234 with 3000 and .0231 with 300 (unit columns)."""
LIMIT: Final = 4.0
"""Chosen: standard deviations beyond which a column says no more to a linear head."""
LEAST_TOLD: Final = 100
"""Chosen: rows that must tell a head's target; below it five folds leave too little to grow on."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Head:
    """What one head learns.

    Attributes:
        label: (n,) how good a tier's answer was; NaN if not known.
        weight: (n,) how many rows this one stands for.
    """

    label: Numbers
    weight: Numbers

    def told(self, rows: Chosen) -> Chosen:
        """Those of `rows` that know the label.

        Raises:
            DataError: They are too few.
        """
        known: Chosen = rows[np.isfinite(self.label[rows])]
        if len(known) < LEAST_TOLD * 4 // 5:
            raise DataError(
                f"{len(known)} rows are too few to tell what a tier adds to others; ask them"
                ' together for more requests ([router] shadow_tiers = "all")'
            )
        return known


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class StateRows:
    """What the heads of one state see.

    Attributes:
        held: Places that have answered.
        rows: (n, width) float32.
        known: (n,) this row knows the held answers.
    """

    held: Held
    rows: Rows
    known: NDArray[np.bool_]

    def folded(self) -> Rows:
        """(n, wider) float32; see `router.features.folded_row`."""
        return folded_row(self.rows, len(self.held))

    def scale(self) -> tuple[Rows, Rows]:
        """Centre and spread of each folded column, over the rows that are known."""
        folded = self.folded()[self.known]
        spread = folded.std(axis=0)
        return folded.mean(axis=0), np.where(spread > 1e-6, spread, 1.0).astype(np.float32)  # noqa: PLR2004 - a column that never varies


@dataclass(frozen=True, slots=True, eq=False)
class FittedHead:
    """One head, fitted on some rows: trees, and a ridge over unit columns."""

    trees: HistGradientBoostingRegressor
    ridge: Ridge

    def scores(self, rows: Rows, unit: Rows) -> Numbers:
        """(n,) as the router will say them."""
        both: Numbers = (self.trees.predict(rows) + self.ridge.predict(unit)) / 2.0
        return both


class StateLearner:
    """Learns the heads of one state."""

    def __init__(
        self, state: StateRows, splits: Sequence[Split], seed: int, config: TreesConfig
    ) -> None:
        self._state = state
        self._splits = splits
        self._seed = seed
        self._config = config
        self._centre, self._scale = state.scale()
        unit = (state.folded() - self._centre) / self._scale
        self._unit: Rows = np.clip(unit, -LIMIT, LIMIT)

    def fit(self, head: Head, rows: Chosen) -> FittedHead:
        """The head, fitted on those of `rows` that know the state's answers and its label."""
        some = head.told(rows[self._state.known[rows]])
        label, weight = head.label[some], head.weight[some]
        seen = self._state.rows[some]
        trees = fit_trees(seen, label, self._seed, self._config, weight)
        ridge = Ridge(alpha=RIDGE).fit(self._unit[some], label, weight)
        return FittedHead(trees, ridge)

    def crossed(self, head: Head) -> Numbers:
        """(n,) scores by heads that never saw the row; NaN where the answers are not known."""
        scores = np.full(len(head.label), np.nan)
        for fitted_on, kept in self._splits:
            asked = kept[self._state.known[kept]]
            if len(asked):
                fitted = self.fit(head, fitted_on)
                scores[asked] = fitted.scores(self._state.rows[asked], self._unit[asked])
        return scores

    def elsewhere(self, head: Head, other: StateRows) -> Numbers:
        """(m,) scores of other rows, by the head fitted on all of these."""
        fitted = self.fit(head, np.arange(len(head.label)))
        unit = np.clip((other.folded() - self._centre) / self._scale, -LIMIT, LIMIT)
        return fitted.scores(other.rows, unit)

    def arrays(self, heads: Sequence[Head]) -> dict[str, NDArray[Any]]:
        """What an artifact keeps: every head fitted on all rows that tell of it."""
        every = np.arange(len(self._unit))
        fitted = [self.fit(head, every) for head in heads]
        width = self._state.rows.shape[1]
        forest = forest_of([head.trees for head in fitted], self._config.depth, width)
        weights = np.array([head.ridge.coef_ for head in fitted]).T / self._scale[:, None]
        key = state_key(self._state.held)
        return {
            f"{key}_columns": forest.columns,
            f"{key}_thresholds": forest.thresholds,
            f"{key}_leaves": forest.leaves,
            f"{key}_base": forest.base,
            f"{key}_linear_centre": self._centre,
            f"{key}_linear_weights": weights.astype(np.float32),
            f"{key}_linear_bias": np.array([h.ridge.intercept_ for h in fitted], np.float32),
            f"{key}_linear_limit": LIMIT * self._scale,
        }
