"""One state's rows and what is to be foretold in, cross-fitted scores and the state's arrays out.

A head is the mean of two kinds. Boosted trees find what depends on what; a ridge over the folded
row (see `router.features.folded_row`) does not split few rows up any further. A gain is learnt by
trees both ways, as the difference and as the difference of two values, since either errs in its own
way. All trees of a head leave here as one forest. A row that does not know a head's target (NaN)
takes no part in it.

Measured: all 11,906 rows cross-fitted, lead over the random mix of single tiers: trees on the
difference alone .0231 (later tiers of a plan charged half) and .0239 (in full), ridge alone .0230
and .0235, both .0238 and .0247, both and the values .0248 and .0253.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import Ridge

from router.artifact import Held, state_key
from router.features import folded_row
from train.errors import DataError
from train.trees import Grown, Split, TreesConfig, fit_trees, forest_of

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
        after: (n,) a quality: of an answer, or of the one served after a plan; NaN if not known.
        before: (n,) what is taken from it, the quality served now; None where the head says the
            quality itself.
        weight: (n,) how many rows this one stands for.
    """

    after: Numbers
    weight: Numbers
    before: Numbers | None = None

    @property
    def target(self) -> Numbers:
        """(n,) what the head is to say."""
        return self.after if self.before is None else self.after - self.before

    def told(self, rows: Chosen) -> Chosen:
        """Those of `rows` that know the target.

        Raises:
            DataError: They are too few.
        """
        known: Chosen = rows[np.isfinite(self.target[rows])]
        if len(known) < LEAST_TOLD * 4 // 5:
            raise DataError(
                f"{len(known)} rows are too few to tell what a set of tiers gains; ask them"
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
    """One head, fitted on some rows: weighted trees, and a ridge over unit columns."""

    trees: Sequence[Grown]
    ridge: Ridge

    def scores(self, rows: Rows, unit: Rows) -> Numbers:
        """(n,) as the router will say them."""
        grown = sum(weight * trees.predict(rows) for trees, weight in self.trees)
        both: Numbers = (grown + self.ridge.predict(unit)) / 2.0
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
        """The head, fitted on those of `rows` that know what it is to say."""
        some = head.told(rows)
        weight, seen = head.weight[some], self._state.rows[some]

        def grown(target: Numbers, share: float) -> Grown:
            return fit_trees(seen, target[some], self._seed, self._config, weight), share

        trees = [grown(head.after, 1.0)]
        if head.before is not None:
            trees = [grown(head.target, 0.5), grown(head.after, 0.5), grown(head.before, -0.5)]
        ridge = Ridge(alpha=RIDGE).fit(self._unit[some], head.target[some], weight)
        return FittedHead(trees, ridge)

    def crossed(self, head: Head) -> Numbers:
        """(n,) scores by heads that never saw the row; NaN where the answers are not known."""
        scores = np.full(len(head.after), np.nan)
        for fitted_on, kept in self._splits:
            asked = kept[self._state.known[kept]]
            if len(asked):
                fitted = self.fit(head, fitted_on)
                scores[asked] = fitted.scores(self._state.rows[asked], self._unit[asked])
        return scores

    def elsewhere(self, head: Head, other: StateRows) -> Numbers:
        """(m,) scores of other rows, by the head fitted on all of these."""
        fitted = self.fit(head, np.arange(len(head.after)))
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
