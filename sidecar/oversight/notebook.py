"""What `cache.trust` learns in, the same after a restart out; a disk that fails costs memory alone.

The event loop's thread takes what changed, twice a second, and hands it to a thread of its own. So
a `kill -9` costs the last half second, and a caller's path nothing.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Protocol

from cache.entry import EntryId
from cache.errors import CacheError
from cache.learnt import Learnt
from cache.stores.cipher import Cipher
from cache.stores.learnt import LearntStore
from cache.trust import Trust
from sidecar.process.works import done_on

INTERVAL_S: Final = 0.5
"""Chosen: what a `kill -9` may cost, and at a thousand hits a second one row for each partition."""

SUFFIX: Final = "-learnt"
"""Of the file, after the name of the one that holds the kept answers."""


class Hook(Protocol):
    """Hears what cannot be raised."""

    def lost_write(self, count: int) -> None:
        """So many changes did not reach the disk; they are tried again."""
        ...


class Notebook:
    """Owns the file. Lives on the event loop's thread, the file on another."""

    def __init__(
        self,
        *,
        trust: Trust,
        hook: Hook,
        logger: logging.Logger,
        cipher: Cipher | None = None,
    ) -> None:
        """With a `cipher` what is written is sealed."""
        self._cipher = cipher
        self._trust = trust
        self._hook = hook
        self._logger = logger
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="learnt-disk")
        self._store: LearntStore | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self, path: Path, encoder_id: str, next_id: EntryId) -> None:
        """Take up what the file holds, and go on writing; `next_id` names no entry yet."""
        try:
            store, learnt = await done_on(self._thread, _opened, path, encoder_id, self._cipher)
        except CacheError as fault:
            self._logger.warning("what is learnt of hits lives in memory alone: %s", fault)
            return
        if store.renamed_to is not None or store.dropped:
            facts = {"renamed_to": str(store.renamed_to or ""), "dropped": store.dropped}
            self._logger.warning("of what was learnt, some was torn", extra={"facts": facts})
        if learnt is not None:
            self._trust.restore(learnt, next_id)
        self._store = store
        self._task = asyncio.create_task(self._write_forever(store))

    async def _write_forever(self, store: LearntStore) -> None:
        while True:
            await asyncio.sleep(INTERVAL_S)
            await self._write(store)

    async def _write(self, store: LearntStore) -> None:
        if (learnt := self._trust.changes()) is None:
            return
        try:
            await done_on(self._thread, store.write, learnt)
        except CacheError:
            self._trust.unwritten(learnt)
            count = len(learnt.partitions) + len(learnt.entries) + len(learnt.pairs)
            self._hook.lost_write(count)

    async def close(self) -> None:
        """Write what is new, and close the file."""
        if self._task is not None and self._store is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            await self._write(self._store)
            await done_on(self._thread, self._store.close)
        self._thread.shutdown()


def _opened(
    path: Path, encoder_id: str, cipher: Cipher | None
) -> tuple[LearntStore, Learnt | None]:
    store = LearntStore.open(path, encoder_id, cipher)
    return store, store.load()
