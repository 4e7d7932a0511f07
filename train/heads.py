"""One state's rows and what is to be foretold in, cross-fitted scores and the state's arrays out.

A head is the mean of two kinds. Boosted trees find what depends on what; a ridge over the folded
row (see `router.features.folded_row`) does not split few rows up any further. A gain is learnt by
trees both ways, as the difference and as the difference of two values, since either errs in its own
way. All trees of a head leave here as one forest.

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
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import Ridge

from router.artifact import Held, state_key
from router.features import folded_row
from train.trees import Grown, Split, TreesConfig, fit_trees, forest_of

Numbers = NDArray[np.float64]
Rows = NDArray[np.float32]

RIDGE: Final = 3000.0
"""Measured: (small, medium) state, lead .0234 with 3000 and .0231 with 300 (unit columns)."""
LIMIT: Final = 4.0
"""Chosen: standard deviations beyond which a column says no more to a linear head."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Targets:
    """What the heads of one state learn.

    Attributes:
        right: By held place, (n,): how good its answer is.
        before: (n,) how good the answer is that would be served now; zeros if none is held.
        after: By plan, (n,): how good the one is that would be served after it.
    """

    right: Sequence[Numbers]
    before: Numbers
    after: Sequence[Numbers]

    def of(self, rows: NDArray[np.int64]) -> Targets:
        """Those of some rows."""
        return Targets(
            right=[values[rows] for values in self.right],
            before=self.before[rows],
            after=[values[rows] for values in self.after],
        )

    def heads(self) -> Numbers:
        """(n, heads): what each head is to say, those of "is right" first."""
        gains = [values - self.before for values in self.after]
        return np.stack([*self.right, *gains], axis=1)


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """Heads fitted on some rows."""

    trees: Sequence[Sequence[Grown]]
    centre: Rows
    scale: Rows
    ridge: Ridge
    held: int

    def scores(self, rows: Rows) -> Numbers:
        """(n, heads), as the router will say them."""
        grown = [sum(w * trees.predict(rows) for trees, w in head) for head in self.trees]
        linear = self.ridge.predict(_clipped(rows, self.held, self.centre, self.scale))
        linear = linear.reshape(len(rows), -1)  # one head alone comes out flat
        both: Numbers = (np.stack(grown, axis=1) + linear) / 2.0
        return both

    def arrays(self, held: Held, depth: int, width: int) -> dict[str, NDArray[Any]]:
        """What an artifact keeps of them."""
        forest, key = forest_of(self.trees, depth, width), state_key(held)
        weights = np.atleast_2d(self.ridge.coef_)
        return {
            f"{key}_columns": forest.columns,
            f"{key}_thresholds": forest.thresholds,
            f"{key}_leaves": forest.leaves,
            f"{key}_base": forest.base,
            f"{key}_linear_centre": self.centre,
            f"{key}_linear_weights": (weights.T / self.scale[:, None]).astype(np.float32),
            f"{key}_linear_bias": np.atleast_1d(self.ridge.intercept_).astype(np.float32),
            f"{key}_linear_limit": LIMIT * self.scale,
        }


def fit_heads(rows: Rows, targets: Targets, held: int, seed: int, config: TreesConfig) -> Fitted:
    """All heads of a state of `held` answers, fitted on `rows`, (n, width)."""

    def grown(target: Numbers) -> HistGradientBoostingRegressor:
        return fit_trees(rows, target, seed, config)

    trees: list[list[Grown]] = [[(grown(values), 1.0)] for values in targets.right]
    if held and targets.after:
        now = grown(targets.before)
        trees += [
            [(grown(values - targets.before), 0.5), (grown(values), 0.5), (now, -0.5)]
            for values in targets.after
        ]
    else:
        trees += [[(grown(values), 1.0)] for values in targets.after]
    folded = folded_row(rows, held)
    centre, scale = folded.mean(axis=0), folded.std(axis=0)
    scale = np.where(scale > 1e-6, scale, 1.0).astype(np.float32)  # noqa: PLR2004 - never varies
    ridge = Ridge(alpha=RIDGE).fit(_clipped(rows, held, centre, scale), targets.heads())
    return Fitted(trees, centre, scale, ridge, held)


def cross_fitted(
    rows: Rows,
    targets: Targets,
    *,
    held: int,
    splits: Sequence[Split],
    seed: int,
    config: TreesConfig,
) -> Numbers:
    """(n, heads) scores, each by heads that never saw its row."""
    scores = np.zeros((len(rows), len(targets.right) + len(targets.after)))
    for fitted_on, kept in splits:
        heads = fit_heads(rows[fitted_on], targets.of(fitted_on), held, seed, config)
        scores[kept] = heads.scores(rows[kept])
    return scores


def _clipped(rows: Rows, held: int, centre: Rows, scale: Rows) -> Rows:
    unit: Rows = np.clip((folded_row(rows, held) - centre) / scale, -LIMIT, LIMIT)
    return unit
