"""What tenants spent and how full their buckets are, the same after a restart.

The event loop's thread takes what changed, twice a second, and hands it to a thread of its own. So
a `kill -9` costs the last half second of it, and a caller's path nothing. A disk that fails costs
that memory alone: it is counted, and what could not be written is tried again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Protocol

from sidecar.admission.purses import Purses, Spending
from sidecar.admission.rates import Level, Rates
from sidecar.admission.store import AdmissionStore
from sidecar.errors import AdmissionStoreError
from sidecar.process.works import done_on

INTERVAL_S: Final = 0.5
"""Chosen: what a `kill -9` may cost, and one small transaction while anybody spends."""


class Hook(Protocol):
    """Hears what cannot be raised."""

    def lost_spendings(self, count: int) -> None:
        """So many changes did not reach the disk; they are tried again."""
        ...


class Bookkeeper:
    """Owns the file. Lives on the event loop's thread, the file on another."""

    def __init__(
        self,
        *,
        purses: Purses,
        rates: Rates,
        hook: Hook,
        logger: logging.Logger,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`wall` gives seconds since the epoch, UTC."""
        self._wall = wall
        self._purses = purses
        self._rates = rates
        self._hook = hook
        self._logger = logger
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="admission-disk")
        self._store: AdmissionStore | None = None
        self._task: asyncio.Task[None] | None = None
        self._unwritten: dict[tuple[str, str | None, int | None], Spending] = {}

    async def start(self, path: Path) -> None:
        """Take up what the file holds, and go on writing."""
        try:
            store, spendings, levels = await done_on(self._thread, _opened, path)
        except AdmissionStoreError as fault:
            self._logger.warning("budgets live in memory alone: %s", fault)
            self._hook.lost_spendings(1)
            return
        if store.renamed_to is not None:
            facts = {"renamed_to": str(store.renamed_to)}
            self._logger.warning("what was spent could not be read", extra={"facts": facts})
        self._purses.restore(spendings)
        self._rates.restore(levels)
        self._store = store
        self._task = asyncio.create_task(self._write_forever(store))

    async def _write_forever(self, store: AdmissionStore) -> None:
        while True:
            await asyncio.sleep(INTERVAL_S)
            await self.written(store)

    async def written(self, store: AdmissionStore) -> None:
        """Once all that is new, or was not written before, stands in `store` or was tried."""
        for each in self._purses.changes():
            self._unwritten[each.tenant, each.user, each.day] = each
        levels: list[Level] = self._rates.changes()
        if not self._unwritten and not levels:
            return
        spendings, self._unwritten = self._unwritten, {}
        try:
            await done_on(self._thread, store.write, [*spendings.values()], levels, self._wall())
        except AdmissionStoreError:
            # What a bucket held matters for a minute; what was spent is tried again.
            self._unwritten = spendings | self._unwritten
            self._hook.lost_spendings(len(spendings))

    async def close(self) -> None:
        """Write what is new, and close the file."""
        if self._task is not None and self._store is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            await self.written(self._store)
            try:
                await done_on(self._thread, self._store.close)
            except AdmissionStoreError as fault:
                self._logger.warning("%s", fault)
        self._thread.shutdown()


def _opened(path: Path) -> tuple[AdmissionStore, list[Spending], list[Level]]:
    store = AdmissionStore.open(path)
    return store, *store.load()
