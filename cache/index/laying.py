"""A fair sample of the rows that are to come in, an empty index whose cells suit them out."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from cache.index import centres
from cache.index.cells import CellIndex, Cells, cells_for
from cache.index.codes import Codes, decoded, encoded

MAX_TRAINING_ROWS: Final = 131_072
"""Chosen: 200 MB for as long as the training takes; 22 rows a cell at a million."""

_ROWS_A_CELL: Final = 32
"""Chosen: more take longer to train with and bring no recall that could be told from noise."""

PROBES: Final = 256
"""Chosen: the most cells that a search looks into, which is where the neighbours' cells are small;
elsewhere it ends before, see `_MEAN_CELLS`."""

_FITTED: Final = 1_000
"""Chosen: rows whose mean similarity tells how well cells lie; it is uncertain by 0.005 then."""

_DRIFT: Final = 0.03
"""Chosen: six times that uncertainty. Farther from the centres than that, and neighbours of a
question lie in more cells than are looked into: the cells are laid anew."""


def training_rows(rows: int) -> int:
    """How many of so many rows are enough to train with."""
    return min(rows, MAX_TRAINING_ROWS, _ROWS_A_CELL * cells_for(rows))


def trained(codes: Codes, rows: int, probes: int = PROBES, seed: int = 0) -> CellIndex:
    """An empty index for `rows` rows, its cells laid through `codes`, a fair sample of them.

    Takes seconds to a minute on one thread, and holds no lock of Python's while it works.

    Raises:
        CacheError: FAISS refuses.
    """
    vectors = decoded(codes[:MAX_TRAINING_ROWS])
    laid = centres.laid(vectors, cells_for(rows), seed)
    return CellIndex(Cells(encoded(laid), _fit(vectors, laid)), probes)


def laid_again(cells: Cells, codes: Codes, rows: int, probes: int = PROBES) -> CellIndex | None:
    """An empty index in cells that were laid before; None if they do not suit any more.

    `codes` is a fair sample of the `rows` that are to come. They suit where the rows are neither
    more nor fewer than an index in use may come to hold before it is laid anew, and lie as near to
    the centres as those that the cells were laid through.

    Raises:
        CacheError: FAISS refuses.
    """
    index = CellIndex(cells, probes)
    if not index.laid_for / 2 <= rows <= 2 * index.laid_for:
        return None
    vectors = decoded(codes[:: 1 + len(codes) // _FITTED])
    return index if _fit(vectors, decoded(cells.centres)) >= cells.fit - _DRIFT else None


def _fit(vectors: NDArray[np.float32], laid: NDArray[np.float32]) -> float:
    """See Cells: of a few of `vectors`, each (n, dim) float32."""
    some = vectors[:: 1 + len(vectors) // _FITTED]
    return float((some @ laid.T).max(axis=1).mean())  # (n, dim) @ (dim, cells)
