"""Keeper: memory, index and disk agree, and a full queue costs order nowhere."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from cache.entry import Entry
from cache.epochs import EVERYTHING, Mark, Selector
from cache.errors import StoreError
from cache.stores.disk import DiskStore
from cache.stores.memory import MemoryStore, entry_bytes
from cache.stores.reader import DiskReader
from sidecar.caching.indexing import Indexing
from sidecar.caching.keeper import Keeper
from sidecar.caching.persistence import Persistence
from sidecar.caching.reads import Reads
from sidecar.errors import EncoderError
from tests.sidecar.caching.test_lookup import ENTRY, KEYS

T = TypeVar("T")


class FakeOwner:
    """Does works at once, or refuses them as a full queue does."""

    def __init__(self) -> None:
        self.is_full = False

    def post(self, work: Callable[[], None]) -> None:
        if self.is_full:
            raise EncoderError("full")
        work()

    async def run(self, work: Callable[[], T]) -> T:
        return work()


class FakeIndex:
    """The ids it finds, and those of them that it need not fetch."""

    def __init__(self) -> None:
        self.ids: set[int] = set()
        self.resident: set[int] = set()

    def add(self, entry: Entry) -> None:
        self.ids.add(entry.entry_id)
        self.resident.add(entry.entry_id)

    def hold(self, entry: Entry) -> None:
        self.resident.add(entry.entry_id)

    def settle(self, entry_ids: Iterable[int]) -> None:
        pass

    def release(self, entry_ids: Iterable[int]) -> None:
        self.resident.difference_update(entry_ids)

    def remove(self, entry_id: int, partition: bytes | None = None) -> None:
        self.ids.discard(entry_id)
        self.resident.discard(entry_id)


class FakeHook:
    """Counts what was lost."""

    def __init__(self) -> None:
        self.lost = 0
        self.reads: list[str] = []

    def read_disk(self, outcome: str) -> None:
        self.reads.append(outcome)

    def lost_write(self, count: int) -> None:
        self.lost += count


class Kept:
    """A keeper and all that it keeps in."""

    def __init__(
        self,
        folder: Path,
        max_bytes: int = 10**6,
        *,
        disk_bytes: int = 2**30,
        has_disk: bool = True,
    ) -> None:
        self.store, self.index, self.owner = MemoryStore(max_bytes), FakeIndex(), FakeOwner()
        self.hook, self.thread = FakeHook(), ThreadPoolExecutor(max_workers=1)
        self.reading = ThreadPoolExecutor(max_workers=1)
        self.path = folder / "cache.sqlite"
        self.disk_bytes, self.has_disk = disk_bytes, has_disk

    async def start(self) -> Keeper:
        disk = None
        if self.has_disk:
            disk = DiskStore.open(self.path, "encoder", self.disk_bytes)
        self.keeper = self.build(disk)
        await self.keeper.start()
        return self.keeper

    def build(self, disk: DiskStore | None) -> Keeper:
        self.below = None
        if disk is not None:
            self.below = Persistence(
                disk=disk,
                reads=Reads(
                    DiskReader.open(self.path, "encoder"),
                    thread=self.reading,
                    hook=self.hook,
                    budget_s=60.0,
                ),
                thread=self.thread,
                hook=self.hook,
            )
        return Keeper(
            store=self.store,
            indexing=Indexing(index=self.index, owner=self.owner, hook=self.hook),
            below=self.below,
        )

    async def written(self) -> None:
        """Wait until the disk has all changes."""
        assert self.keeper.is_persisted
        await self.keeper.tally(EVERYTHING)

    async def carried_out(self) -> None:
        """Wait until what invalidations named is off the disk."""
        assert self.below is not None
        await self.below.carry_out()

    async def found(self, entry: Entry) -> Entry | None:
        """What a caller would get under its key."""
        return self.store.get(entry.fingerprint, 1.0) or await self.keeper.find_below(
            entry.fingerprint
        )

    async def close(self) -> None:
        await self.keeper.close()
        self.shutdown()

    def shutdown(self) -> None:
        self.thread.shutdown()
        self.reading.shutdown()


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[Kept]:
    made = Kept(tmp_path, max_bytes=int(2.5 * entry_bytes(ENTRY)), has_disk=False)
    await made.start()
    yield made
    await made.close()


async def test_what_is_evicted_leaves_the_index(kept: Kept) -> None:
    """Where there is no disk, memory is all there is."""
    for number in (1, 2, 3):
        kept.keeper.keep(replace(ENTRY, entry_id=number, fingerprint=bytes([number]) * 20))
    assert kept.index.ids == {2, 3}
    assert len(kept.store) == 2


async def test_a_full_queue_delays_and_loses_nothing(kept: Kept) -> None:
    """Changes are held back in order until the owner has room."""
    kept.owner.is_full = True
    for number in (1, 2, 3):
        kept.keeper.keep(replace(ENTRY, entry_id=number, fingerprint=bytes([number]) * 20))
    assert kept.index.ids == set()
    kept.owner.is_full = False
    kept.keeper.keep(replace(ENTRY, entry_id=4, fingerprint=bytes([4]) * 20))
    assert kept.index.ids == {3, 4}
    assert kept.hook.lost == 0


async def test_a_restart_brings_back_what_was_kept(tmp_path: Path) -> None:
    """And an id is never used again."""
    first = Kept(tmp_path)
    keeper = await first.start()
    keeper.keep(replace(ENTRY, entry_id=keeper.next_id()))
    keeper.keep(replace(ENTRY, entry_id=keeper.next_id(), fingerprint=b"h" * 20))
    await keeper.close()
    second = Kept(tmp_path)
    again = await second.start()
    assert len(second.store) == 0
    assert (risen := await again.find_below(b"h" * 20)) is not None
    assert second.store.get(b"h" * 20, 1.0) is risen
    assert second.index.resident == {2}
    assert again.next_id() == 3
    await again.close()
    for made in (first, second):
        made.shutdown()


async def test_an_answer_too_large_for_memory_is_not_indexed(tmp_path: Path) -> None:
    """The index points to what is there."""
    made = Kept(tmp_path, max_bytes=10, has_disk=False)
    assert not (await made.start()).keep(ENTRY)
    assert made.index.ids == set()
    assert KEYS.partition is not None
    await made.close()


def named(number: int, tag: str = "", **fields: Any) -> Entry:
    tags = (tag,) if tag else ()
    return replace(
        ENTRY, entry_id=number, fingerprint=number.to_bytes(20, "big"), tags=tags, **fields
    )


async def test_what_is_invalidated_leaves_no_ghost(tmp_path: Path) -> None:
    """Not in memory, not in the index, not on disk; the rest stays in all three."""
    made = Kept(tmp_path)
    keeper = await made.start()
    for number in range(1, 5):
        keeper.keep(named(number, tag="odd" if number % 2 else "even"))
    assert await keeper.invalidate(Selector("tag", "odd"))
    assert {one.entry_id for one in made.store} == made.index.ids == {2, 4}
    await made.carried_out()
    await keeper.close()
    disk = DiskStore.open(made.path, "encoder")
    assert [one.entry_id for one in disk.load(0.0)] == [2, 4]
    disk.close()
    made.shutdown()


async def test_a_write_that_is_cancelled_is_written_all_the_same(tmp_path: Path) -> None:
    """Closing while the disk's thread is busy loses nothing."""
    made, go = Kept(tmp_path), threading.Event()
    keeper = await made.start()
    busy = made.thread.submit(go.wait, 60.0)
    keeper.keep(named(1))
    writing = asyncio.ensure_future(keeper.invalidate(Selector("tag", "none")))
    await asyncio.sleep(0)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    go.set()
    await keeper.close()
    assert busy.done()
    disk = DiskStore.open(made.path, "encoder")
    assert [one.entry_id for one in disk.load(0.0)] == [1]
    assert len(disk.marks()) == 1
    disk.close()
    made.shutdown()


