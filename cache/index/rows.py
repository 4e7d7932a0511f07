"""Unit vectors in, the nearest of them out by comparing with every code."""

from __future__ import annotations

import faiss
import numpy as np

from cache.entry import EntryId, Vector
from cache.errors import DuplicateEntry
from cache.index.codes import Codes, Ids, Rows, coder, translated
from cache.index.memory import apart, with_room
from cache.index.nearest import Neighbour, neighbours


class RowIndex:
    """Rows in a row: compares with every code, and misses nothing but by the code's rounding.

    The last row takes the place of a removed one, so that removal moves one row and not all that
    follow. An id is found by looking through them: 10 microseconds at 32,000, and no map to keep.
    """

    __slots__ = ("_coder", "_count", "_ids")

    def __init__(self, dim: int) -> None:
        self._coder = coder(dim)
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
        return Rows(self._ids[: self._count].copy(), apart([self._codes()]))

    def add(self, entry_id: EntryId, vector: Vector) -> None:
        """See VectorIndex; raises CacheError if FAISS refuses."""
        if entry_id in self:
            raise DuplicateEntry(entry_id)
        with translated(f"take entry {entry_id}"):
            self._coder.add(vector[np.newaxis])  # (1, dim)
        self._append(np.array([entry_id]))

    def take(self, rows: Rows) -> None:
        """Keep rows of another index; none of their ids is kept here. Raises CacheError."""
        with translated(f"take {len(rows.ids)} rows"):
            self._coder.add_sa_codes(np.ascontiguousarray(rows.codes))
        self._append(rows.ids)

    def remove(self, entry_id: EntryId) -> None:
        """See VectorIndex; raises CacheError if FAISS refuses."""
        row = self._row(entry_id)
        if row is None:
            return
        last = self._count - 1
        with translated(f"let go of entry {entry_id}"):
            codes = self._codes()
            codes[row] = codes[last]
            self._coder.remove_ids(faiss.IDSelectorRange(last, last + 1))
        self._ids[row] = self._ids[last]
        self._count = last

    def nearest(self, vector: Vector, k: int) -> list[Neighbour]:
        """See VectorIndex; raises CacheError if FAISS refuses."""
        if not self._count:
            return []
        with translated("be searched"):
            similarities, rows = self._coder.search(vector[np.newaxis], min(k, self._count))
        return neighbours(self._ids[rows[0]], similarities[0])

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
        self._ids = with_room(self._ids, end)
        self._ids[self._count : end] = ids
        self._count = end
