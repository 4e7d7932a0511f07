"""Unit vectors in, the ids of the nearest entries out.

One index a partition, in one of two layouts over one code. The code is a byte a dimension over a
fixed range, so that a row may go from one layout to the other as it is, and 384 dimensions take 384
bytes; whoever searches compares what is found with the vectors themselves (`cache.semantic`).
Rows in a row are for the many small partitions: nothing is trained, a search reads them all, and
one row takes 3 microseconds. Rows in cells are for the few large ones, see `CellIndex`.

Full precision was tried for the rows and dropped: four times the memory, and no faster anywhere (64
rows 4 microseconds either way, 16,000 rows 862 against 219, 32,000 rows 2,477 against 428; one
thread, 384 dimensions, AMD EPYC with others at work on it).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import sqrt
from mmap import mmap
from typing import Final, NamedTuple, Protocol, TypeVar

import faiss
import numpy as np
from numpy.typing import NDArray

from cache import centres
from cache.entry import EntryId, Vector
from cache.errors import CacheError, DuplicateEntry

FAISS_FAULTS: Final = (RuntimeError, ValueError, TypeError, AssertionError, MemoryError)
"""What FAISS raises: its own C++ exceptions come as RuntimeError, the rest are its wrapper's."""

Codes = NDArray[np.uint8]
"""Shape (n, dim): unit vectors, a byte a dimension."""

_Item = TypeVar("_Item", np.int64, np.int32)

Ids = NDArray[np.int64]
"""Shape (n,): entry ids."""

_RANGE: Final = 8.0
"""Chosen: a code spans eight times what a component of a unit vector has on average, 1 / sqrt(dim),
to either side, 0.41 at 384 dimensions; of 113,287 questions no component is beyond 0.33. A cosine
is off by 0.001 for it."""

MAX_TRAINING_ROWS: Final = 131_072
"""Chosen: 200 MB for as long as the training takes; 22 rows a cell at a million."""

_ROWS_A_CELL: Final = 32
"""Chosen: more take longer to train with and bring no recall that could be told from noise."""

_CELLS_PER_ROOT: Final = 12.0
"""Chosen: of 4 to 16 times the square root of the number of rows. Measured: docs/cache.md, "How it
was chosen": half the time of 6, for twice the training. Source of the range:
https://github.com/facebookresearch/faiss/wiki/Guidelines-to-choose-an-index."""

PROBES: Final = 256
"""Chosen: the most cells that a search looks into, which is where the neighbours' cells are small;
elsewhere it ends before, see `_MEAN_CELLS`."""

_MEAN_CELLS: Final = 100
"""Chosen: a search compares with no more rows than so many cells hold at the mean. Where cells lie
close they hold many, and the nearest is in the first of them. Measured: as above; a million
entries: the nearest found 991 times of 1,000, and each time where it is near enough to matter."""

_FEWEST_ROWS: Final = 6_000
"""Chosen: but with so many in any case, 0.3 ms: as many as it took at 100,000 before."""

_FITTED: Final = 1_000
"""Chosen: rows whose mean similarity tells how well cells lie; it is uncertain by 0.005 then."""

_DRIFT: Final = 0.03
"""Chosen: six times that uncertainty. Farther from the centres than that, and neighbours of a
question lie in more cells than are looked into: the cells are laid anew."""

_SPARE: Final = 8
"""Chosen: a list begins with room for an eighth more rows; when that is gone FAISS doubles it."""

_PART_ROWS: Final = 2_048
"""Chosen: rows copied at a time, by the thread that others wait for: 0.8 MB and some forty cells,
two milliseconds."""


class Neighbour(NamedTuple):
    """One kept vector, and its cosine similarity to the one asked about, in [-1, 1]."""

    entry_id: EntryId
    similarity: float


class Rows(NamedTuple):
    """Kept vectors as they are kept.

    Attributes:
        ids: (n,) int64.
        codes: (n, dim) uint8.
    """

    ids: Ids
    codes: Codes


class Cells(NamedTuple):
    """Where cells lie, and how well they lay when they were laid.

    Attributes:
        centres: (cells, dim) uint8, codes of unit vectors.
        fit: Mean similarity of a sample of the rows to the centre that is nearest to each.
    """

    centres: Codes
    fit: float


