"""Sizes in, what the cache's index takes and gives at each of them out: `cache bench`.

Each size has a process of its own, a disk store of its own in a temporary folder, and the parts
that serve: the disk's reader, `Partitions`, and the `Builder` that lays their indexes. A search is
compared with every vector of the partition, so that what it misses is counted and not estimated.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from cache.partitions import Partitions
from cache.stores.cells import CellStore
from cache.stores.disk import DiskStore
from cache.stores.memory import MemoryStore
from cache.stores.reader import DiskReader
from sidecar.caching.builder import Builder, give_back
from sidecar.caching.cloud import (
    BODY,
    CHUNK,
    ENCODER,
    HERE,
    Vectors,
    cloud_of,
    entry_of,
    partition_of,
    stored,
    turned,
)

T = TypeVar("T")

NEAR: Final = 0.75
"""Chosen: under this similarity next to nothing is served, whatever is found."""

CANDIDATES: Final = 5
"""As `[cache.semantic] candidates`."""

EACH: Final = 100
"""Entries of each where there are many partitions."""

CHANGED: Final = 1_000
"""Chosen: vectors added and removed to time it."""

IN_MEMORY: Final = 100_000
"""Chosen: the largest size that is also kept in memory alone, at 3.5 kB each."""

_MIB: Final = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One size.

    Attributes:
        entries: In the partition.
        search_ms: Of the index alone: median and 99th percentile.
        fetch_ms: The candidates from disk besides: median.
        recall: Share of questions whose nearest entry is among the candidates.
        recall_near: Of those whose nearest is at least NEAR.
        bytes_each: Private memory that an open partition takes for each entry.
        open_s: From the first search of the cold partition to the first that is answered: where its
            cells are still to be laid, and where it is known how they lay.
        added_per_s: One at a time.
        removed_per_s: One at a time.
        relaid_s: To lay the index anew, copied from the one at work.
        swap_ms: Of it, what the owner's thread had no time for anybody else.
        stall_ms: The longest search meanwhile, and the longest of as many without it.
        stall_p99_ms: The same at the 99th percentile.
    """

    entries: int
    search_ms: tuple[float, float]
    fetch_ms: float
    recall: float
    recall_near: float
    bytes_each: float
    open_s: tuple[float, float]
    added_per_s: float
    removed_per_s: float
    relaid_s: float
    swap_ms: float
    stall_ms: tuple[float, float]
    stall_p99_ms: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Many:
    """Many small partitions.

    Attributes:
        partitions: How many.
        entries: In each.
        start_s: To open the store and its reader.
        first_ms: The first search in a cold partition: median and 99th percentile.
        again_ms: The next one there: median.
        open: Partitions in memory once all were asked for.
        bytes_each: Private memory for each entry of those.
    """

    partitions: int
    entries: int
    start_s: float
    first_ms: tuple[float, float]
    again_ms: float
    open: int
    bytes_each: float


class _Owner:
    """A thread that owns the index, and the longest that one work kept it."""

    def __init__(self) -> None:
        self.thread = ThreadPoolExecutor(1)
        self.longest_ms = 0.0

    async def run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.thread, self._timed, work)

    def _timed(self, work: Callable[[], T]) -> T:
        begun_s = time.perf_counter()
        try:
            return work()
        finally:
            self.longest_ms = max(self.longest_ms, (time.perf_counter() - begun_s) * 1e3)


class _Outcomes(list[str]):
    def built_index(self, outcome: str) -> None:
        self.append(outcome)


def measured(size: int, vectors: Path | None, seed: int) -> dict[str, Any]:
    """The row of one size, as JSON has it."""
    with cloud_of(size, vectors, seed) as (cloud, asked), stored(cloud) as store:
        return asdict(asyncio.run(_measured(cloud, asked, store)))


