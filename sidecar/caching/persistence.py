"""Entries in, kept on disk behind everybody's back; keys in, what the disk keeps under them out.

The disk holds more than memory does: what memory lets go for want of room stays here, and comes up
again when it is asked for. Two threads work for it: one writes, one reads for callers who wait.

Rule 1: changes reach the disk in their order, some 20 ms of them in one transaction.
Rule 2: what was told to leave never comes up again, not out of a read that began before it left:
        an id that has left is refused, and where too many left meanwhile, so is every id.
Rule 3: what fails is told (`on_gone`, the hook) and costs a miss; removals are tried again.
Rule 4: work that may take long (an invalidation's rows, making room) is done batch by batch, so
        that a write waits for one batch and the event loop for none.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple, Protocol, TypeVar

from cache.entry import Entry, EntryId
from cache.epochs import Mark, Selector
from cache.errors import CacheError
from cache.stores.disk import DiskStore, Gone
from cache.stores.reader import DiskReader
from sidecar.disk.sealing import cipher_of

T = TypeVar("T")

MAX_WAITING: Final = 10_000
"""Chosen: writes that may wait for a slow disk; beyond it an entry lives in memory alone."""

MAX_DEPARTED: Final = 8_192
"""Chosen: ids remembered as gone; a read takes milliseconds, in which fewer leave."""

MAX_DEPARTING: Final = 65_536
"""Chosen: ids that a disk which cannot be written may owe us; beyond it it is read no more."""

MAX_READING: Final = 64
"""Chosen: reads that may wait for the disk; beyond it a look-up is a miss."""

_GATHER_S: Final = 0.02
"""Chosen: one transaction gathers what 20 ms bring; a kill -9 costs no more than that."""

_UPKEEP_S: Final = 1.0
"""Chosen: how often what failed is tried again."""

_SWEEP_S: Final = 60.0
"""Chosen: an expired entry is never served; once a minute it also stops taking room."""

_AT_ONCE: Final = 512
"""Chosen: expired rows that leave in one transaction, 10 ms of the writer's thread."""