async def test_a_disk_that_cannot_be_read_costs_persistence_alone(tmp_path: Path) -> None:
    """It is told, nothing more is written to it, and answers are kept in memory all the same."""
    made = Kept(tmp_path)
    disk = DiskStore.open(made.path, "encoder")
    disk.close()
    keeper = made.build(disk)
    with pytest.raises(StoreError):
        await keeper.start()
    assert keeper.keep(named(1))
    assert not keeper.is_persisted
    assert not await keeper.invalidate(Selector("tag", "none"))
    await keeper.close()
    made.shutdown()


async def test_thousands_that_leave_at_once_leave_no_ghost(tmp_path: Path) -> None:
    """More than may wait for index or disk, with the owner's queue full: none is dropped."""
    made = Kept(tmp_path, max_bytes=10**9)
    keeper = await made.start()
    for number in range(1, 12_001):
        keeper.keep(named(number))
    made.owner.is_full = True
    await keeper.invalidate(EVERYTHING)
    assert len(made.store) == 0
    made.owner.is_full = False
    keeper.keep(named(20_000, epoch=keeper.epochs.now))
    assert made.index.ids == {20_000}
    await made.carried_out()
    await keeper.close()
    disk = DiskStore.open(made.path, "encoder")
    assert [one.entry_id for one in disk.load(0.0)] == [20_000]
    disk.close()
    made.shutdown()