def measured_alone(size: int, vectors: Path | None, seed: int) -> float:
    """Private memory for each entry where memory is all there is, the answer's bytes taken off."""
    with cloud_of(size, vectors, seed) as (cloud, _):
        gc.collect()
        before, store, partitions = _private_bytes(), MemoryStore(2**40), Partitions()
        for number, vector in enumerate(cloud):
            store.put(entry_of(number, np.array(vector), HERE))
            partitions.add(HERE, number, vector)
        return (_private_bytes() - before) / size - len(BODY)


def measured_many(count: int, vectors: Path | None, seed: int) -> dict[str, Any]:
    """What so many partitions of EACH entries take, as JSON has it."""
    with cloud_of(count * EACH, vectors, seed) as (cloud, asked), stored(cloud, EACH) as store:
        store.close()
        return asdict(_measured_many(store.path, asked, count))


async def _measured(cloud: Vectors, asked: Vectors, store: DiskStore) -> Row:
    owner, outcomes, size = _Owner(), _Outcomes(), len(cloud)
    readers = [DiskReader.open(store.path, ENCODER) for _ in range(3)]
    cells = CellStore.open(store.path.with_name("cells"), ENCODER)
    build = partial(
        Builder, owner=owner, reader=readers[1], max_rows=2 * size, hook=outcomes, cells=cells
    )
    builder = build()
    partitions = Partitions(source=readers[0], on_wanted=builder.want)
    before = _private_bytes()
    open_s = await _open_s(owner, partitions, asked[0], builder, outcomes)
    gc.collect()
    bytes_each = (_private_bytes() - before) / size
    searched = await owner.run(partial(_searched, partitions, asked))
    fetched_ms = [_timed_ms(partial(readers[2].entries, found)) for found, _ in searched]
    recall, recall_near = _recall(cloud, asked, [found for found, _ in searched])
    fresh = turned(cloud[:CHUNK], CHANGED, np.array([0.9]), np.random.default_rng(5))
    added, removed = await owner.run(partial(_changed, partitions, fresh, size))
    calm = await _stall(owner, partitions, asked, asyncio.sleep(5.0))
    owner.longest_ms, relay = 0.0, builder.relay(partitions, HERE)
    begun_s = time.perf_counter()
    busy = await _stall(owner, partitions, asked, relay)
    relaid_s = time.perf_counter() - begun_s
    swap_ms = owner.longest_ms
    await builder.close()
    builder = build()
    partitions = Partitions(source=readers[0], on_wanted=builder.want)
    again_s = await _open_s(owner, partitions, asked[0], builder, outcomes)
    await builder.close()
    cells.close()
    assert "failed" not in outcomes  # noqa: S101 - no figure of what was not built is any good
    return Row(
        entries=size,
        search_ms=_p50_p99([ms for _, ms in searched]),
        fetch_ms=_p50_p99(fetched_ms)[0],
        recall=recall,
        recall_near=recall_near,
        bytes_each=bytes_each,
        open_s=(open_s, again_s),
        added_per_s=added,
        removed_per_s=removed,
        relaid_s=relaid_s,
        swap_ms=swap_ms,
        stall_ms=(max(busy), max(calm)),
        stall_p99_ms=(_p50_p99(busy)[1], _p50_p99(calm)[1]),
    )


async def _open_s(
    owner: _Owner,
    partitions: Partitions,
    vector: Vectors,
    builder: Builder,
    outcomes: _Outcomes,
) -> float:
    """How long a cold partition keeps its first caller waiting."""
    begun_s = time.perf_counter()
    builder.start(partitions)
    while not (await owner.run(partial(_search, partitions, vector)) or "failed" in outcomes):  # noqa: ASYNC110 - callers ask again and again
        await asyncio.sleep(0.01)
    return time.perf_counter() - begun_s


