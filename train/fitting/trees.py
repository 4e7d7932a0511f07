"""Boosted trees, fitted by scikit-learn, out as the flat arrays that the router evaluates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor

from router.classifier import Forest

Numbers = NDArray[np.float64]
Rows = NDArray[np.float32]

Split = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Row numbers to fit on, row numbers kept apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TreesConfig:
    """How a head's trees are grown.

    The defaults are chosen on train rows by cross-fitting; `docs/router.md` has the table.
    """

    trees: int = 100
    depth: int = 4
    rate: float = 0.05
    least_rows: int = 20
    shrinkage: float = 5.0


DEFAULT: Final = TreesConfig()


def fit_trees(
    rows: Rows, target: Numbers, seed: int, config: TreesConfig, weight: Numbers | None = None
) -> HistGradientBoostingRegressor:
    """Trees for one head; `rows` (n, width), `target` (n,), `weight` (n,), or all alike."""
    return HistGradientBoostingRegressor(
        max_iter=config.trees,
        max_depth=config.depth,
        max_leaf_nodes=2**config.depth,
        learning_rate=config.rate,
        min_samples_leaf=config.least_rows,
        l2_regularization=config.shrinkage,
        max_bins=63,
        early_stopping=False,
        random_state=seed,
    ).fit(rows, target, weight)


def forest_of(heads: Sequence[HistGradientBoostingRegressor], depth: int, width: int) -> Forest:
    """The heads' trees, filled up to complete ones of `depth`; without heads an empty forest."""
    trees = [[_complete(grown[0].nodes, depth) for grown in head._predictors] for head in heads]  # noqa: SLF001 - scikit-learn tells its trees nowhere else
    columns, thresholds, leaves = (
        np.array([[tree[part] for tree in head] for head in trees]) for part in range(3)
    )
    base = [float(np.squeeze(head._baseline_prediction)) for head in heads]  # noqa: SLF001 - as above
    return Forest(
        columns=columns.astype(np.int16),
        thresholds=thresholds.astype(np.float32),
        leaves=leaves.astype(np.float32),
        base=np.array(base, np.float32),
        width=width,
    )


def _complete(
    nodes: NDArray[Any], depth: int
) -> tuple[NDArray[np.int16], NDArray[np.float32], NDArray[np.float32]]:
    """One tree as columns, thresholds and leaves; see `Forest` for their order."""
    inner = 2**depth - 1
    columns = np.zeros(inner, np.int16)
    thresholds = np.full(inner, np.inf, np.float32)
    leaves = np.zeros(inner + 1, np.float32)

    def place(node: int, at: int) -> None:
        told = nodes[node]
        if told["is_leaf"]:
            first, last = at, at
            while first < inner:  # every leaf below says the same
                first, last = 2 * first + 1, 2 * last + 2
            leaves[first - inner : last - inner + 1] = told["value"]
        else:
            columns[at], thresholds[at] = told["feature_idx"], told["num_threshold"]
            place(told["left"], 2 * at + 1)
            place(told["right"], 2 * at + 2)

    place(0, 0)
    return columns, thresholds, leaves
