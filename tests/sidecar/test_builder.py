"""Builder: partitions off the disk and outgrown ones, laid while they change; a failure is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from cache.entry import Vector
from cache.partitions import SMALL, Partitions
from cache.stores.disk import DiskStore
from cache.stores.reader import DiskReader
from sidecar.builder import Builder
from sidecar.errors import EncoderError
from tests.cache.stores.test_disk import ENCODER, entry

T = TypeVar("T")
HERE, DIM = b"p" * 20, 32


class FakeOwner:
    """Does works at once, a loop's turn later; full every third time."""

    def __init__(self) -> None:
        self.asked = 0

    async def run(self, work: Callable[[], T]) -> T:
        await asyncio.sleep(0)
        self.asked += 1
        if self.asked % 3 == 0:
            raise EncoderError("full")
        return work()


class Built:
    """A builder at work on the partitions of a disk."""

    def __init__(self, folder: Path, rows: int, max_rows: int = 10**6) -> None:
        self.store = DiskStore.open(folder / "cache.sqlite", ENCODER)
        self.store.write([entry(number) for number in range(rows)], [])
        self.readers = [DiskReader.open(self.store.path, ENCODER) for _ in range(2)]
        self.outcomes: asyncio.Queue[str] = asyncio.Queue()
        self.builder = Builder(
            owner=FakeOwner(), reader=self.readers[1], max_rows=max_rows, hook=self
        )
        self.partitions = Partitions(source=self.readers[0], on_wanted=self.builder.want)
        self.builder.start(self.partitions)

    def built_index(self, outcome: str) -> None:
        self.outcomes.put_nowait(outcome)

    def ids(self) -> list[int]:
        index = self.partitions.find(HERE, DIM)
        assert index is not None
        return index.oldest(10**6)

    async def close(self) -> None:
        await self.builder.close()
        for reader in self.readers:
            reader.close()
        self.store.close()


@pytest.fixture
async def built(tmp_path: Path) -> AsyncIterator[Built]:
    made = Built(tmp_path, rows=SMALL + 200)
    yield made
    await made.close()


def vector(number: int) -> Vector:
    kept = entry(number).vector
    assert kept is not None
    return kept


async def test_a_large_partition_comes_from_disk_in_the_background(built: Built) -> None:
    """What is added and removed meanwhile is in it, and not in it."""
    index = built.partitions.find(HERE, DIM)
    assert index is not None
    assert not index.is_open
    built.partitions.add(HERE, 5_000, vector(5_000))
    built.partitions.remove(HERE, 3)
    assert await built.outcomes.get() == "read"
    assert built.ids() == sorted({*range(SMALL + 200), 5_000} - {3})
    assert index.nearest(vector(7), 1)[0].entry_id == 7


async def test_one_at_work_is_laid_anew_while_it_changes(built: Built) -> None:
    """Without a moment in which it cannot be asked."""
    built.partitions.find(HERE, DIM)
    await built.outcomes.get()
    expected, over = (
        set(built.ids()),
        asyncio.ensure_future(built.builder.relay(built.partitions, HERE)),
    )
    for number in range(6_000, 6_040):
        built.partitions.add(HERE, number, vector(number))
        built.partitions.remove(HERE, number - 6_000)
        expected = (expected | {number}) - {number - 6_000}
        assert set(built.ids()) == expected
        await asyncio.sleep(0)
    await over
    assert await built.outcomes.get() == "laid"
    assert set(built.ids()) == expected


async def test_a_disk_that_cannot_be_read_leaves_it_cold(built: Built) -> None:
    """It is told, and asked for again at the next search."""
    built.readers[1].close()
    built.partitions.find(HERE, DIM)
    assert await built.outcomes.get() == "failed"
    index = built.partitions.find(HERE, DIM)
    assert index is not None
    assert not index.is_open
    assert await built.outcomes.get() == "failed"


async def test_no_more_is_read_than_may_be_held(tmp_path: Path) -> None:
    """The newest."""
    made = Built(tmp_path, rows=SMALL + 200, max_rows=300)
    made.partitions.find(HERE, DIM)
    assert await made.outcomes.get() == "read"
    assert made.ids() == list(range(SMALL - 100, SMALL + 200))
    assert np.isclose(float(vector(1) @ vector(1)), 1.0, atol=1e-5)
    await made.close()
