"""Keeps answers: in memory at once, in the index and on disk soon after, none of it on the path.

Rule 1: memory is the truth of this process; index and disk follow it in the order of its changes.
Rule 2: an entry that memory lets go (replaced, evicted, expired) leaves the index and the disk.
Rule 3: what was asked for before an invalidation that names it is never kept: see cache.epochs.
Rule 4: a fault of the index or the disk costs the entry's meaning or its life after a restart,
        never the answer and never the service.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple, Protocol, TypeVar

from cache.entry import Entry, EntryId, Vector
from cache.epochs import Epochs, Mark, Selector
from cache.errors import CacheError
from cache.stores.disk import DiskStore
from cache.stores.memory import MemoryStore
from sidecar.errors import EncoderError

T = TypeVar("T")

MAX_WAITING: Final = 10_000
"""Chosen: writes that may wait for a slow disk; beyond it an entry lives in memory alone."""

_GATHER_S: Final = 0.02
"""Chosen: one transaction gathers what 20 ms bring; a kill -9 costs no more than that."""

_AT_ONCE: Final = 128
"""Chosen: entries in one work of the index's owner: 15 ms at 100,000 rows, then texts again."""

_SWEEP_S: Final = 60.0
"""Chosen: an expired entry is never served; once a minute it also stops taking room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskConfig:
    """Where entries live on after a restart.

    Attributes:
        path: The SQLite file; empty keeps them in memory alone.
    """

    path: str = ""


class Owner(Protocol):
    """The thread that owns the index."""

    def post(self, work: Callable[[], None]) -> None:
        """Have `work` done there, in order; raises EncoderError if too much waits."""
        ...

    async def run(self, work: Callable[[], T]) -> T:
        """What `work` returns, done there; raises EncoderError."""
        ...


class MeaningKeeper(Protocol):
    """The half of SemanticCache that changes it."""

    def add(
        self,
        entry_id: EntryId,
        partition: bytes,
        question: str,
        vector: Vector,
        expires_at: float,
    ) -> None:
        """Raises CacheError."""
        ...

    def remove(self, entry_id: EntryId) -> None:
        """An id that is not kept is no fault."""
        ...


class Hook(Protocol):
    """Hears what the keeper cannot raise."""

    def lost_write(self, count: int) -> None:
        """So many entries or removals did not reach the disk."""
        ...


class Keeper:
    """The one owner of kept entries."""

    def __init__(
        self,
        *,
        store: MemoryStore,
        index: MeaningKeeper,
        owner: Owner,
        disk: DiskStore | None,
        disk_thread: Executor,
        hook: Hook,
        keep_stale_s: float = 0.0,
    ) -> None:
        """`keep_stale_s` is how long an expired entry still takes room, to be served as stale."""
        self.epochs = Epochs()
        self._keep_stale_s = keep_stale_s
        self._store = store
        self._index = index
        self._owner = owner
        self._disk = disk
        self._disk_thread = disk_thread
        self._hook = hook
        self._next_id = 1
        self._waiting: deque[Entry | EntryId | Mark] = deque()
        self._held_back: deque[Callable[[], None]] = deque()
        self._has_work = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> int:
        """Fill memory and index from disk; how many entries came back.

        Raises:
            CacheError: The disk store can be opened and yet not be read.
            EncoderError: The owner of the index is closed.
        """
        self._tasks.append(asyncio.create_task(self._sweep_forever()))
        if self._disk is not None:
            try:
                await self._restore(self._disk)
            except (CacheError, EncoderError):
                self._disk = None  # from here on in memory alone: nobody would write what waits
                raise
            self._tasks.append(asyncio.create_task(self._write_forever(self._disk)))
        return len(self._store)

    async def _restore(self, disk: DiskStore) -> None:
        oldest_at = time.time() - self._keep_stale_s
        loop = asyncio.get_running_loop()
        loaded = await loop.run_in_executor(self._disk_thread, _load, disk, oldest_at)
        self._next_id = loaded.top + 1
        newest = max((entry.epoch for entry in loaded.entries), default=0)
        self.epochs.restore(loaded.marks, newest)
        for entry in loaded.entries:
            had_to_leave = (entry,) if self.epochs.voids(entry) else self._store.put(entry)
            self._waiting.extend(gone.entry_id for gone in had_to_leave)
        # One work for all: entry by entry they would overrun the owner's queue.
        kept = list(self._store)
        await self._owner.run(lambda: self._index_all(kept))
        if self._waiting:
            self._has_work.set()

    @property
    def is_persisted(self) -> bool:
        """What is kept is written to a disk."""
        return self._disk is not None

    def next_id(self) -> EntryId:
        """An id that no entry ever had."""
        self._next_id += 1
        return self._next_id - 1

    def keep(self, entry: Entry) -> bool:
        """Keep `entry` from now on; whether it is kept. Returns at once."""
        if self.epochs.voids(entry):
            return False
        self._remember(entry)
        if self._store.peek(entry.entry_id) is None:
            return False
        self._later(entry)
        return True

    def forget(self, entry_id: EntryId) -> bool:
        """Forget one entry in memory at once, in index and disk soon after; whether it was kept."""
        gone = self._store.remove(entry_id)
        if gone is not None:
            self._forget([gone])
        return gone is not None

    def named(self, selector: Selector) -> list[Entry]:
        """The entries that `selector` names. Looks at every entry."""
        return [entry for entry in self._store if selector.covers(entry)]

    async def invalidate(self, selector: Selector) -> bool:
        """Forget what `selector` names, kept or still on its way; whether a disk has it in writing.

        Nothing named is served from the first instant on; what is awaited is the disk alone.
        """
        mark = self.epochs.raise_for(selector, time.time())
        named = self.named(mark.selector)
        for entry in named:
            self._store.remove(entry.entry_id)
        self._forget(named)
        if self._disk is None:
            return False
        self._waiting.append(mark)
        return await self._write(self._disk)

    def allot(self, quotas: Mapping[str, int]) -> None:
        """Give each tenant the quota that stands here, in bytes, and no other."""
        self._forget(self._store.allot(quotas))

    def _remember(self, entry: Entry) -> None:
        had_to_leave = self._store.put(entry)
        self._forget(had_to_leave)
        if entry.vector is not None and entry not in had_to_leave:
            self._post(lambda: self._index_all([entry]))

    def _index_all(self, entries: Iterable[Entry]) -> None:
        """On the owner's thread."""
        for entry in entries:
            if entry.vector is not None and entry.partition is not None:
                self._index.add(
                    entry.entry_id,
                    entry.partition,
                    entry.question,
                    entry.vector,
                    entry.expires_at,
                )

    def _forget(self, gone: Sequence[Entry]) -> None:
        """Have index and disk follow; however many leave at once, none is dropped for it."""
        known = [entry.entry_id for entry in gone if entry.vector is not None]
        for begin in range(0, len(known), _AT_ONCE):
            self._post(partial(self._unindex, known[begin : begin + _AT_ONCE]))
        if self._disk is not None and gone:
            self._waiting.extend(entry.entry_id for entry in gone)
            self._has_work.set()

    def _unindex(self, entry_ids: Iterable[EntryId]) -> None:
        """On the owner's thread."""
        for entry_id in entry_ids:
            self._index.remove(entry_id)

    def _post(self, work: Callable[[], None]) -> None:
        """Hand `work` to the owner; while its queue is full, hold it back, in order."""
        self._held_back.append(work)
        self._hand_over()

    def _hand_over(self) -> None:
        try:
            while self._held_back:
                self._owner.post(self._held_back[0])
                self._held_back.popleft()
        except EncoderError:
            if len(self._held_back) > MAX_WAITING:
                # Removals go too: the store answers for what is gone, the index only points to it.
                self._held_back.popleft()
                self._hook.lost_write(1)

    def _later(self, change: Entry | EntryId) -> None:
        if self._disk is None:
            return
        if len(self._waiting) >= MAX_WAITING:
            self._hook.lost_write(1)
            return
        self._waiting.append(change)
        self._has_work.set()

    async def _write_forever(self, disk: DiskStore) -> None:
        while True:
            await self._has_work.wait()
            await asyncio.sleep(_GATHER_S)
            await self._write(disk)

    async def _write(self, disk: DiskStore) -> bool:
        changes = list(self._waiting)
        self._waiting.clear()
        self._has_work.clear()
        removals = [change for change in changes if isinstance(change, int)]
        gone = set(removals)
        puts = [c for c in changes if isinstance(c, Entry) and c.entry_id not in gone]
        marks = [change for change in changes if isinstance(change, Mark)]
        try:
            loop = asyncio.get_running_loop()
            writing = loop.run_in_executor(self._disk_thread, disk.write, puts, removals, marks)
            # Shielded: cancelled before the thread took it up, the changes would be lost untold.
            await asyncio.shield(writing)
        except CacheError:
            self._hook.lost_write(len(changes))
            return False
        return True

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            self._forget(self._store.expired(time.time() - self._keep_stale_s))
            self._hand_over()

    async def close(self) -> None:
        """Write what waits, and close the disk."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._disk is not None:
            await self._write(self._disk)
            await asyncio.get_running_loop().run_in_executor(self._disk_thread, self._disk.close)


class _Loaded(NamedTuple):
    entries: Sequence[Entry]
    marks: Sequence[Mark]
    top: EntryId


def _load(disk: DiskStore, oldest_at: float) -> _Loaded:
    return _Loaded(list(disk.load(oldest_at)), disk.marks(), disk.max_entry_id())
