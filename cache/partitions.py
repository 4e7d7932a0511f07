"""Partitions in, the index of each out: those asked for lately in memory, the rest on disk.

A partition is opened when it is first asked for: a small one at once, in the same trip; a large one
by whoever is told that it is wanted (`Wanted`), on another thread, and until then it finds nothing.
Whichever was asked for least lately is closed when all together take more than they may; a
partition that is more than that alone keeps its newest rows.

Rule 1: what is open holds what the disk holds and what is on its way there, less what left.
Rule 2: without a disk every partition is open, and none is closed.
Rule 3: one that is being laid anew is not closed meanwhile.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from cache.entry import EntryId, Vector
from cache.growth import Change, GrowingIndex, Layout
from cache.index.codes import Rows

SMALL: Final = 512
"""Chosen: rows that are read while somebody waits: 2 ms. More are read in the background."""

_SHED: Final = 64
"""Chosen: rows that leave at a time where one partition is more than all may take."""


class VectorSource(Protocol):
    """The vectors on disk, read by the thread that owns the index."""

    def rows(self, partition: bytes, dim: int, limit: int) -> Rows | None:
        """The first `limit` rows of a partition; None if it has none. Raises CacheError."""
        ...


class Partitions:
    """All that may be searched. One owner; nothing in here takes a lock."""

    def __init__(
        self,
        *,
        source: VectorSource | None = None,
        max_bytes: int = 2**63,
        on_wanted: Callable[[bytes], None] = lambda _: None,
        unwritten: Callable[[bytes], Iterable[Change]] = lambda _: (),
    ) -> None:
        """`unwritten` gives a partition's rows that are not on disk yet."""
        self._source = source
        self._max_bytes = max_bytes
        self._on_wanted = on_wanted
        self._unwritten = unwritten
        self._open: OrderedDict[bytes, GrowingIndex] = OrderedDict()
        self._sizes: dict[bytes, tuple[int, int]] = {}  # rows and bytes of each, as last looked
        self.rows = 0
        self.bytes_held = 0

    def __len__(self) -> int:
        return len(self._open)

    def find(self, partition: bytes, dim: int) -> GrowingIndex | None:
        """The partition's index, which may have to be waited for (`is_open`); None if it is empty.

        Raises:
            CacheError: The disk cannot be read.
        """
        index = self._open.get(partition)
        if index is None:
            index = self._from_disk(partition, dim)
        if index is not None:
            self._open.move_to_end(partition)
        return index

    def _from_disk(self, partition: bytes, dim: int) -> GrowingIndex | None:
        if self._source is None:
            return None
        rows = self._source.rows(partition, dim, SMALL + 1)
        fresh = list(self._unwritten(partition))
        if rows is None and not fresh:
            return None
        is_small = rows is None or len(rows.ids) <= SMALL
        index = self._open[partition] = GrowingIndex(dim, is_open=is_small)
        if not is_small:
            index.begin()
            self._on_wanted(partition)
        elif rows is not None:
            index.take(rows)
        for entry_id, vector in fresh:
            if vector is not None and entry_id not in index:
                index.add(entry_id, vector)
        self._sized(partition)
        return index

    def add(self, partition: bytes, entry_id: EntryId, vector: Vector) -> None:
        """Keep a vector; one that was read from disk meanwhile is there already.

        Raises:
            CacheError: The index or the disk refuses.
        """
        index = self.find(partition, len(vector))
        if index is None:
            index = GrowingIndex(len(vector))
        if entry_id not in index:
            index.add(entry_id, vector)
        self._open[partition] = index
        self._sized(partition)
        if index.is_outgrown:
            self._on_wanted(partition)

    def remove(self, partition: bytes, entry_id: EntryId) -> None:
        """Forget a vector; one that is not kept is no fault. Raises CacheError."""
        index = self._open.get(partition)
        if index is not None:
            index.remove(entry_id)
            self._sized(partition)

    def _sized(self, partition: bytes) -> None:
        """Count what it takes now; free it if it is empty, close others if all is too much."""
        index = self._open[partition]
        if not len(index) and not index.is_laid:
            self._close(partition)
            return
        self._count(partition, index)
        if self.bytes_held > self._max_bytes and self._source is not None:
            self._make_room(partition)

    def _count(self, partition: bytes, index: GrowingIndex) -> None:
        rows, held = self._sizes.get(partition, (0, 0))
        now = self._sizes[partition] = len(index), index.bytes_held
        self.rows, self.bytes_held = self.rows + now[0] - rows, self.bytes_held + now[1] - held

    def _make_room(self, partition: bytes) -> None:
        for other in list(self._open):
            if self.bytes_held <= self._max_bytes:
                return
            if other != partition and not self._open[other].is_laid:
                self._close(other)
        index = self._open[partition]
        if self.bytes_held > self._max_bytes and not index.is_laid:
            for entry_id in index.oldest(_SHED):
                index.remove(entry_id)
            self._count(partition, index)

    def _close(self, partition: bytes) -> None:
        rows, held = self._sizes.pop(partition, (0, 0))
        del self._open[partition]
        self.rows, self.bytes_held = self.rows - rows, self.bytes_held - held

    # The steps by which a partition is laid anew, see `cache.growth`.

    def begin(self, partition: bytes, *, is_forced: bool = False) -> GrowingIndex | None:
        """The index that is to be laid, its changes noted from now on; None if there is no need."""
        index = self._open.get(partition)
        if index is None or (index.is_open and index.is_laid):
            return None
        if index.is_open:
            if not (index.is_outgrown or is_forced):
                return None
            index.begin()
        return index

    def end(self, partition: bytes, index: GrowingIndex, layout: Layout | None) -> Layout | None:
        """Go on with `layout`, or, without one, with the old; what is not needed any more.

        Raises:
            CacheError: See GrowingIndex.swap.
        """
        if layout is not None:
            old = index.swap(layout)
        elif index.is_open:
            index.give_up()
            return None
        else:
            old = None
            self._close(partition)  # it is asked for again at the next search
        if partition in self._open:
            self._sized(partition)
        return old
