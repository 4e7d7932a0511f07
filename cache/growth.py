"""One partition's vectors in, the nearest of them out, however many there are.

A partition outgrows its index: rows in a row become cells, and cells are laid anew whenever there
are twice as many rows as they were laid for. It also comes back from disk, row by row. Both take
longer than a search may wait, so both are done on another thread, into an index that nobody asks
yet, while this one goes on:

1. `begin`: from here on every addition and removal is noted.
2. The other thread fills a new index: from copies of this one's parts, or from the disk. What
   changes meanwhile may be in it or not.
3. It takes the notes so far and does them on the new index (`replay`), again and again, until few
   are left: an id is added once and removed once, so that doing either twice is no harm.
4. `swap`: the last few are done here, and the new index takes this one's place. The old one goes
   back to the other thread, which has the time to free it.

Rule 1: one owner thread calls everything here; the other thread only ever holds what it was given.
Rule 2: a rebuild that fails, or that nobody ends, leaves the old index at work; `give_up` ends it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple, TypeAlias

import numpy as np

from cache.entry import EntryId, Vector
from cache.index.cells import CellIndex, Cells
from cache.index.codes import Codes, Rows
from cache.index.laying import laid_again, trained, training_rows
from cache.index.nearest import Neighbour
from cache.index.rows import RowIndex

Layout: TypeAlias = RowIndex | CellIndex

FEW: Final = 32
"""Chosen: changes that the owner does at a swap; 5 ms where each seeks its cell among 4,000."""

ROWS_AT_MOST: Final = 32_768
"""Chosen: a search of so many rows takes 0.43 ms, see `cache.index`; beyond it the second layout
answers sooner, at a thousandth of the nearest missed."""


ROW_BYTES: Final = 620
"""Chosen: of 384 dimensions: code, id, map, and half as much again for lists that have room to
grow; for other dimensions a rough measure, of how many rows are read at most."""

_OVERHEAD_BYTES: Final = 2_000
"""What an index takes beside its rows. Measured: `python -m sidecar cache bench`."""


class Change(NamedTuple):
    """One addition, or, without a vector, one removal."""

    entry_id: EntryId
    vector: Vector | None


def filled(rows: list[Rows], dim: int, known: Cells | None = None) -> Layout:
    """A layout for all these rows, and they in it; may take a minute. Empties `rows` on the way.

    With `known` cells that still suit, none are laid: that takes most of the minute.

    Raises:
        CacheError: It cannot be trained or filled.
    """
    layout = _empty(rows, dim, known)
    rows.reverse()
    if isinstance(layout, CellIndex):
        _fill_cells(layout, rows)
    while rows:
        layout.take(rows.pop())
    return layout


def _fill_cells(layout: CellIndex, rows: list[Rows]) -> None:
    cells = [layout.cells_of(some) for some in rows]
    layout.make_room(cells)
    while rows:
        layout.take(rows.pop(), cells.pop())
    layout.order()


def _empty(rows: list[Rows], dim: int, known: Cells | None) -> Layout:
    count = sum(len(some.ids) for some in rows)
    if count <= ROWS_AT_MOST:
        return RowIndex(dim)
    sample = _sample(rows, count)
    suits = laid_again(known, sample, count) if known is not None else None
    return trained(sample, count) if suits is None else suits


def _sample(rows: list[Rows], count: int) -> Codes:
    """(n, dim) uint8: as many as training takes, evenly drawn from all parts."""
    step = max(1, -(-count // training_rows(count)))
    taken = [some.codes[::step] for some in rows]
    sample = np.empty((sum(map(len, taken)), taken[0].shape[1]), np.uint8)
    begin = 0
    for codes in taken:  # one by one: numpy lets nobody else run while it copies
        sample[begin : begin + len(codes)] = codes
        begin += len(codes)
    return sample


def replay(layout: Layout, changes: Iterable[Change]) -> None:
    """Do again what was done elsewhere; raises CacheError."""
    for entry_id, vector in changes:
        if vector is None:
            layout.remove(entry_id)
        elif entry_id not in layout:
            layout.add(entry_id, vector)


class GrowingIndex:
    """The index of one partition; see VectorIndex for what it answers."""

    __slots__ = ("_journal", "_laid_for", "_layout", "dim", "is_open")

    def __init__(self, dim: int, *, is_open: bool = True) -> None:
        """`is_open` is False where its rows are still on disk: it notes changes and finds nothing.

        Attributes:
            dim: Of the vectors.
            is_open: It may be asked.
        """
        self.dim, self.is_open = dim, is_open
        self._layout: Layout = RowIndex(dim)
        self._laid_for = ROWS_AT_MOST // 2
        self._journal: list[Change] | None = None

    def __len__(self) -> int:
        return len(self._layout)

    def __contains__(self, entry_id: EntryId) -> bool:
        return entry_id in self._layout

    @property
    def bytes_held(self) -> int:
        """What it takes of memory."""
        return _OVERHEAD_BYTES + self._layout.bytes_held

    @property
    def is_laid(self) -> bool:
        """Another is being laid to take its place."""
        return self._journal is not None

    @property
    def is_outgrown(self) -> bool:
        """It holds twice what it was laid for, and no other is being laid."""
        return self.is_open and self._journal is None and len(self) > 2 * self._laid_for

    def add(self, entry_id: EntryId, vector: Vector) -> None:
        """See VectorIndex."""
        self._layout.add(entry_id, vector)
        if self._journal is not None:
            self._journal.append(Change(entry_id, vector))

    def remove(self, entry_id: EntryId) -> None:
        """See VectorIndex."""
        self._layout.remove(entry_id)
        if self._journal is not None:
            self._journal.append(Change(entry_id, None))

    def take(self, rows: Rows) -> None:
        """Keep rows that were read at once, before anything else was kept."""
        self._layout.take(rows)

    def nearest(self, vector: Vector, k: int) -> list[Neighbour]:
        """See VectorIndex."""
        return self._layout.nearest(vector, k)

    def oldest(self, count: int) -> list[EntryId]:
        """The ids that were given out first."""
        return self._layout.oldest(count)

    @property
    def parts(self) -> int:
        """In how many parts the rows are copied."""
        return self._layout.parts

    def begin(self) -> None:
        """Note changes from now on."""
        self._journal = []

    def copy(self, part: int, parts: int) -> Rows:
        """Some of the rows, as they are now."""
        return self._layout.copy(part, parts)

    def changes(self) -> list[Change]:
        """What was noted since the last call."""
        noted, self._journal = self._journal or [], []
        return noted

    def swap(self, layout: Layout) -> Layout:
        """Go on with `layout`, once the last changes are done on it too; what it took over from.

        Raises:
            CacheError: The last changes could not be done; the old one is still at work.
        """
        replay(layout, self._journal or ())
        old, self._layout = self._layout, layout
        self._journal, self.is_open = None, True
        self._laid_for = layout.laid_for if isinstance(layout, CellIndex) else ROWS_AT_MOST // 2
        return old

    def give_up(self) -> None:
        """Nobody lays another; the next change may ask for one again, twice as many rows on."""
        self._journal = None
        self._laid_for = max(self._laid_for, len(self))
