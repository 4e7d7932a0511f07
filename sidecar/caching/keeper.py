"""Keeps answers: in memory at once, in the index and on disk soon after, none of it on the path.

Rule 1: memory is the truth of this process; index and disk follow it in the order of its changes.
Rule 2: what is replaced, forgotten, invalidated or expired leaves memory, index and disk. What
        memory has no room for stays in the other two, if there is a disk, and comes up again
        (`rise`) when it is asked for.
Rule 3: what was asked for before an invalidation that names it is neither kept nor brought up, nor
        served from memory while that is being swept: see cache.epochs.
Rule 4: a fault of the index or the disk costs the entry's meaning or its life after a restart,
        never the answer and never the service.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Final, NamedTuple

from cache.entry import Entry, EntryId
from cache.epochs import Epochs, Mark, Selector
from cache.errors import CacheError
from cache.stores.disk import Gone
from cache.stores.memory import MemoryStore, entry_bytes
from sidecar.caching.indexing import Indexing
from sidecar.caching.persistence import Persistence

_SWEPT_AT_ONCE: Final = 256
"""Chosen: entries of memory looked at before the loop turns to its callers: half a millisecond."""

_SWEEP_S: Final = 60.0
"""Chosen: an expired entry is never served; once a minute it also stops taking room."""


class Tally(NamedTuple):
    """What a selector names.

    Attributes:
        entries: How many, in memory and on disk.
        size_bytes: Of them.
        in_memory: Those that memory holds.
    """

    entries: int
    size_bytes: int
    in_memory: Sequence[Entry]


class Keeper:
    """The one owner of kept entries."""

    def __init__(
        self,
        *,
        store: MemoryStore,
        indexing: Indexing,
        below: Persistence | None,
        keep_stale_s: float = 0.0,
        on_void: Callable[[], None] = lambda: None,
    ) -> None:
        """`keep_stale_s` is how long an expired entry still takes room, to be served as stale.

        `on_void` hears of each invalidation, before anything else is done.
        """
        self._on_void = on_void
        self.epochs = Epochs()
        self._keep_stale_s = keep_stale_s
        self._store = store
        self._indexing = indexing
        self._below = below
        self._next_id = 1
        self._sweeping = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._invalidating: set[asyncio.Task[bool]] = set()

    async def start(self) -> int:
        """Go on from what the disk keeps; how many entries that is. None of them is read yet.

        Raises:
            CacheError: The disk store can be opened and yet not be read.
        """
        self._tasks.append(asyncio.create_task(self._sweep_forever()))
        if self._below is None:
            return 0
        try:
            kept = await self._below.start(on_written=self._written, on_gone=self._gone)
        except CacheError:
            self._below = None  # from here on in memory alone: nobody would write what waits
            raise
        self._next_id = kept.top + 1
        self.epochs.restore(kept.marks, kept.epoch)
        return kept.entries

    @property
    def is_persisted(self) -> bool:
        """What is kept is written to a disk."""
        return self._below is not None

    def next_id(self) -> EntryId:
        """An id that no entry ever had."""
        self._next_id += 1
        return self._next_id - 1

    def keep(self, entry: Entry) -> bool:
        """Keep `entry` from now on; whether it is kept. Returns at once."""
        if self.epochs.voids(entry):
            return False
        left = self._store.put(entry)
        self._forget(left.replaced)
        has_no_room = [one for one in left.evicted if one[0] is entry]
        if has_no_room and self._below is None:
            return False
        self._let_go([one for one in left.evicted if one[0] is not entry])
        if entry.vector is not None and entry.partition is not None:
            self._indexing.add(entry)
        if self._below is not None:
            self._below.put(entry)
            self._let_go(has_no_room)
        return True

    def is_void(self, entry: Entry) -> bool:
        """`entry`, which memory holds, was invalidated, and is about to be swept out."""
        return self._sweeping > 0 and self.epochs.voids(entry)

    @property
    def ticket(self) -> int:
        """To be drawn before the disk is read, see `rise`."""
        return self._below.ticket if self._below is not None else 0

    async def find_below(self, fingerprint: bytes) -> Entry | None:
        """The entry that the disk alone keeps under `fingerprint`, expired or not; in time."""
        if self._below is None or self._store.peek_by_fingerprint(fingerprint) is not None:
            return None
        ticket = self.ticket
        found = await self._below.find(fingerprint)
        return self.rise(*found, ticket=ticket) if found is not None else None

    def rise(self, entry: Entry, uses: int = 1, *, ticket: int) -> Entry | None:
        """What was read from disk with `ticket`, now in memory too; None if it may not serve."""
        if self._below is None or not self._below.may_rise(entry, ticket):
            return None
        if self.epochs.voids(entry):
            self._forget([entry])
            return None
        if (newer := self._store.peek_by_fingerprint(entry.fingerprint)) is not None:
            return newer if newer.entry_id == entry.entry_id else None
        left = self._store.put(entry, uses)
        self._let_go([one for one in left.evicted if one[0] is not entry])
        if entry.vector is not None and self._store.peek(entry.entry_id) is not None:
            self._indexing.hold(entry)
        return entry

    async def entry(self, entry_id: EntryId) -> Entry | None:
        """One entry, in memory or on disk, expired or not; looking is no use of it."""
        entry = self._store.peek(entry_id)
        if entry is None and self._below is not None:
            ticket = self.ticket
            try:
                entry = await self._below.entry(entry_id)
            except CacheError:
                return None
            if entry is not None and not self._below.may_rise(entry, ticket):
                return None
        return None if entry is None or self.epochs.voids(entry) else entry

    def forget(self, entry_id: EntryId) -> bool:
        """Forget one entry in memory at once, in index and disk soon after; whether it was kept."""
        gone = self._store.remove(entry_id)
        if gone is not None:
            self._forget([gone])
        elif self._below is not None:
            # Where it lies is not known; if it is only on disk, it leaves the index when it is met.
            self._indexing.forget(entry_id)
            self._below.drop([Gone(entry_id, None)])
        return gone is not None or self._below is not None

    async def tally(self, selector: Selector) -> Tally:
        """What `selector` names. Looks at every entry, a few at a time."""
        named = [e async for some in self._slices() for e in some if selector.covers(e)]
        if self._below is not None:
            try:
                entries, size_bytes = await self._below.sizes(selector)
            except CacheError:
                pass  # what memory holds is known all the same
            else:
                return Tally(entries, size_bytes, named)
        return Tally(len(named), sum(map(entry_bytes, named)), named)

    async def invalidate(self, selector: Selector) -> bool:
        """Forget what `selector` names, kept or still on its way; whether a disk has it in writing.

        Nothing named is served from the first instant on; what is awaited is memory and the mark.
        """
        mark = self.epochs.raise_for(selector, time.time())
        self._on_void()
        self._sweeping += 1
        task = asyncio.create_task(self._carry_out(mark))
        self._invalidating.add(task)
        task.add_done_callback(self._invalidating.discard)
        return await asyncio.shield(task)  # whoever asked may leave: it is carried out all the same

    async def _carry_out(self, mark: Mark) -> bool:
        try:
            async for some in self._slices():
                named = [e for e in some if e.epoch < mark.epoch and mark.selector.covers(e)]
                for entry in named:
                    self._store.remove(entry.entry_id)
                self._indexing.remove(_gone(named))
                if self._below is not None:
                    self._below.is_gone(entry.entry_id for entry in named)
        finally:
            self._sweeping -= 1
        return self._below is not None and await self._below.mark(mark)

    async def _slices(self) -> AsyncIterator[list[Entry]]:
        """Every entry of memory that stays for as long as this takes, a few at a time."""
        entries = list(self._store)
        for begin in range(0, len(entries), _SWEPT_AT_ONCE):
            some = entries[begin : begin + _SWEPT_AT_ONCE]
            yield [entry for entry in some if self._store.peek(entry.entry_id) is entry]
            await asyncio.sleep(0)

    def allot(self, quotas: Mapping[str, int]) -> None:
        """Give each tenant the quota that stands here, in bytes, and no other."""
        self._let_go(self._store.allot(quotas))

    def _let_go(self, evicted: Sequence[tuple[Entry, int]]) -> None:
        """Memory has no room for these."""
        if self._below is None:
            self._forget([entry for entry, _ in evicted])
        elif evicted:
            self._below.let_go(evicted)

    def _forget(self, gone: Sequence[Entry]) -> None:
        """Have index and disk follow; however many leave at once, none is dropped for it."""
        departing = _gone(gone)
        self._indexing.remove(departing)
        if self._below is not None:
            self._below.drop(departing)

    def _written(self, kept: Sequence[EntryId], released: Sequence[EntryId]) -> None:
        """These are on disk now, and memory has let go of some before."""
        if kept:
            self._indexing.settle(kept)
        # What came up again meanwhile is held again.
        let_go = [entry_id for entry_id in released if self._store.peek(entry_id) is None]
        if let_go:
            self._indexing.release(let_go)

    def _gone(self, gone: Sequence[Gone]) -> None:
        """These are off the disk; what memory does not hold either leaves the index.

        It may have left before, and come back with a partition that was read before this.
        """
        assert self._below is not None  # noqa: S101 - it tells us
        nowhere = [one for one in gone if self._store.peek(one.entry_id) is None]
        for one in gone:
            if self._store.peek(one.entry_id) is not None:
                self._below.stays_in_memory(one.entry_id)
        self._indexing.remove(nowhere)

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            self._forget(self._store.expired(time.time() - self._keep_stale_s))
            self._indexing.hand_over()

    async def close(self) -> None:
        """Write what waits, and close the disk."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, *self._invalidating, return_exceptions=True)
        if self._below is not None:
            await self._below.close()


def _gone(entries: Sequence[Entry]) -> list[Gone]:
    return [Gone(entry.entry_id, entry.partition) for entry in entries]
