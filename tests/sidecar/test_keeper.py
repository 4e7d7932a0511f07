"""Keeper: memory, index and disk agree, and a full queue costs order nowhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from cache.stores.disk import DiskStore
from cache.stores.memory import MemoryStore, entry_bytes
from sidecar.errors import EncoderError
from sidecar.keeper import Keeper
from tests.sidecar.test_lookup import ENTRY, KEYS

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
    """The ids it holds."""

    def __init__(self) -> None:
        self.ids: set[int] = set()

    def add(
        self, entry_id: int, partition: bytes, question: str, vector: object, expires_at: float
    ) -> None:
        self.ids.add(entry_id)

    def remove(self, entry_id: int) -> None:
        self.ids.discard(entry_id)


class FakeHook:
    """Counts what was lost."""

    def __init__(self) -> None:
        self.lost = 0

    def lost_write(self, count: int) -> None:
        self.lost += count


class Kept:
    """A keeper and all that it keeps in."""

    def __init__(self, folder: Path, max_bytes: int = 10**6) -> None:
        self.store, self.index, self.owner = MemoryStore(max_bytes), FakeIndex(), FakeOwner()
        self.hook, self.thread = FakeHook(), ThreadPoolExecutor(max_workers=1)
        self.path = folder / "cache.sqlite"

    async def start(self) -> Keeper:
        disk = self.thread.submit(DiskStore.open, self.path, "encoder").result()
        self.keeper = Keeper(
            store=self.store,
            index=self.index,
            owner=self.owner,
            disk=disk,
            disk_thread=self.thread,
            hook=self.hook,
        )
        await self.keeper.start()
        return self.keeper


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[Kept]:
    made = Kept(tmp_path, max_bytes=int(2.5 * entry_bytes(ENTRY)))
    await made.start()
    yield made
    await made.keeper.close()
    made.thread.shutdown()


async def test_what_is_evicted_leaves_the_index(kept: Kept) -> None:
    """Deletion leaves no ghost."""
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
    assert second.index.ids == {1, 2}
    assert second.store.get(b"h" * 20, 1.0) is not None
    assert again.next_id() == 3
    await again.close()
    for made in (first, second):
        made.thread.shutdown()


async def test_an_answer_too_large_for_memory_is_not_indexed(tmp_path: Path) -> None:
    """The index points to what is there."""
    made = Kept(tmp_path, max_bytes=10)
    (await made.start()).keep(ENTRY)
    assert made.index.ids == set()
    assert KEYS.partition is not None
    await made.keeper.close()
    made.thread.shutdown()