class VectorIndex(Protocol):
    """What the cache asks of an index. Not thread-safe: one thread owns it."""

    def __len__(self) -> int:
        """How many vectors are kept."""
        ...

    def __contains__(self, entry_id: EntryId) -> bool:
        """A vector is kept under `entry_id`."""
        ...

    def add(self, entry_id: EntryId, vector: Vector) -> None:
        """Keep `vector` under `entry_id`; raises DuplicateEntry if the id is taken."""
        ...

    def remove(self, entry_id: EntryId) -> None:
        """Forget `entry_id`; an id that is not kept is no fault."""
        ...

    def nearest(self, vector: Vector, k: int) -> list[Neighbour]:
        """The `k` most similar, the most similar first; fewer when fewer are kept."""
        ...


class ExactIndex:
    """Compares with every kept vector: the oracle that the others are tested against."""

    def __init__(self) -> None:
        self._vectors: dict[EntryId, Vector] = {}

    def __len__(self) -> int:
        return len(self._vectors)

    def __contains__(self, entry_id: EntryId) -> bool:
        return entry_id in self._vectors

    def add(self, entry_id: EntryId, vector: Vector) -> None:
        """See VectorIndex."""
        if entry_id in self._vectors:
            raise DuplicateEntry(entry_id)
        self._vectors[entry_id] = vector

    def remove(self, entry_id: EntryId) -> None:
        """See VectorIndex."""
        self._vectors.pop(entry_id, None)

    def nearest(self, vector: Vector, k: int) -> list[Neighbour]:
        """See VectorIndex."""
        if not self._vectors:
            return []
        ids = list(self._vectors)
        similarities = np.stack([self._vectors[i] for i in ids]) @ vector  # (n, dim) @ (dim,)
        # A stable sort breaks ties by age, so that two runs over one log agree.
        best = np.argsort(-similarities, kind="stable")[:k]
        return [Neighbour(ids[row], float(similarities[row])) for row in best]


class RowIndex:
    """Rows in a row: compares with every code, and misses nothing but by the code's rounding.

    The last row takes the place of a removed one, so that removal moves one row and not all that
    follow. An id is found by looking through them: 10 microseconds at 32,000, and no map to keep.
    """

    __slots__ = ("_coder", "_count", "_ids")

    def __init__(self, dim: int) -> None:
        self._coder = _coder(dim)
        self._ids: Ids = np.empty(4, np.int64)  # by row; those from `_count` on are spare
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, entry_id: EntryId) -> bool:
        return self._row(entry_id) is not None

    @property
    def bytes_held(self) -> int:
        """What codes and ids take, spare room included."""
        return int(1.5 * (int(self._coder.code_size) + self._ids.itemsize) * self._count)

    @property
    def parts(self) -> int:
        """In how many parts it is copied."""
        return 1

    def copy(self, part: int, parts: int) -> Rows:
        """One of `parts` parts, as it is now: its rows are copied whole or not at all."""
        assert (part, parts) == (0, 1)  # noqa: S101 - see `parts`
        return Rows(self._ids[: self._count].copy(), _apart([self._codes()]))

    def add(self, entry_id: EntryId, vector: Vector) -> None:
        """See VectorIndex; raises CacheError if FAISS refuses."""
        if entry_id in self:
            raise DuplicateEntry(entry_id)
        with _translated(f"take entry {entry_id}"):
            self._coder.add(vector[np.newaxis])  # (1, dim)
        self._append(np.array([entry_id]))

    def take(self, rows: Rows) -> None:
        """Keep rows of another index; none of their ids is kept here. Raises CacheError."""
        with _translated(f"take {len(rows.ids)} rows"):
            self._coder.add_sa_codes(np.ascontiguousarray(rows.codes))
        self._append(rows.ids)

    def remove(self, entry_id: EntryId) -> None:
        """See VectorIndex; raises CacheError if FAISS refuses."""
        row = self._row(entry_id)
        if row is None:
            return
        last = self._count - 1
        with _translated(f"let go of entry {entry_id}"):
            codes = self._codes()
            codes[row] = codes[last]
            self._coder.remove_ids(faiss.IDSelectorRange(last, last + 1))
        self._ids[row] = self._ids[last]
        self._count = last

    def nearest(self, vector: Vector, k: int) -> list[Neighbour]:
        """See VectorIndex; raises CacheError if FAISS refuses."""
        if not self._count:
            return []
        with _translated("be searched"):
            similarities, rows = self._coder.search(vector[np.newaxis], min(k, self._count))
        return _neighbours(self._ids[rows[0]], similarities[0])

    def oldest(self, count: int) -> list[EntryId]:
        """The ids that were given out first."""
        return [int(entry_id) for entry_id in np.sort(self._ids[: self._count])[:count]]

    def _codes(self) -> Codes:
        """A view: writing to it moves rows."""
        shape = self._count, int(self._coder.code_size)
        if not self._count:
            return np.empty(shape, np.uint8)
        codes: Codes = faiss.rev_swig_ptr(self._coder.codes.data(), shape[0] * shape[1])
        return codes.reshape(shape)

    def _row(self, entry_id: EntryId) -> int | None:
        found = np.flatnonzero(self._ids[: self._count] == entry_id)
        return int(found[0]) if len(found) else None

    def _append(self, ids: Ids) -> None:
        end = self._count + len(ids)
        self._ids = _with_room(self._ids, end)
        self._ids[self._count : end] = ids
        self._count = end


