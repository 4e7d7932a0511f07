"""Partitions that want an index of another size, or off the disk, in; the same, laid anew, out.

It is laid on a thread of its own, of low priority, while the one there is answers; see
`cache.growth` for the steps. One at a time: two would take the memory and the core of both.
"""

from __future__ import annotations

import asyncio
import ctypes
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from cache.errors import CacheError
from cache.growth import FEW, GrowingIndex, Layout, filled, replay
from cache.index.cells import CellIndex, Cells
from cache.index.codes import Rows
from cache.partitions import Partitions
from cache.stores.cells import CellStore
from cache.stores.reader import DiskReader
from sidecar.errors import EncoderError
from sidecar.process.niceness import BUILDING, give_way
from sidecar.process.pages import gather

T = TypeVar("T")

_ROWS_AT_ONCE: Final = 2_048
"""Chosen: rows read from disk at a time: 1.5 MB."""

_AGAIN_S: Final = 0.1
"""Chosen: how long to wait before a full queue is tried again."""


class Owner(Protocol):
    """The thread that owns the index."""

    async def run(self, work: Callable[[], T]) -> T:
        """What `work` returns, done there; raises EncoderError."""
        ...


class Hook(Protocol):
    """Hears what became of it."""

    def built_index(self, outcome: str) -> None:
        """A partition was `laid` anew, `read` from disk, or neither: `failed`."""
        ...


class Builder:
    """Lays indexes, one after the other."""

    def __init__(
        self,
        *,
        owner: Owner,
        reader: DiskReader | None,
        max_rows: int,
        hook: Hook,
        cells: CellStore | None = None,
    ) -> None:
        """`max_rows` of a partition, the newest, are read from disk.

        Where `cells` lie is kept for the next time that a partition is read; None keeps nothing.
        """
        self._owner = owner
        self._reader = reader
        self._cells = cells
        self._max_rows = max_rows
        self._hook = hook
        self._loop = asyncio.get_running_loop()
        self._wanted: asyncio.Queue[bytes] = asyncio.Queue()
        self._queued: set[bytes] = set()
        self._task: asyncio.Task[None] | None = None

    def want(self, partition: bytes) -> None:
        """Have it laid anew soon. Called on the owner's thread."""
        with suppress(RuntimeError):  # a loop that is closed has nobody left to build for
            self._loop.call_soon_threadsafe(self._queue, partition)

    def _queue(self, partition: bytes) -> None:
        if partition not in self._queued:
            self._queued.add(partition)
            self._wanted.put_nowait(partition)

    def start(self, partitions: Partitions) -> None:
        """Begin to work on these."""
        self._task = asyncio.create_task(self._build_forever(partitions))

    async def _build_forever(self, partitions: Partitions) -> None:
        while True:
            partition = await self._wanted.get()
            self._queued.discard(partition)
            await self._build(partitions, partition)

    async def relay(self, partitions: Partitions, partition: bytes) -> None:
        """Lay an open partition anew, whatever its size."""
        await self._build(partitions, partition, is_forced=True)

    async def _build(
        self, partitions: Partitions, partition: bytes, *, is_forced: bool = False
    ) -> None:
        index = await self._ask(partial(partitions.begin, partition, is_forced=is_forced))
        if index is None:
            return
        was_open, layout = index.is_open, None
        try:
            rows = await (self._copied(index) if was_open else self._read(partition, index.dim))
            known = None if was_open else await self._do(partial(self._known, partition, index.dim))
            layout = await self._do(partial(filled, rows, index.dim, known))
            await self._do(partial(self._keep, partition, layout, known))
            await self._catch_up(index, layout)
        except CacheError:
            layout = None
        old = [await self._ask(partial(partitions.end, partition, index, layout))]
        await self._do(partial(_free, old))
        outcome = "failed" if layout is None else "laid" if was_open else "read"
        self._hook.built_index(outcome)

    def _known(self, partition: bytes, dim: int) -> Cells | None:
        """Where the cells of the partition lay the last time, as far as that is known."""
        with suppress(CacheError):  # they are laid anew then
            return self._cells.find(partition, dim) if self._cells is not None else None
        return None

    def _keep(self, partition: bytes, layout: Layout, known: Cells | None) -> None:
        """Keep where new cells lie, and forget those of partitions that are no more."""
        if self._cells is None or self._reader is None or not isinstance(layout, CellIndex):
            return
        if layout.laid is known:
            return
        reader = self._reader
        with suppress(CacheError):  # they are laid anew the next time
            self._cells.keep(partition, layout.laid)
            self._cells.forget_all_but(reader.has)

    async def _copied(self, index: GrowingIndex) -> list[Rows]:
        parts = await self._ask(partial(getattr, index, "parts"))
        return [await self._ask(partial(index.copy, part, parts)) for part in range(parts)]

    async def _read(self, partition: bytes, dim: int) -> list[Rows]:
        assert self._reader is not None  # noqa: S101 - without a disk every partition is open
        reader = self._reader
        after = await self._do(partial(reader.newest, partition, self._max_rows))
        read: list[Rows] = []
        while rows := await self._do(partial(reader.rows, partition, dim, _ROWS_AT_ONCE, after)):
            read.append(rows)
            after = int(rows.ids[-1])
        return read

    async def _catch_up(self, index: GrowingIndex, layout: Layout) -> None:
        """What changed meanwhile, until what is left is done in no time."""
        while True:
            changes = await self._ask(index.changes)
            await self._do(partial(replay, layout, changes))
            if len(changes) <= FEW:
                return

    async def _do(self, work: Callable[[], T]) -> T:
        """What `work` returns, done on a thread that the end of the process does not wait for."""
        done: asyncio.Future[T] = self._loop.create_future()
        thread = threading.Thread(
            target=_work, args=(self._loop, done, work), name="cache-index", daemon=True
        )
        thread.start()
        return await done

    async def _ask(self, work: Callable[[], T]) -> T:
        while True:
            try:
                return await self._owner.run(work)
            except EncoderError as fault:
                if "closed" in str(fault):
                    raise
                await asyncio.sleep(_AGAIN_S)

    async def close(self) -> None:
        """End; what is being laid is given up."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


def _work(loop: asyncio.AbstractEventLoop, done: asyncio.Future[T], work: Callable[[], T]) -> None:
    """The life of one such thread."""
    give_way(BUILDING)
    result: Any
    fault: Exception | None
    try:
        result, fault = work(), None
    except Exception as exc:  # noqa: BLE001 - supervises the thread: whoever waits gets the fault
        result, fault = None, exc
    with suppress(RuntimeError):  # as in `want`
        loop.call_soon_threadsafe(_settle, done, result, fault)


def _settle(done: asyncio.Future[Any], result: Any, fault: Exception | None) -> None:
    if done.done():
        return
    if fault is None:
        done.set_result(result)
    else:
        done.set_exception(fault)


def _free(old: list[Layout | None]) -> None:
    """Here and not on the owner's thread, which has others waiting.

    What is left is gathered in large pages, for a search reads from all over the codes. Measured:
    two processes in turns, 100,000 and a million rows, drawn: one search 0.91 and 0.86 of the time,
    ten in a row 0.96.
    """
    old.clear()
    give_back()  # what training took for a while: 60 MB at 100,000 rows
    gather()


def give_back() -> None:
    """Let the system have what was taken for a while and freed; it stays with the process else."""
    with suppress(OSError, AttributeError):  # glibc's alone
        ctypes.CDLL(None).malloc_trim(0)
