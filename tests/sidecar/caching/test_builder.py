"""Builder: partitions off the disk and outgrown ones, laid while they change; a failure is told."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from cache.entry import Vector
from cache.growth import ROWS_AT_MOST
from cache.index.cells import Cells
from cache.partitions import SMALL, Partitions
from cache.stores.cells import CellStore
from cache.stores.disk import DiskStore
from cache.stores.reader import DiskReader
from sidecar.caching.builder import Builder
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


class Outcomes:
    """Hears what became of each."""

    def __init__(self) -> None:
        self.told: asyncio.Queue[str] = asyncio.Queue()

    def built_index(self, outcome: str) -> None:
        self.told.put_nowait(outcome)


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


async def test_where_cells_lie_is_known_the_next_time(tmp_path: Path) -> None:
    """Of a large partition; it finds what it found, and cells of one that is no more are gone."""
    dice, count, dim = np.random.default_rng(0), ROWS_AT_MOST + 100, 4
    rows = dice.normal(size=(count, dim)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    made = Built(tmp_path, rows=0)
    connection = sqlite3.connect(made.store.path)
    with connection:
        connection.executemany(
            "INSERT INTO vectors VALUES (?, ?, ?)",
            ((HERE, number, row.astype("<f2").tobytes()) for number, row in enumerate(rows)),
        )
    connection.close()
    cells = CellStore.open(tmp_path / "cells", ENCODER)
    found, laid = [], []
    for _ in range(2):
        cells.keep(b"gone" * 5, Cells(np.zeros((2, dim), np.uint8), fit=1.0))
        hook = Outcomes()
        builder = Builder(
            owner=FakeOwner(), reader=made.readers[1], max_rows=10**6, hook=hook, cells=cells
        )
        partitions = Partitions(source=made.readers[0], on_wanted=builder.want)
        builder.start(partitions)
        index = partitions.find(HERE, dim)
        assert index is not None
        assert await hook.told.get() == "read"
        found.append([index.nearest(row, 3) for row in rows[:20]])
        kept = cells.find(HERE, dim)
        assert kept is not None
        laid.append(kept.centres.tobytes())
        await builder.close()
    assert found[0] == found[1]
    assert laid[0] == laid[1]
    assert cells.find(b"gone" * 5, dim) is not None  # nothing new was kept the second time
    cells.forget_all_but(made.readers[1].has)
    assert cells.find(b"gone" * 5, dim) is None
    assert cells.find(HERE, dim) is not None
    cells.close()
    await made.close()
