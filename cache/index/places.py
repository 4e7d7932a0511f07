"""Ids and the cells that they were put in, in; the cell of each, and the oldest of them, out."""

from __future__ import annotations

from typing import Final

import numpy as np

from cache.entry import EntryId
from cache.index.codes import Ids
from cache.index.memory import with_room

_EMPTY: Final = 64
"""Chosen: places of removed ids that a map of any size may have, beside as many as it has ids."""


class Places:
    """Which id is in which cell: two arrays in the order of the ids. One owner: a `CellIndex`.

    12 bytes a row; FAISS's own map takes 48 and stands still to grow. Ids rise, so that a new one
    is nearly always the last.
    """

    __slots__ = ("_cells", "_count", "_ids", "_is_ordered", "_live")

    def __init__(self) -> None:
        self._ids: Ids = np.empty(4, np.int64)  # rising; those from `_count` on are spare
        self._cells = np.empty(4, np.int32)  # of the id at the same place; -1 if it was removed
        self._count = self._live = 0
        self._is_ordered = True

    def __len__(self) -> int:
        return self._live

    @property
    def row_bytes(self) -> int:
        """What one id takes."""
        return self._ids.itemsize + self._cells.itemsize

    def find(self, entry_id: EntryId) -> int | None:
        """The cell that it is in; None if it is in none."""
        place = self._place(entry_id)
        return int(self._cells[place]) if place is not None else None

    def add(self, ids: Ids, cells: Ids) -> None:
        """These, rising, which are in no cell so far, are in those cells."""
        count, end = self._count, self._count + len(ids)
        self._is_ordered &= not count or bool(self._ids[count - 1] < ids[0])
        self._ids, self._cells = with_room(self._ids, end), with_room(self._cells, end)
        self._ids[count:end], self._cells[count:end] = ids, cells
        self._count = end
        self._live += len(ids)

    def remove(self, entry_id: EntryId) -> None:
        """It is in no cell any more."""
        if (place := self._place(entry_id)) is None:
            return
        self._cells[place] = -1
        self._live -= 1
        if self._count > 2 * self._live + _EMPTY:
            self._close_ranks()

    def order(self) -> None:
        """Put it in order, where ids came in another: 0.1 s for a million."""
        if not self._is_ordered:
            self._close_ranks()  # lest an id that comes back stand beside its own empty place
            order = np.argsort(self._ids, kind="stable")
            self._ids, self._cells = self._ids[order], self._cells[order]
            self._is_ordered = True

    def oldest(self, count: int) -> list[EntryId]:
        """The ids that were given out first."""
        self.order()
        kept = np.flatnonzero(self._cells[: self._count] >= 0)[:count]
        return [int(entry_id) for entry_id in self._ids[kept]]

    def _place(self, entry_id: EntryId) -> int | None:
        self.order()
        place = int(np.searchsorted(self._ids[: self._count], entry_id))
        is_kept = place < self._count and self._ids[place] == entry_id and self._cells[place] >= 0
        return place if is_kept else None

    def _close_ranks(self) -> None:
        kept = self._cells[: self._count] >= 0
        self._ids, self._cells = self._ids[: self._count][kept], self._cells[: self._count][kept]
        self._count = len(self._ids)
