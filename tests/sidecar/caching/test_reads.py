"""Reads: what callers wait for, in time or not at all."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cache.entry import Entry
from cache.stores.disk import DiskStore
from cache.stores.reader import DiskReader
from sidecar.caching.reads import MAX_READING, Reads
from tests.sidecar.caching.test_keeper import FakeHook
from tests.sidecar.caching.test_lookup import ENTRY


class Below:
    """A disk with one entry, and the thread that reads it."""

    def __init__(self, folder: Path) -> None:
        self.store = DiskStore.open(folder / "cache.sqlite", "encoder")
        self.store.write([ENTRY], [])
        self.reader = DiskReader.open(self.store.path, "encoder")
        self.thread, self.hook = ThreadPoolExecutor(1), FakeHook()

    def reads(self, budget_s: float = 60.0) -> Reads:
        return Reads(self.reader, thread=self.thread, hook=self.hook, budget_s=budget_s)


def may(_: Entry) -> bool:
    return True


@pytest.fixture
async def below(tmp_path: Path) -> AsyncIterator[Below]:
    made = Below(tmp_path)
    yield made
    await made.reads().close()
    made.thread.shutdown()
    made.store.close()


async def test_it_finds_what_is_there_and_may_rise(below: Below) -> None:
    """How each look-up ended is told."""
    reads = below.reads()
    assert (found := await reads.find(ENTRY.fingerprint, may)) is not None
    assert found[0].entry_id == ENTRY.entry_id
    assert await reads.find(ENTRY.fingerprint, lambda _: False) is None
    assert await reads.find(b"x" * 20, may) is None
    assert below.hook.reads == ["hit", "miss", "miss"]


async def test_who_would_wait_too_long_has_nothing(below: Below) -> None:
    """And whoever comes while too many wait has nothing at once."""
    go = threading.Event()
    busy = below.thread.submit(go.wait, 60.0)
    reads = below.reads(budget_s=0.01)
    assert await reads.find(ENTRY.fingerprint, may) is None
    patient = below.reads()
    waiting = [
        asyncio.ensure_future(patient.find(ENTRY.fingerprint, may)) for _ in range(MAX_READING)
    ]
    await asyncio.sleep(0)
    assert await patient.find(ENTRY.fingerprint, may) is None
    assert below.hook.reads == ["late", "busy"]
    go.set()
    assert all(await asyncio.gather(*waiting))
    assert busy.done()
    assert await patient.find(ENTRY.fingerprint, may) is not None


async def test_a_disk_that_cannot_be_read_is_a_miss(below: Below) -> None:
    """Which is told."""
    reads = below.reads()
    await reads.close()
    assert await reads.find(ENTRY.fingerprint, may) is None
    assert below.hook.reads == ["fault"]
