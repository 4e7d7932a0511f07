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


Grown = tuple[HistGradientBoostingRegressor, float]
"""Trees for one head, and the weight with which they count."""


def forest_of(heads: Sequence[Sequence[Grown]], depth: int, width: int) -> Forest:
    """Each head the weighted sum of its trees; trees are filled up to complete ones of `depth`.

    A head of fewer trees than another is filled up with empty ones.
    """
    trees = [
        [
            _complete(told[0].nodes, depth, weight)
            for grown, weight in head
            for told in grown._predictors  # noqa: SLF001 - scikit-learn tells its trees nowhere else
        ]
        for head in heads
    ]
    most = max(map(len, trees), default=0)
    inner = 2**depth - 1
    columns = np.zeros((len(heads), most, inner), np.int16)
    thresholds = np.full((len(heads), most, inner), np.inf, np.float32)
    leaves = np.zeros((len(heads), most, inner + 1), np.float32)
    for head, of_head in enumerate(trees):
        for number, tree in enumerate(of_head):
            columns[head, number], thresholds[head, number], leaves[head, number] = tree
    base = [
        sum(weight * float(np.squeeze(grown._baseline_prediction)) for grown, weight in head)  # noqa: SLF001 - as above
        for head in heads
    ]
    return Forest(
        columns=columns,
        thresholds=thresholds,
        leaves=leaves,
        base=np.array(base, np.float32),
        width=width,
    )


def _complete(
    nodes: NDArray[Any], depth: int, weight: float
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
            leaves[first - inner : last - inner + 1] = weight * told["value"]
        else:
            columns[at], thresholds[at] = told["feature_idx"], told["num_threshold"]
            place(told["left"], 2 * at + 1)
            place(told["right"], 2 * at + 2)

    place(0, 0)
    return columns, thresholds, leaves