def _measured_many(path: Path, asked: Vectors, count: int) -> Many:
    begun_s = time.perf_counter()
    store = DiskStore.open(path, ENCODER)
    reader = DiskReader.open(path, ENCODER)
    start_s = time.perf_counter() - begun_s
    partitions = Partitions(source=reader, max_bytes=1024 * _MIB)
    before = _private_bytes()
    names = [partition_of(number) for number in range(count)]
    search = partial(_search, partitions)
    first = [_timed_ms(partial(search, asked[i % len(asked)], n)) for i, n in enumerate(names)]
    again = [_timed_ms(partial(search, asked[0], n)) for n in names[-100:]]
    gc.collect()
    told = Many(
        partitions=count,
        entries=EACH,
        start_s=start_s,
        first_ms=_p50_p99(first),
        again_ms=_p50_p99(again)[0],
        open=len(partitions),
        bytes_each=(_private_bytes() - before) / max(1, partitions.rows),
    )
    reader.close()
    store.close()
    return told


def _search(partitions: Partitions, vector: Vectors, name: bytes = HERE) -> list[int]:
    """The candidates; none while the partition is being read."""
    index = partitions.find(name, len(vector))
    if index is None or not index.is_open:
        return []
    return [one.entry_id for one in index.nearest(vector, CANDIDATES)]


def _searched(partitions: Partitions, asked: Vectors) -> list[tuple[list[int], float]]:
    """The candidates of each question, and how long they took in milliseconds."""
    told = []
    for vector in asked:
        begun_s = time.perf_counter()
        found = _search(partitions, vector)
        told.append((found, (time.perf_counter() - begun_s) * 1e3))
    return told


def _changed(partitions: Partitions, fresh: Vectors, size: int) -> tuple[float, float]:
    """Vectors added and removed a second."""
    begun_s = time.perf_counter()
    for number, vector in enumerate(fresh, start=size):
        partitions.add(HERE, number, vector)
    added_s = time.perf_counter() - begun_s
    for number in range(size, size + len(fresh)):
        partitions.remove(HERE, number)
    removed_s = time.perf_counter() - begun_s - added_s
    return len(fresh) / added_s, len(fresh) / removed_s


async def _stall(owner: _Owner, partitions: Partitions, asked: Vectors, until: Any) -> list[float]:
    """How long searches took, queue and all, one after the other until `until` is over."""
    over, spent_ms, number = asyncio.ensure_future(until), [], 0
    while not over.done():
        begun_s = time.perf_counter()
        await owner.run(partial(_search, partitions, asked[number % len(asked)]))
        spent_ms.append((time.perf_counter() - begun_s) * 1e3)
        number += 1
        await asyncio.sleep(0.001)
    await over
    return spent_ms


def _recall(cloud: Vectors, asked: Vectors, found: list[list[int]]) -> tuple[float, float]:
    """Over all questions, and over those that have a near one; the candidates are compared whole.

    Of two entries that are equally near either will do.
    """
    best = np.full(len(asked), -1.0)
    for start in range(0, len(cloud), CHUNK):
        best = np.maximum(best, (asked @ cloud[start : start + CHUNK].T).max(axis=1))
    got = [
        float((cloud[ids] @ v).max()) if ids else -1.0 for ids, v in zip(found, asked, strict=True)
    ]
    is_hit = np.array(got) >= best - 1e-6
    is_near = best >= NEAR
    return float(is_hit.mean()), float(is_hit[is_near].mean()) if is_near.any() else float("nan")


def _private_bytes() -> int:
    """Memory of this process that is no file's, nor free already."""
    gc.collect()
    give_back()
    try:
        status = Path("/proc/self/status").read_text("ascii")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return int(status.split("RssAnon:")[1].split()[0]) * 1024


def _timed_ms(work: Callable[[], Any]) -> float:
    begun_s = time.perf_counter()
    work()
    return (time.perf_counter() - begun_s) * 1e3


def _p50_p99(values: list[float]) -> tuple[float, float]:
    low, high = np.percentile(values, [50, 99])
    return float(low), float(high)