_IDS_AT_ONCE: Final = 1_000
"""Chosen: ids looked at in one transaction for those that an invalidation names."""


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

    def read_disk(self, outcome: str) -> None:
        """A caller's read ended: `hit`, `miss`, `late`, `fault`, or `busy` and not begun."""
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
        reader: DiskReader,
        write_thread: Executor,
        read_thread: Executor,
        hook: Hook,
        budget_s: float = 0.05,
        keep_stale_s: float = 0.0,
    ) -> None:
        """`keep_stale_s` is how long an expired entry still takes room, to be served as stale."""
        self.holds_more = False
        self._disk = disk
        self._reader = reader
        self._write_thread = write_thread
        self._read_thread = read_thread
        self._hook = hook
        self._budget_s = budget_s
        self._keep_stale_s = keep_stale_s
        self._on_written: Callable[[list[EntryId], list[EntryId]], None] = lambda *_: None
        self._on_gone: Callable[[Sequence[Gone]], None] = lambda _: None
        self._waiting: deque[Entry | EntryId | Mark] = deque()
        self._unwritten: dict[bytes, Entry] = {}  # by fingerprint, of what waits
        self._lost: set[EntryId] = set()  # in memory, and not on disk nor on its way there
        self._released: dict[EntryId, int] = {}  # let go by memory, with their uses
        self._departing: dict[EntryId, Gone] = {}  # told to leave, and not off the disk yet
        self._departed: OrderedDict[EntryId, None] = OrderedDict()
        self._departures = 0
        self._reading = 0
        self._is_readable = True
        self._voiding: deque[Mark] = deque()
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
        kept = await self._on_disk(partial(_kept, self._disk))
        self.holds_more = kept.entries > 0
        self._voiding.extend(kept.half_done)
        loops = (self._write_forever(), self._keep_up_forever())
        self._tasks = [asyncio.create_task(loop) for loop in loops]
        return kept

    @property
    def ticket(self) -> int:
        """To be drawn before a read, and shown to `may_rise` with what was read."""
        return self._departures

    def may_rise(self, entry: Entry, ticket: int) -> bool:
        """What was read may be served: it neither left nor was replaced since."""
        if self._departures - ticket > MAX_DEPARTED or not self._is_readable:
            return False
        is_gone = entry.entry_id in self._departing or entry.entry_id in self._departed
        waiting = self._unwritten.get(entry.fingerprint, entry)
        return not is_gone and waiting.entry_id == entry.entry_id

    async def find(self, fingerprint: bytes) -> tuple[Entry, int] | None:
        """The entry under `fingerprint`, expired or not, and its uses; in time, else none."""
        if not (self.holds_more and self._is_readable):
            return None
        if (waiting := self._unwritten.get(fingerprint)) is not None:
            return waiting, self._released.get(waiting.entry_id, 1)
        if self._reading >= MAX_READING:
            self._hook.read_disk("busy")
            return None
        ticket = self.ticket
        try:
            async with asyncio.timeout(self._budget_s):
                found = await self._read(partial(self._reader.find, fingerprint))
        except TimeoutError:
            self._hook.read_disk("late")
            return None
        except CacheError:
            self._hook.read_disk("fault")
            return None
        if found is not None and not self.may_rise(found[0], ticket):
            found = None
        self._hook.read_disk("miss" if found is None else "hit")
        return found

    async def _read(self, work: Callable[[], T]) -> T:
        self._reading += 1
        done = asyncio.get_running_loop().run_in_executor(self._read_thread, work)
        done.add_done_callback(self._end_reading)  # late ones too: they keep the thread busy
        return await done

    def _end_reading(self, done: asyncio.Future[T]) -> None:
        self._reading -= 1
        if not done.cancelled():
            done.exception()  # looked at, lest a late one be told as never retrieved

    def put(self, entry: Entry) -> None:
        """Keep `entry` soon. Returns at once."""
        if len(self._waiting) >= MAX_WAITING:
            self._lost.add(entry.entry_id)
            self._hook.lost_write(1)
            return
        self._departed.pop(entry.entry_id, None)
        self._unwritten[entry.fingerprint] = entry
        self._waiting.append(entry)
        self._has_work.set()

    def drop(self, gone: Iterable[Gone]) -> None:
        """Forget these: none of them comes up from now on, and soon none is on disk."""
        for one in gone:
            self._lost.discard(one.entry_id)
            self._released.pop(one.entry_id, None)
            self._departing[one.entry_id] = one
            self._waiting.append(one.entry_id)
            self._has_work.set()

    def is_gone(self, entry_ids: Iterable[EntryId]) -> None:
        """An invalidation took these out of memory; its mark takes them off the disk."""
        for entry_id in entry_ids:
            self._lost.discard(entry_id)

    def stays_in_memory(self, entry_id: EntryId) -> None:
        """The disk let go of this one, and memory did not: it is written again when it must be."""
        self._lost.add(entry_id)

    def let_go(self, evicted: Iterable[tuple[Entry, int]]) -> None:
        """Memory has no room for these, used so often: the disk alone keeps them from now on."""
        self.holds_more = True
        for entry, uses in evicted:
            if entry.entry_id in self._lost:
                self._lost.discard(entry.entry_id)
                self.put(entry)
            if entry.entry_id in self._lost:  # too much waits
                self._lost.discard(entry.entry_id)
                self._on_gone([Gone(entry.entry_id, entry.partition)])
            else:
                self._released[entry.entry_id] = uses
        self._has_work.set()

    async def mark(self, mark: Mark) -> bool:
        """Have an invalidation in writing; whether it is. What it names leaves behind it."""
        self._waiting.append(mark)
        is_written = await self._write()
        self._voiding.append(mark)
        return is_written

    async def _write_forever(self) -> None:
        while True:
            await self._has_work.wait()
            await asyncio.sleep(_GATHER_S)
            if await self._write():
                await self._make_room()

    async def _write(self) -> bool:
        changes, released = list(self._waiting), self._released
        self._waiting.clear()
        self._released = {}
        self._has_work.clear()
        removals = [change for change in changes if isinstance(change, int)]
        gone = set(removals)
        # Those that left again go too, for what they replaced on disk must not come back.
        asked = [change for change in changes if isinstance(change, Entry)]
        newest = {entry.fingerprint: entry for entry in asked}
        puts = list(newest.values())
        marks = [change for change in changes if isinstance(change, Mark)]
        try:
            off = await self._on_disk(partial(_write, self._disk, puts, removals, marks, released))
        except CacheError:
            self._hook.lost_write(len(changes))
            self._failed([entry for entry in asked if entry.entry_id not in gone], released)
            self._waiting.extendleft(reversed([*removals, *marks]))
            return False
        finally:
            for entry in asked:
                if self._unwritten.get(entry.fingerprint) is entry:
                    del self._unwritten[entry.fingerprint]
        left = [self._departing.pop(entry_id) for entry_id in gone & self._departing.keys()]
        self._on_written([entry.entry_id for entry in puts], list(released))
        kept = {entry.entry_id for entry in puts}
        overtaken = [Gone(e.entry_id, e.partition) for e in asked if e.entry_id not in kept]
        # The disk knows the partitions of all that was on it.
        self._told(list({one.entry_id: one for one in [*left, *overtaken, *off]}.values()))
        return True

    def _failed(self, puts: Sequence[Entry], released: dict[EntryId, int]) -> None:
        """Nothing was written: who is in memory lives there alone, who is not is gone."""
        self._lost |= {entry.entry_id for entry in puts} - released.keys()
        nowhere = [Gone(e.entry_id, e.partition) for e in puts if e.entry_id in released]
        self._on_gone(nowhere)
        written = set(released) - {entry.entry_id for entry in puts}
        self._on_written([], list(written))
        if len(self._departing) > MAX_DEPARTING:
            # A disk that lets go of nothing may not be read any more; and nothing need wait for it.
            self._is_readable = False
            self._departing.clear()
            self._waiting.clear()

    async def _keep_up_forever(self) -> None:
        swept_s = time.monotonic()
        while True:
            await asyncio.sleep(_UPKEEP_S)
            try:
                if self._waiting:
                    self._has_work.set()
                await self.carry_out()
                if time.monotonic() - swept_s >= _SWEEP_S:
                    swept_s = time.monotonic()
                    await self._remove_expired()
            except CacheError:
                self._hook.lost_write(1)

    async def carry_out(self) -> None:
        """Take what the invalidations so far named off the disk.

        Raises:
            CacheError: The disk cannot be written; what is left is tried again.
        """
        while self._voiding:
            await self._remove_named(self._voiding[0])
            self._voiding.popleft()

    async def _remove_named(self, mark: Mark) -> None:
        top = await self._on_disk(self._disk.max_entry_id)
        step = top + 1 if mark.selector.by == "entry" else _IDS_AT_ONCE  # found by its index
        for after in range(-1, top, step):
            self._told(
                await self._on_disk(partial(self._disk.remove_named, mark, after, after + step))
            )
        await self._on_disk(partial(self._disk.carried_out, mark))

    async def _remove_expired(self) -> None:
        before_at = time.time() - self._keep_stale_s
        while True:
            gone = await self._on_disk(partial(self._disk.remove_expired, before_at, _AT_ONCE))
            self._told(gone)
            if len(gone) < _AT_ONCE:
                break
        while await self._on_disk(self._disk.shrink):
            pass

    async def _make_room(self) -> None:
        try:
            while gone := await self._on_disk(partial(self._disk.make_room, time.time())):
                self._told(gone)
        except CacheError:
            self._hook.lost_write(1)

    def _told(self, gone: Sequence[Gone]) -> None:
        """These are off the disk."""
        for one in gone:
            self._departed[one.entry_id] = None
        self._departures += len(gone)
        while len(self._departed) > MAX_DEPARTED:
            self._departed.popitem(last=False)
        if gone:
            self._on_gone(gone)

    async def sizes(self, selector: Selector) -> tuple[int, int]:
        """How many entries `selector` names, and their bytes. Looks at every row.

        Raises:
            CacheError: The disk cannot be read.
        """
        await self._write()
        top = await self._on_disk(self._disk.max_entry_id)
        count = size = 0
        for after in range(-1, top, _IDS_AT_ONCE):
            until = after + _IDS_AT_ONCE
            some = await self._read(partial(self._reader.sizes, selector, after, until))
            count, size = count + some[0], size + some[1]
        return count, size

    async def entry(self, entry_id: EntryId) -> Entry | None:
        """One entry by its id, expired or not.

        Raises:
            CacheError: The disk cannot be read.
        """
        found = await self._read(partial(self._reader.entries, [entry_id]))
        return found[0] if found else None

    async def _on_disk(self, work: Callable[[], T]) -> T:
        working = asyncio.get_running_loop().run_in_executor(self._write_thread, work)
        # Shielded: cancelled before the thread took it up, the changes would be lost untold.
        return await asyncio.shield(working)

    async def close(self) -> None:
        """Write what waits, and close the disk."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._write()
        # The last to close folds the log into the file, and who only reads cannot.
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._read_thread, self._reader.close)
        await self._on_disk(self._disk.close)


def _kept(disk: DiskStore) -> Kept:
    return Kept(
        marks=disk.marks(),
        half_done=disk.marks_to_carry_out(),
        epoch=disk.max_epoch(),
        top=disk.max_entry_id(),
        entries=disk.count(),
    )


def _write(
    disk: DiskStore,
    puts: Sequence[Entry],
    removals: Sequence[EntryId],
    marks: Sequence[Mark],
    released: dict[EntryId, int],
) -> list[Gone]:
    gone = disk.write(puts, removals, marks)
    if often := [(entry_id, uses) for entry_id, uses in released.items() if uses > 1]:
        disk.used(often)
    return gone
