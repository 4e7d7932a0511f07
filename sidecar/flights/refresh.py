"""Expired answers fetched anew behind a caller's back: one work a key, few at once, each awaited.

Rule 1: a key is refreshed by one work at a time.
Rule 2: at most `MAX_RUNNING` run; beyond it the expired answer is served and nothing is begun.
Rule 3: a refresh that fails costs nobody an answer; it is counted, and the next one who asks tries
        again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from sidecar.errors import SidecarError

MAX_RUNNING: Final = 16
"""Chosen: as many as a small vendor's plan takes beside the traffic itself."""


class Hook(Protocol):
    """Hears how refreshes end."""

    def refreshed(self, outcome: str) -> None:
        """One of `done`, `failed` and `full`."""
        ...


class Refreshes:
    """The refreshes under way. Lives on the event loop's thread."""

    def __init__(self, hook: Hook, logger: logging.Logger) -> None:
        self._hook = hook
        self._logger = logger
        self._running: dict[bytes, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._running)

    def begin(self, key: bytes, work: Callable[[], Awaitable[None]]) -> None:
        """Have `work` done soon, unless it is being done for `key` already."""
        if key in self._running:
            return
        if len(self._running) >= MAX_RUNNING:
            self._hook.refreshed("full")
            return
        task = self._running[key] = asyncio.create_task(self._run(work))
        # Not in the task's own `finally`: one that is cancelled before its first step has none.
        task.add_done_callback(lambda _: self._running.pop(key))

    async def _run(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
            self._hook.refreshed("done")
        except SidecarError:
            self._hook.refreshed("failed")
        except Exception:  # a bug of ours: nobody awaits this task but `close`
            self._logger.exception("a refresh failed unforeseen")
            self._hook.refreshed("failed")

    async def close(self) -> None:
        """End them all."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