async def test_what_was_asked_for_before_is_not_kept_after(kept: Kept) -> None:
    """The epoch at the start is compared with the one at the keep."""
    epoch = kept.keeper.epochs.now
    await kept.keeper.invalidate(Selector("tag", "a"))
    assert not kept.keeper.keep(named(1, tag="a", epoch=epoch))
    assert kept.keeper.keep(named(2, tag="b", epoch=epoch))
    assert kept.keeper.keep(named(3, tag="a", epoch=kept.keeper.epochs.now))
    assert kept.index.ids == {2, 3}


async def test_a_row_that_a_lost_removal_left_does_not_come_up(tmp_path: Path) -> None:
    """The invalidation is written apart from what it removes, and outlives it."""
    disk = DiskStore.open(tmp_path / "cache.sqlite", "encoder")
    disk.write([named(1, tag="a"), named(2)], [], [Mark(Selector("tag", "a"), 1, 1.0)])
    disk.close()
    made = Kept(tmp_path)
    keeper = await made.start()
    assert await made.found(named(1)) is None
    assert await made.found(named(2)) is not None
    assert keeper.epochs.now == 1
    await keeper.close()
    made.shutdown()


async def test_what_memory_has_no_room_for_is_found_on_disk(tmp_path: Path) -> None:
    """It stays in the index, comes up when it is asked for, and what it displaces stays too."""
    made = Kept(tmp_path, max_bytes=int(2.5 * entry_bytes(ENTRY)))
    keeper = await made.start()
    for number in range(1, 7):
        assert keeper.keep(named(number))
    assert len(made.store) == 2
    await made.written()
    assert made.index.ids == {1, 2, 3, 4, 5, 6}
    assert made.index.resident == {one.entry_id for one in made.store}
    for number in range(1, 7):
        found = await made.found(named(number))
        assert found is not None
        assert found.entry_id == number
        assert made.store.peek(number) is not None
    assert len(made.store) == 2
    await made.close()


async def test_new_quotas_reach_the_index(tmp_path: Path) -> None:
    """What a reload makes leave is no ghost."""
    made = Kept(tmp_path, has_disk=False)
    keeper = await made.start()
    for number in range(1, 7):
        keeper.keep(named(number, tenant="a" if number > 3 else "b"))
    keeper.allot({"a": int(1.5 * entry_bytes(ENTRY))})
    assert made.index.ids == {one.entry_id for one in made.store}
    assert len(made.store) == 4
    await keeper.close()
    made.shutdown()


_WRITER = """
import asyncio, sys
from pathlib import Path
sys.path[:0] = {paths!r}
from cache.epochs import Selector
from tests.sidecar.caching.test_keeper import Kept, named

async def write():
    made = Kept(Path({folder!r}))
    keeper = await made.start()
    while True:
        for _ in range(20):
            number = keeper.next_id()
            keeper.keep(named(number, tag=str(number % 7), epoch=keeper.epochs.now))
            await asyncio.sleep(0.001)
        tag = str(number % 7)
        gone = list(range(int(tag) or 7, number + 1, 7))
        assert await keeper.invalidate(Selector("tag", tag))
        print(*gone, flush=True)

asyncio.run(write())
"""


async def test_a_kill_never_resurrects(tmp_path: Path) -> None:
    """Ten times kill -9: nothing that was said to be gone is back, and nothing is torn."""
    code = _WRITER.format(paths=[str(Path(__file__).parents[3])], folder=str(tmp_path))
    dice, gone = random.Random(2), set[int]()  # noqa: S311 - not a secret
    for _ in range(10):
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as writer:  # noqa: ASYNC220, S603 - ours
            assert writer.stdout is not None
            for _ in range(dice.randrange(1, 8)):
                gone |= {int(word) for word in writer.stdout.readline().split()}
            writer.send_signal(signal.SIGKILL)
        made = Kept(tmp_path)
        await made.start()
        assert gone
        for number in gone:
            assert await made.found(named(number)) is None
        await made.close()
    disk = DiskStore.open(tmp_path / "cache.sqlite", "encoder")
    assert len(list(disk.load(0.0))) > 0
    assert (disk.dropped, disk.renamed_to) == (0, None)
    disk.close()
