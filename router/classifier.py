"""Rows of numbers in, raw scores out: linear heads and boosted trees, as plain arrays.

Both are evaluated by a handful of numpy calls for one row at a time, which is microseconds; what
fits them is in `train` and leaves only these arrays behind.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from router.errors import ArtifactError

Floats = NDArray[np.float32]
Places = NDArray[np.int16]
Indices = NDArray[np.intp]
Leaves = NDArray[np.uint8]

_BITS: Final = 16
"""Chosen: trees of depth 4 have 15 nodes, and no deeper ones were worth their leaves."""


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

    All nodes are asked at once and each tree's answers read as one number, which says its leaf: six
    calls of numpy in the place of one for each level and more. Measured: three heads of 100 trees,
    4 deep, 12 us in the place of 26.

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
    _flat: tuple[Indices, Floats, Leaves, Indices] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        heads, trees, nodes = self.columns.shape
        fits = self.thresholds.shape == (heads, trees, nodes)
        if not fits or self.leaves.shape != (heads, trees, nodes + 1) or len(self.base) != heads:
            raise ArtifactError("the forest's arrays do not fit each other")
        if (nodes + 1) & nodes or self.columns.min() < 0 or self.columns.max() >= self.width:
            raise ArtifactError("the forest looks at columns that no row has")
        if nodes >= _BITS:
            raise ArtifactError(f"the forest's trees have {nodes} nodes, at most {_BITS - 1} fit")
        # Made once. Each tree's nodes are filled up to as many as a number has bits: by such as
        # send every row left.
        columns = np.zeros((heads * trees, _BITS), np.intp)
        thresholds = np.full((heads * trees, _BITS), np.inf, np.float32)
        columns[:, :nodes] = self.columns.reshape(-1, nodes)
        thresholds[:, :nodes] = self.thresholds.reshape(-1, nodes)
        first_leaf = np.arange(heads * trees) * (nodes + 1)
        flat = columns.ravel(), thresholds.ravel(), _leaf_of(nodes), first_leaf
        object.__setattr__(self, "_flat", flat)

    def scores(self, row: Floats) -> Floats:
        """(heads,) float32 for `row`, (width,)."""
        heads, trees, _ = self.columns.shape
        columns, thresholds, leaf_of, first_leaf = self._flat
        goes_right = np.packbits(row[columns] > thresholds, bitorder="little").view("<u2")
        leaf = self.leaves.take(first_leaf + leaf_of[goes_right])  # (heads * trees,)
        return np.asarray(leaf.reshape(heads, trees).sum(axis=1) + self.base, np.float32)


@cache
def _leaf_of(nodes: int) -> Leaves:
    """(2^_BITS,), one for all forests: the leaf of a row whose answers, bit by bit, are so."""
    answers = np.arange(1 << _BITS)
    node = np.zeros(1 << _BITS, np.intp)
    for _ in range(nodes.bit_length()):
        node = 2 * node + 1 + ((answers >> node) & 1)
    return (node - nodes).astype(np.uint8)
