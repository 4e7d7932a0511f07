"""Entries in, kept on disk behind everybody's back; keys in, what the disk keeps under them out.

The disk holds more than memory does: what memory lets go for want of room stays here, and comes up
again when it is asked for. What waits to be written is the `backlog`, who left is in `departures`,
`reads` are made on a thread of their own, and `upkeep` takes off what leaves by itself.

Rule 1: changes reach the disk in their order, some 20 ms of them in one transaction.
Rule 2: what was told to leave never comes up again, not out of a read that began before it left.
Rule 3: what fails is told (`on_gone`, the hook) and costs a miss; removals are tried again. Where
        more are owed than may be held, memory is all there is from then on, and all that is on disk
        is void as soon as that can be written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from cache.entry import Entry, EntryId
from cache.epochs import Mark, Selector
from cache.errors import CacheError
from cache.stores.disk import DiskStore, Gone
from sidecar.caching.backlog import Backlog, Batch
from sidecar.caching.departures import Departures
from sidecar.caching.reads import Reads
from sidecar.caching.upkeep import IDS_AT_ONCE, Upkeep
from sidecar.disk.sealing import cipher_of
from sidecar.process.works import done_on

_GATHER_S: Final = 0.02
"""Chosen: one transaction gathers what 20 ms bring; a kill -9 costs no more than that."""

_UPKEEP_S: Final = 1.0
"""Chosen: how often what failed is tried again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskConfig:
    """The `[cache.disk]` table: where entries live below memory and after a restart.

    Attributes:
        path: The SQLite file; empty keeps them in memory alone.
        max_bytes: What the file may take; the oldest that are worth least leave.
        budget_s: How long a caller may be kept waiting for it.
        key: Of 32 bytes, as hex or base64, better as `env:NAME`: what was asked and answered is
            sealed with it; empty writes it as it is.

    Raises:
        ValueError: The size or the time is too small, or the key is none.
    """

    path: str = ""
    # Chosen: a million entries of 3 kB and more; an ephemeral volume of a pod has room for it.
    max_bytes: int = 4 * 2**30
    # Chosen: a read takes 0.1 ms where the page is in memory and 10 ms on a slow disk; a model's
    # answer takes seconds.
    budget_s: float = 0.05
    key: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        cipher_of(self.key)  # refuses what is no key
        if self.max_bytes < 2**20:
            raise ValueError(f"max_bytes must be at least {2**20}, is {self.max_bytes}")
        if self.budget_s <= 0:
            raise ValueError(f"budget_s must be positive, is {self.budget_s}")


class Hook(Protocol):
    """Hears what cannot be raised."""

    def lost_write(self, count: int) -> None:
        """So many entries or removals did not reach the disk."""
        ...


class Kept(NamedTuple):
    """What an earlier process left.

    Attributes:
        marks: The invalidations in force.
        half_done: Of them, those whose rows may still be there.
        epoch: The highest that was ever written.
        top: The highest id that was ever given out.
        entries: How many there are.
    """

    marks: Sequence[Mark]
    half_done: Sequence[Mark]
    epoch: int
    top: EntryId
    entries: int


