"""Unit vectors in, the nearest of them out by comparing with those in the cells nearby."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Final, NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray

from cache.entry import EntryId, Vector
from cache.errors import DuplicateEntry
from cache.index import centres
from cache.index.codes import Codes, Ids, Rows, coder, decoded, translated
from cache.index.memory import apart
from cache.index.nearest import Neighbour, neighbours
from cache.index.places import Places

_CELLS_PER_ROOT: Final = 6.0
"""Chosen: of 4 to 16 times the square root of the number of rows; twice as many take a third less
time to search and twice the time to lay, see docs/cache.md. Source of the range:
https://github.com/facebookresearch/faiss/wiki/Guidelines-to-choose-an-index."""

_MEAN_CELLS: Final = 120
"""Chosen: a search compares with no more rows than so many cells hold at the mean. Where cells lie
close they hold many, and the nearest is in the first of them. Measured: docs/cache.md, "How it was
chosen"; a million entries: the nearest found 991 times of 1,000, and each time where it is near
enough to matter."""

_SPARE: Final = 8
"""Chosen: a list begins with room for an eighth more rows; when that is gone FAISS doubles it."""

_PART_ROWS: Final = 2_048
"""Chosen: rows copied at a time, by the thread that others wait for: 0.8 MB and some forty cells,
two milliseconds."""


class Cells(NamedTuple):
    """Where cells lie, and how well they lay when they were laid.

    Attributes:
        centres: (cells, dim) uint8, codes of unit vectors.
        fit: Mean similarity of a sample of the rows to the centre that is nearest to each.
    """

    centres: Codes
    fit: float


def cells_for(rows: int) -> int:
    """How many cells so many rows are laid in."""
    return max(1, int(_CELLS_PER_ROOT * sqrt(rows)))


