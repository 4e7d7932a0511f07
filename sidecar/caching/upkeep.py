"""Invalidations and the time in; rows that nobody may have any more off the disk, batch by batch.

A batch at a time, so that a write waits for one of them and the event loop for none.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from typing import Final

from cache.epochs import Mark
from cache.stores.disk import DiskStore, Gone
from sidecar.process.works import done_on

_SWEEP_S: Final = 60.0
"""Chosen: an expired entry is never served; once a minute it also stops taking room."""

_AT_ONCE: Final = 512
"""Chosen: expired rows that leave in one transaction, 10 ms of the writer's thread."""

IDS_AT_ONCE: Final = 1_000
"""Chosen: ids looked at in one transaction for those that an invalidation names."""


class Upkeep:
    """What is still to leave the disk by itself. One owner: persistence."""

    def __init__(
        self,
        disk: DiskStore,
        *,
        thread: Executor,
        on_gone: Callable[[Sequence[Gone]], None],
        keep_stale_s: float,
    ) -> None:
        """`on_gone` hears of each batch that is off the disk.

        `keep_stale_s` is how long an expired entry still takes room, to be served as stale.
        """
        self._disk = disk
        self._thread = thread
        self._on_gone = on_gone
        self._keep_stale_s = keep_stale_s
        self._voiding: deque[Mark] = deque()
        self._is_moot = False
        self._swept_s = time.monotonic()

    def void(self, marks: Iterable[Mark]) -> None:
        """Have what these name leave with the next `carry_out`."""
        self._voiding.extend(marks)

    def void_all(self) -> None:
        """Have all that the disk holds leave with the next `carry_out`."""
        self._is_moot = True

    async def carry_out(self) -> None:
        """Take what the invalidations so far named off the disk.

        Raises:
            CacheError: The disk cannot be written; what is left is tried again.
        """
        if self._is_moot:
            self._voiding.append(await done_on(self._thread, self._disk.void, time.time()))
            self._is_moot = False
        while self._voiding:
            await self._remove_named(self._voiding[0])
            self._voiding.popleft()

    async def _remove_named(self, mark: Mark) -> None:
        top = await done_on(self._thread, self._disk.max_entry_id)
        step = top + 1 if mark.selector.by == "entry" else IDS_AT_ONCE  # found by its index
        for after in range(-1, top, step):
            self._on_gone(
                await done_on(self._thread, self._disk.remove_named, mark, after, after + step)
            )
        await done_on(self._thread, self._disk.carried_out, mark)

    async def sweep(self) -> None:
        """Take what has expired off the disk, once a minute.

        Raises:
            CacheError: The disk cannot be written.
        """
        if time.monotonic() - self._swept_s < _SWEEP_S:
            return
        self._swept_s = time.monotonic()
        before_at = time.time() - self._keep_stale_s
        while True:
            gone = await done_on(self._thread, self._disk.remove_expired, before_at, _AT_ONCE)
            self._on_gone(gone)
            if len(gone) < _AT_ONCE:
                break
        while await done_on(self._thread, self._disk.shrink):
            pass

    async def make_room(self) -> None:
        """Take what is worth least off the disk, where the file is nearly full.

        Raises:
            CacheError: The disk cannot be written.
        """
        while gone := await done_on(self._thread, self._disk.make_room, time.time()):
            self._on_gone(gone)