class CellIndex:
    """Rows in cells: compares with the codes of those cells whose centres are nearest.

    FAISS keeps the cells; which row is in which stands here, in two arrays in the order of the ids
    (12 bytes a row; FAISS's own map takes 48 and stands still to grow). Ids rise, so that a new one
    is nearly always the last. A removed row's place is taken by the last of its cell.
    """

    __slots__ = (
        *("_cells", "_coder", "_count", "_ids", "_is_ordered", "_ivf", "_laid", "_lists", "_live"),
    )

    def __init__(self, laid: Cells, probes: int) -> None:
        """At most `probes` of the cells are looked into. Raises CacheError if FAISS refuses."""
        self._laid = laid
        count, dim = laid.centres.shape
        self._coder = _coder(dim)
        # Centres in a byte a dimension too: a search reads all of them, 2 MB for 6,000 and not 9.
        # Measured: 6,000 centres, the nearest 128: 0.48 ms, full precision 0.77, of which .98 are
        # the same; of 100,000 rows the nearest found as often (medians of 400, others at work).
        quantizer = _coder(dim)
        with _translated("be laid in cells"):
            quantizer.add_sa_codes(np.ascontiguousarray(laid.centres))
        kind, metric = faiss.ScalarQuantizer.QT_8bit_uniform, faiss.METRIC_INNER_PRODUCT
        by_residual = False  # a code says the same in every cell
        self._ivf = faiss.IndexIVFScalarQuantizer(quantizer, dim, count, kind, metric, by_residual)
        self._ivf.sq = self._coder.sq
        self._ivf.is_trained, self._ivf.nprobe = True, min(probes, count)
        lists = self._ivf.invlists
        assert lists is not None  # noqa: S101 - an index without lists is none
        self._lists = faiss.downcast_InvertedLists(lists)
        self._ids: Ids = np.empty(4, np.int64)  # rising; those from `_count` on are spare
        self._cells = np.empty(4, np.int32)  # of the id at the same place; -1 if it was removed
        self._count = self._live = 0
        self._is_ordered = True

    def __len__(self) -> int:
        return self._live

    def __contains__(self, entry_id: EntryId) -> bool:
        place = self._place(entry_id)
        return self._holds(place, entry_id) and self._cells[place] >= 0

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
        each = int(self._ivf.code_size) + self._ids.itemsize
        return int(1.5 * (each + self._ids.itemsize + self._cells.itemsize) * self._live)

    @property
    def parts(self) -> int:
        """In how many parts it is copied."""
        return min(int(self._ivf.nlist), 1 + self._live // _PART_ROWS)

    def copy(self, part: int, parts: int) -> Rows:
        """One of `parts` parts, as it is now: some of the cells."""
        cells = range(part, int(self._ivf.nlist), parts)
        views = [self._cell(cell) for cell in cells]
        return Rows(np.concatenate([each.ids for each in views]), _apart([v.codes for v in views]))

    def add(self, entry_id: EntryId, vector: Vector) -> None:
        """See VectorIndex; raises CacheError if FAISS refuses."""
        if entry_id in self:
            raise DuplicateEntry(entry_id)
        with _translated(f"take entry {entry_id}"):
            cells = self._ivf.quantizer.search(vector[np.newaxis], 1)[1][0]
            self._put(np.array([entry_id]), vector[np.newaxis], cells)

    def cells_of(self, rows: Rows) -> Ids:
        """(n,) int64, the cell that each row belongs in: most of what taking them takes."""
        return centres.nearest(_decoded(rows.codes), _decoded(self._laid.centres))

    def make_room(self, cells: Sequence[Ids]) -> None:
        """Have each list be as long from the start as all these rows will make it, and some more.

        A list that grows row by row moves each time it doubles: it is half as long again as it need
        be at the mean, and leaves holes behind.
        """
        counts = np.bincount(np.concatenate(cells), minlength=int(self._ivf.nlist))
        with _translated("be given room"):
            for cell, count in enumerate(counts.tolist()):
                self._lists.resize(cell, count + count // _SPARE)
                self._lists.resize(cell, 0)

    def take(self, rows: Rows, cells: Ids | None = None) -> None:
        """Keep rows of another index; none of their ids is kept here. Raises CacheError."""
        if not len(rows.ids):
            return
        cells = self.cells_of(rows) if cells is None else cells
        order = np.argsort(rows.ids)
        vectors, cells = _decoded(rows.codes[order]), cells[order]
        with _translated(f"take {len(rows.ids)} rows"):
            self._put(np.ascontiguousarray(rows.ids[order]), vectors, cells)

    def _put(self, ids: Ids, vectors: NDArray[np.float32], cells: Ids) -> None:
        """`ids` rise; (n, dim) `vectors` as they are decoded, which encode to the same codes."""
        self._ivf.add_core(
            len(ids), faiss.swig_ptr(vectors), faiss.swig_ptr(ids), faiss.swig_ptr(cells)
        )
        self._live += len(ids)
        most = _MEAN_CELLS * self._live // int(self._ivf.nlist)
        self._ivf.max_codes = max(_FEWEST_ROWS, most)
        self._map(ids, cells)

    def _map(self, ids: Ids, cells: Ids) -> None:
        count, end = self._count, self._count + len(ids)
        self._is_ordered &= not count or bool(self._ids[count - 1] < ids[0])
        self._ids, self._cells = _with_room(self._ids, end), _with_room(self._cells, end)
        self._ids[count:end], self._cells[count:end] = ids, cells
        self._count = end

    def order(self) -> None:
        """Put the map in order, where rows came in another: 0.1 s for a million."""
        if not self._is_ordered:
            self._close_ranks()  # lest an id that comes back stand beside its own empty place
            order = np.argsort(self._ids, kind="stable")
            self._ids, self._cells = self._ids[order], self._cells[order]
            self._is_ordered = True

    def remove(self, entry_id: EntryId) -> None:
        """See VectorIndex; raises CacheError if FAISS refuses."""
        if entry_id not in self:
            return
        place = self._place(entry_id)
        cell = int(self._cells[place])
        with _translated(f"let go of entry {entry_id}"):
            ids, codes = self._cell(cell)
            row, last = int(np.flatnonzero(ids == entry_id)[0]), len(ids) - 1
            ids[row], codes[row] = ids[last], codes[last]
            self._lists.resize(cell, last)
        self._ivf.ntotal -= 1
        self._live -= 1
        self._cells[place] = -1
        if self._count > 2 * self._live + 64:
            self._close_ranks()

    def _close_ranks(self) -> None:
        kept = self._cells[: self._count] >= 0
        self._ids, self._cells = self._ids[: self._count][kept], self._cells[: self._count][kept]
        self._count = len(self._ids)

    def nearest(self, vector: Vector, k: int) -> list[Neighbour]:
        """See VectorIndex; raises CacheError if FAISS refuses."""
        with _translated("be searched"):
            similarities, ids = self._ivf.search(vector[np.newaxis], k)
        is_found = ids[0] >= 0
        return _neighbours(ids[0][is_found], similarities[0][is_found])

    def oldest(self, count: int) -> list[EntryId]:
        """The ids that were given out first."""
        self.order()
        kept = np.flatnonzero(self._cells[: self._count] >= 0)[:count]
        return [int(entry_id) for entry_id in self._ids[kept]]

    def _cell(self, cell: int) -> Rows:
        """Views: writing to them moves rows."""
        size, dim = self._lists.list_size(cell), int(self._ivf.d)
        if not size:
            return Rows(np.empty(0, np.int64), np.empty((0, dim), np.uint8))
        ids = faiss.rev_swig_ptr(self._lists.get_ids(cell), size)
        codes = faiss.rev_swig_ptr(self._lists.get_codes(cell), size * dim)
        return Rows(ids, codes.reshape(size, dim))

    def _place(self, entry_id: EntryId) -> int:
        self.order()
        return int(np.searchsorted(self._ids[: self._count], entry_id))

    def _holds(self, place: int, entry_id: EntryId) -> bool:
        return place < self._count and bool(self._ids[place] == entry_id)


def _apart(parts: Sequence[Codes]) -> Codes:
    """Copies of these, one after the other, in memory of their own.

    The system has it back as soon as it is let go. What the allocator has instead is to be trimmed,
    during which none of its callers gets anything, and one that holds Python's lock stops the rest:
    68 ms for the copies of a million rows.
    """
    count, dim = sum(map(len, parts)), parts[0].shape[1]
    memory = mmap(-1, max(1, count * dim))
    codes: Codes = np.frombuffer(memory, np.uint8, count * dim).reshape(count, dim)
    np.concatenate(parts, out=codes)
    return codes


def encoded(vectors: NDArray[np.float32]) -> Codes:
    """The codes of unit vectors, (n, dim) float32. Raises CacheError."""
    with _translated("be encoded"):
        codes: Codes = _coder(vectors.shape[1]).sa_encode(np.ascontiguousarray(vectors))
    return codes


def training_rows(rows: int) -> int:
    """How many of so many rows are enough to train with."""
    return min(rows, MAX_TRAINING_ROWS, _ROWS_A_CELL * _cells(rows))


def _cells(rows: int) -> int:
    return max(1, int(_CELLS_PER_ROOT * sqrt(rows)))


def trained(codes: Codes, rows: int, probes: int = PROBES, seed: int = 0) -> CellIndex:
    """An empty index for `rows` rows, its cells laid through `codes`, a fair sample of them.

    Takes seconds to a minute on one thread, and holds no lock of Python's while it works.

    Raises:
        CacheError: FAISS refuses.
    """
    vectors = _decoded(codes[:MAX_TRAINING_ROWS])
    laid = centres.laid(vectors, _cells(rows), seed)
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
    vectors = _decoded(codes[:: 1 + len(codes) // _FITTED])
    return index if _fit(vectors, _decoded(cells.centres)) >= cells.fit - _DRIFT else None


def _fit(vectors: NDArray[np.float32], laid: NDArray[np.float32]) -> float:
    """See Cells: of a few of `vectors`, each (n, dim) float32."""
    some = vectors[:: 1 + len(vectors) // _FITTED]
    return float((some @ laid.T).max(axis=1).mean())  # (n, dim) @ (dim, cells)


def _decoded(codes: Codes) -> NDArray[np.float32]:
    """The vectors that codes stand for, (n, dim) float32. Raises CacheError."""
    with _translated("be decoded"):
        vectors: NDArray[np.float32] = _coder(codes.shape[1]).sa_decode(np.ascontiguousarray(codes))
    return vectors


def _coder(dim: int) -> faiss.IndexScalarQuantizer:
    kind, metric = faiss.ScalarQuantizer.QT_8bit_uniform, faiss.METRIC_INNER_PRODUCT
    coder = faiss.IndexScalarQuantizer(dim, kind, metric)
    reach = min(1.0, _RANGE / sqrt(dim))
    faiss.copy_array_to_vector(np.array([-reach, 2.0 * reach], np.float32), coder.sq.trained)
    coder.is_trained = True
    return coder


def _neighbours(ids: Ids, similarities: NDArray[np.float32]) -> list[Neighbour]:
    found = [Neighbour(int(each), float(s)) for each, s in zip(ids, similarities, strict=True)]
    return sorted(found, key=lambda one: (-one.similarity, one.entry_id))


def _with_room(array: NDArray[_Item], end: int) -> NDArray[_Item]:
    """`array`, or a longer one that begins with it, with places up to `end`."""
    if end <= len(array):
        return array
    longer = np.empty(max(end, len(array) + len(array) // 2), array.dtype)
    longer[: len(array)] = array
    return longer


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """FAISS's faults as ours, and its work on this thread alone.

    One query at a time: a second thread would wait for the first longer than it works, and OpenMP
    waits by spinning. How many it may use is a property of the thread that asks, so that whoever
    asks has to say it. Measured: 0.4 us; a search of 324 rows on two busy cores took 10 to 30 ms
    on two threads and 0.05 on one.
    """
    faiss.omp_set_num_threads(1)
    try:
        yield
    except FAISS_FAULTS as fault:
        raise CacheError(f"the index could not {what}: {fault}") from fault
