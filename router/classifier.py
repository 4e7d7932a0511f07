"""Rows of numbers in, raw scores out: linear heads and boosted trees, as plain arrays.

Both are evaluated by a handful of numpy calls for one row at a time, which is microseconds; what
fits them is in `train` and leaves only these arrays behind.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from router.errors import ArtifactError

Floats = NDArray[np.float32]
Places = NDArray[np.int16]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LinearHeads:
    """Several linear heads over one standardised row.

    Attributes:
        centre: (columns,) float32, subtracted first.
        weights: (columns, heads) float32, the columns' scales divided in already.
        bias: (heads,) float32.
        limit: (columns,) float32, how far from the centre a column counts: one number beyond all
            that was fitted on does not decide alone. None: as far as it is.
    """

    centre: Floats
    weights: Floats
    bias: Floats
    limit: Floats | None = None

    def __post_init__(self) -> None:
        columns, heads = self.weights.shape
        fits = self.limit is None or self.limit.shape == (columns,)
        if self.centre.shape != (columns,) or self.bias.shape != (heads,) or not fits:
            raise ArtifactError("the linear heads' arrays do not fit each other")

    def scores(self, row: Floats) -> Floats:
        """(heads,) float32 for `row`, (columns,)."""
        moved = row - self.centre
        if self.limit is not None:
            moved = np.minimum(np.maximum(moved, -self.limit), self.limit)
        return np.asarray(moved @ self.weights + self.bias, np.float32)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Forest:
    """Boosted trees of one depth, complete, for several heads over one row.

    Node i's children are 2i + 1 and 2i + 2; a row goes right where its column exceeds the
    threshold. A tree that ended early is filled up with nodes that send every row left.

    Attributes:
        columns: (heads, trees, 2^depth - 1) int16, the column each node looks at.
        thresholds: The same shape, float32.
        leaves: (heads, trees, 2^depth) float32.
        base: (heads,) float32, added to the leaves' sum.
        width: Columns of a row.
    """

    columns: Places
    thresholds: Floats
    leaves: Floats
    base: Floats
    width: int
    _flat: tuple[Places, Floats, Floats, NDArray[np.int64], NDArray[np.int64]] = field(
        init=False, repr=False
    )

    def __post_init__(self) -> None:
        heads, trees, nodes = self.columns.shape
        fits = self.thresholds.shape == (heads, trees, nodes)
        if not fits or self.leaves.shape != (heads, trees, nodes + 1) or len(self.base) != heads:
            raise ArtifactError("the forest's arrays do not fit each other")
        if (nodes + 1) & nodes or self.columns.min() < 0 or self.columns.max() >= self.width:
            raise ArtifactError("the forest looks at columns that no row has")
        # Made once: where each tree's nodes and leaves begin in the flat arrays.
        tree = np.arange(heads * trees)
        flat = self.columns.ravel(), self.thresholds.ravel(), self.leaves.ravel()
        object.__setattr__(self, "_flat", (*flat, tree * nodes, tree * (nodes + 1) - nodes))

    def scores(self, row: Floats) -> Floats:
        """(heads,) float32 for `row`, (width,)."""
        heads, trees, nodes = self.columns.shape
        columns, thresholds, leaves, first, first_leaf = self._flat
        node = np.zeros(heads * trees, np.int64)
        for _ in range(nodes.bit_length()):
            at = first + node
            # `take` in the place of brackets: half the time on arrays of this size.
            node = 2 * node + 1 + (row.take(columns.take(at)) > thresholds.take(at))
        leaf = leaves.take(first_leaf + node)
        return np.asarray(leaf.reshape(heads, trees).sum(axis=1) + self.base, np.float32)