class Persistence:
    """The disk, on the event loop's side. One owner: the loop.

    Attributes:
        holds_more: There may be entries on disk that memory does not hold.
    """

    def __init__(
        self,
        *,
        disk: DiskStore,
        reads: Reads,
        thread: Executor,
        hook: Hook,
        keep_stale_s: float = 0.0,
    ) -> None:
        """`thread` writes; `keep_stale_s` is how long an expired entry still takes room."""
        self.holds_more = False
        self._disk = disk
        self._reads = reads
        self._thread = thread
        self._hook = hook
        self._backlog = Backlog()
        self._departures = Departures()
        self._upkeep = Upkeep(disk, thread=thread, on_gone=self._left, keep_stale_s=keep_stale_s)
        self._on_written: Callable[[list[EntryId], list[EntryId]], None] = lambda *_: None
        self._on_gone: Callable[[Sequence[Gone]], None] = lambda _: None
        self._has_work = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(
        self,
        *,
        on_written: Callable[[list[EntryId], list[EntryId]], None],
        on_gone: Callable[[Sequence[Gone]], None],
    ) -> Kept:
        """Begin to work; what an earlier process left.

        `on_written` hears which entries are on disk now, and which memory let go before that;
        `on_gone` which left the disk without having been told to.

        Raises:
            CacheError: The disk can be opened and yet not be read; nothing is begun.
        """
        self._on_written, self._on_gone = on_written, on_gone
        kept = await done_on(self._thread, _kept, self._disk)
        self.holds_more = kept.entries > 0
        self._upkeep.void(kept.half_done)
        loops = (self._write_forever(), self._keep_up_forever())
        self._tasks = [asyncio.create_task(loop) for loop in loops]
        return kept

    @property
    def ticket(self) -> int:
        """To be drawn before a read, and shown to `may_rise` with what was read."""
        return self._departures.ticket

    def may_rise(self, entry: Entry, ticket: int) -> bool:
        """What was read may be served: it neither left nor was replaced since."""
        has_left = self._departures.refuses(entry.entry_id, ticket)
        return not (has_left or self._backlog.replaces(entry))

    async def find(self, fingerprint: bytes) -> tuple[Entry, int] | None:
        """The entry under `fingerprint`, expired or not, and its uses; in time, else none."""
        if not (self.holds_more and self._departures.is_trusted):
            return None
        if (waiting := self._backlog.find(fingerprint)) is not None:
            return waiting
        ticket = self.ticket
        return await self._reads.find(fingerprint, lambda entry: self.may_rise(entry, ticket))

    def put(self, entry: Entry) -> None:
        """Keep `entry` soon. Returns at once."""
        if self._backlog.put(entry):
            self._departures.welcome(entry.entry_id)
            self._has_work.set()
        else:
            self._hook.lost_write(1)

    def drop(self, gone: Iterable[Gone]) -> None:
        """Forget these: none of them comes up from now on, and soon none is on disk."""
        for one in gone:
            self._departures.begin(one)
            self._backlog.drop(one.entry_id)
            self._has_work.set()

    def is_gone(self, entry_ids: Iterable[EntryId]) -> None:
        """An invalidation took these out of memory; its mark takes them off the disk."""
        for entry_id in entry_ids:
            self._backlog.forget(entry_id)

    def stays_in_memory(self, entry_id: EntryId) -> None:
        """The disk let go of this one, and memory did not: it is written again when it must be."""
        self._backlog.lack(entry_id)

    def let_go(self, evicted: Iterable[tuple[Entry, int]]) -> None:
        """Memory has no room for these, used so often: the disk alone keeps them from now on."""
        self.holds_more = True
        for entry, uses in evicted:
            if self._backlog.release(entry, uses):
                self._departures.welcome(entry.entry_id)
            else:
                self._hook.lost_write(1)
                self._on_gone([Gone(entry.entry_id, entry.partition)])
        self._has_work.set()

    async def mark(self, mark: Mark) -> bool:
        """Have an invalidation in writing; whether it is. What it names leaves behind it."""
        self._backlog.mark(mark)
        is_written = await self._write()
        self._upkeep.void([mark])
        return is_written

    async def _write_forever(self) -> None:
        while True:
            await self._has_work.wait()
            await asyncio.sleep(_GATHER_S)
            if await self._write():
                await self._make_room()

    async def _make_room(self) -> None:
        try:
            await self._upkeep.make_room()
        except CacheError:
            self._hook.lost_write(1)

    async def _write(self) -> bool:
        batch = self._backlog.take()
        self._has_work.clear()
        try:
            off = await done_on(self._thread, _write, self._disk, batch)
        except CacheError:
            self._failed(batch)
            return False
        finally:
            self._backlog.settle(batch)
        left = self._departures.end(batch.removals)
        self._on_written([entry.entry_id for entry in batch.puts], list(batch.released))
        # The disk knows the partitions of all that was on it.
        gone = [*left, *batch.overtaken, *off]
        self._left(list({one.entry_id: one for one in gone}.values()))
        return True

    def _failed(self, batch: Batch) -> None:
        """Nothing was written: who is in memory lives there alone, who is not is gone."""
        self._hook.lost_write(len(batch))
        if self._departures.give_up():
            self._give_up()
        nowhere, on_disk = self._backlog.failed(batch)
        self._on_gone(nowhere)
        self._on_written([], on_disk)

    def _give_up(self) -> None:
        """The disk owes more removals than may be held: all that it holds is void instead."""
        self._backlog.close()
        self._upkeep.void_all()
        self._failed(self._backlog.take())

    def _left(self, gone: Sequence[Gone]) -> None:
        """These are off the disk."""
        self._departures.note(gone)
        if gone:
            self._on_gone(gone)

    async def _keep_up_forever(self) -> None:
        while True:
            await asyncio.sleep(_UPKEEP_S)
            try:
                if self._backlog:
                    self._has_work.set()
                await self.carry_out()
                await self._upkeep.sweep()
            except CacheError:
                self._hook.lost_write(1)

    async def carry_out(self) -> None:
        """See Upkeep."""
        await self._upkeep.carry_out()

    async def sizes(self, selector: Selector) -> tuple[int, int]:
        """How many entries `selector` names, and their bytes. Looks at every row.

        Raises:
            CacheError: The disk cannot be read.
        """
        await self._write()
        top = await done_on(self._thread, self._disk.max_entry_id)
        count = size = 0
        for after in range(-1, top, IDS_AT_ONCE):
            some = await self._reads.sizes(selector, after, after + IDS_AT_ONCE)
            count, size = count + some[0], size + some[1]
        return count, size

    async def entry(self, entry_id: EntryId) -> Entry | None:
        """See Reads."""
        return await self._reads.entry(entry_id)

    async def close(self) -> None:
        """Write what waits, and close the disk."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._write()
        # The last to close folds the log into the file, and who only reads cannot.
        await self._reads.close()
        await done_on(self._thread, self._disk.close)


def _kept(disk: DiskStore) -> Kept:
    return Kept(
        marks=disk.marks(),
        half_done=disk.marks_to_carry_out(),
        epoch=disk.max_epoch(),
        top=disk.max_entry_id(),
        entries=disk.count(),
    )


def _write(disk: DiskStore, batch: Batch) -> list[Gone]:
    gone = disk.write(batch.puts, batch.removals, batch.marks)
    if often := [use for use in batch.released.items() if use[1] > 1]:
        disk.used(often)
    return gone
