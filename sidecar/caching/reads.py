"""Keys in, what the disk keeps under them out, to callers who wait: in time, or nothing.

A thread and a connection of their own, so that nobody who reads waits for the one who writes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Final, Protocol, TypeVar

from cache.entry import Entry, EntryId
from cache.epochs import Selector
from cache.errors import CacheError
from cache.stores.reader import DiskReader

T = TypeVar("T")

MAX_READING: Final = 64
"""Chosen: reads that may wait for the disk; beyond it a look-up is a miss."""


class Hook(Protocol):
    """Hears how look-ups ended."""

    def read_disk(self, outcome: str) -> None:
        """A caller's read ended: `hit`, `miss`, `late`, `fault`, or `busy` and not begun."""
        ...


class Reads:
    """The reader, and how many wait for it. One owner: persistence."""

    def __init__(
        self, reader: DiskReader, *, thread: Executor, hook: Hook, budget_s: float = 0.05
    ) -> None:
        """`budget_s` is how long a caller may be kept waiting."""
        self._reader = reader
        self._thread = thread
        self._hook = hook
        self._budget_s = budget_s
        self._reading = 0

    async def find(
        self, fingerprint: bytes, may_rise: Callable[[Entry], bool]
    ) -> tuple[Entry, int] | None:
        """The entry under `fingerprint`, expired or not, and its uses; in time, else none.

        `may_rise` is asked of what was found, once it was.
        """
        found, outcome = None, "busy"
        if self._reading < MAX_READING:
            found, outcome = await self._found(fingerprint)
        if found is not None and not may_rise(found[0]):
            found, outcome = None, "miss"
        self._hook.read_disk(outcome)
        return found

    async def _found(self, fingerprint: bytes) -> tuple[tuple[Entry, int] | None, str]:
        try:
            async with asyncio.timeout(self._budget_s):
                found = await self._read(partial(self._reader.find, fingerprint))
        except TimeoutError:
            return None, "late"
        except CacheError:
            return None, "fault"
        return found, "miss" if found is None else "hit"

    async def entry(self, entry_id: EntryId) -> Entry | None:
        """One entry by its id, expired or not.

        Raises:
            CacheError: The disk cannot be read.
        """
        found = await self._read(partial(self._reader.entries, [entry_id]))
        return found[0] if found else None

    async def sizes(self, selector: Selector, after: EntryId, until: EntryId) -> tuple[int, int]:
        """See DiskReader."""
        return await self._read(partial(self._reader.sizes, selector, after, until))

    async def _read(self, work: Callable[[], T]) -> T:
        self._reading += 1
        done = asyncio.get_running_loop().run_in_executor(self._thread, work)
        done.add_done_callback(self._end)  # late ones too: they keep the thread busy
        return await done

    def _end(self, done: asyncio.Future[T]) -> None:
        self._reading -= 1
        if not done.cancelled():
            done.exception()  # looked at, lest a late one be told as never retrieved

    async def close(self) -> None:
        """Let go of the file."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._reader.close)