class CellIndex:
    """Rows in cells: compares with the codes of those cells whose centres are nearest.

    FAISS keeps the cells; which row is in which stands in its `Places`. A removed row's place in
    its cell is taken by the last one there.
    """

    __slots__ = ("_coder", "_ivf", "_laid", "_lists", "_places")

    def __init__(self, laid: Cells, probes: int) -> None:
        """At most `probes` of the cells are looked into. Raises CacheError if FAISS refuses."""
        self._laid = laid
        count, dim = laid.centres.shape
        self._coder = coder(dim)
        # Centres in a byte a dimension too: a search reads all of them, 2 MB for 6,000 and not 9.
        # Measured: 6,000 centres, the nearest 128: 0.48 ms, full precision 0.77, of which .98 are
        # the same; of 100,000 rows the nearest found as often (medians of 400, others at work).
        quantizer = coder(dim)
        with translated("be laid in cells"):
            quantizer.add_sa_codes(np.ascontiguousarray(laid.centres))
        kind, metric = faiss.ScalarQuantizer.QT_8bit_uniform, faiss.METRIC_INNER_PRODUCT
        by_residual = False  # a code says the same in every cell
        self._ivf = faiss.IndexIVFScalarQuantizer(quantizer, dim, count, kind, metric, by_residual)
        self._ivf.sq = self._coder.sq
        self._ivf.is_trained, self._ivf.nprobe = True, min(probes, count)
        lists = self._ivf.invlists
        assert lists is not None  # noqa: S101 - an index without lists is none
        self._lists = faiss.downcast_InvertedLists(lists)
        self._places = Places()

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, entry_id: EntryId) -> bool:
        return self._places.find(entry_id) is not None

    @property
    def laid(self) -> Cells:
        """Where its cells lie."""
        return self._laid

    @property
    def laid_for(self) -> int:
        """How many rows so many cells are laid for."""
        return int((len(self._laid.centres) / _CELLS_PER_ROOT) ** 2)

    @property
    def bytes_held(self) -> int:
        """What codes, ids and the map take, spare room included."""
        each = int(self._ivf.code_size) + np.dtype(np.int64).itemsize + self._places.row_bytes
        return int(1.5 * each * len(self))

    @property
    def parts(self) -> int:
        """In how many parts it is copied."""
        return min(int(self._ivf.nlist), 1 + len(self) // _PART_ROWS)

    def copy(self, part: int, parts: int) -> Rows:
        """One of `parts` parts, as it is now: some of the cells."""
        cells = range(part, int(self._ivf.nlist), parts)
        views = [self._cell(cell) for cell in cells]
        return Rows(np.concatenate([each.ids for each in views]), apart([v.codes for v in views]))

    def add(self, entry_id: EntryId, vector: Vector) -> None:
        """See VectorIndex; raises CacheError if FAISS refuses."""
        if entry_id in self:
            raise DuplicateEntry(entry_id)
        with translated(f"take entry {entry_id}"):
            cells = self._ivf.quantizer.search(vector[np.newaxis], 1)[1][0]
            self._put(np.array([entry_id]), vector[np.newaxis], cells)

    def cells_of(self, rows: Rows) -> Ids:
        """(n,) int64, the cell that each row belongs in: most of what taking them takes."""
        return centres.nearest(decoded(rows.codes), decoded(self._laid.centres))

    def make_room(self, cells: Sequence[Ids]) -> None:
        """Have each list be as long from the start as all these rows will make it, and some more.

        A list that grows row by row moves each time it doubles: it is half as long again as it need
        be at the mean, and leaves holes behind.
        """
        counts = np.bincount(np.concatenate(cells), minlength=int(self._ivf.nlist))
        with translated("be given room"):
            for cell, count in enumerate(counts.tolist()):
                self._lists.resize(cell, count + count // _SPARE)
                self._lists.resize(cell, 0)

    def take(self, rows: Rows, cells: Ids | None = None) -> None:
        """Keep rows of another index; none of their ids is kept here. Raises CacheError."""
        if not len(rows.ids):
            return
        cells = self.cells_of(rows) if cells is None else cells
        order = np.argsort(rows.ids)
        vectors, cells = decoded(rows.codes[order]), cells[order]
        with translated(f"take {len(rows.ids)} rows"):
            self._put(np.ascontiguousarray(rows.ids[order]), vectors, cells)

    def _put(self, ids: Ids, vectors: NDArray[np.float32], cells: Ids) -> None:
        """`ids` rise; (n, dim) `vectors` as they are decoded, which encode to the same codes."""
        self._ivf.add_core(
            len(ids), faiss.swig_ptr(vectors), faiss.swig_ptr(ids), faiss.swig_ptr(cells)
        )
        self._places.add(ids, cells)
        self._ivf.max_codes = _MEAN_CELLS * (1 + len(self) // int(self._ivf.nlist))

    def order(self) -> None:
        """See Places."""
        self._places.order()

    def remove(self, entry_id: EntryId) -> None:
        """See VectorIndex; raises CacheError if FAISS refuses."""
        if (cell := self._places.find(entry_id)) is None:
            return
        with translated(f"let go of entry {entry_id}"):
            ids, codes = self._cell(cell)
            row, last = int(np.flatnonzero(ids == entry_id)[0]), len(ids) - 1
            ids[row], codes[row] = ids[last], codes[last]
            self._lists.resize(cell, last)
        self._ivf.ntotal -= 1
        self._places.remove(entry_id)

    def nearest(self, vector: Vector, k: int) -> list[Neighbour]:
        """See VectorIndex; raises CacheError if FAISS refuses."""
        with translated("be searched"):
            similarities, ids = self._ivf.search(vector[np.newaxis], k)
        is_found = ids[0] >= 0
        return neighbours(ids[0][is_found], similarities[0][is_found])

    def oldest(self, count: int) -> list[EntryId]:
        """The ids that were given out first."""
        return self._places.oldest(count)

    def _cell(self, cell: int) -> Rows:
        """Views: writing to them moves rows."""
        size, dim = self._lists.list_size(cell), int(self._ivf.d)
        if not size:
            return Rows(np.empty(0, np.int64), np.empty((0, dim), np.uint8))
        ids = faiss.rev_swig_ptr(self._lists.get_ids(cell), size)
        codes = faiss.rev_swig_ptr(self._lists.get_codes(cell), size * dim)
        return Rows(ids, codes.reshape(size, dim))
