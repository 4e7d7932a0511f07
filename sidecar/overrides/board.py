"""The switchboard: holds what is set, keeps it in a file, and lets it go when its time is up.

Rule 1: memory is the truth; a switch holds for the very next request, whatever the disk does.
Rule 2: the file is replaced whole, by a rename, on a thread of its own; a fault of it costs the
        switch's life after a restart, and whoever set it is told so.
Rule 3: a file that cannot be read is put aside, never overwritten, and its loss is an error in the
        log: a kill switch that is forgotten in silence is worse than none.
Rule 4: an override ends at its instant, by the clock that rules on each request; the timer only
        tidies up behind it and says so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import orjson

from sidecar.disk.statefile import StateFile
from sidecar.overrides.override import UNRULED, Key, Override, Overrides, Ruling, Switch
from sidecar.process.works import done_on

FILE: Final = "overrides.json"
SCHEMA: Final = 1

MAX_FILE_BYTES: Final = 1024 * 1024
"""Chosen: all that may be set comes to a tenth of it."""

_LOOK_S: Final = 60.0
"""Chosen: the wall clock may be set while the timer sleeps; once a minute it is read again."""


class Board:
    """The one owner of the overrides. Lives on the event loop's thread."""

    def __init__(
        self,
        path: Path | None,
        clock: Callable[[], float],
        logger: logging.Logger,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """`path` is the file, None for memory alone; `clock` gives seconds since the epoch.

        `on_change` hears of each change, at once.
        """
        self._on_change = on_change
        self._file = StateFile(path, MAX_FILE_BYTES, "the overrides", logger) if path else None
        self._clock = clock
        self._logger = logger
        self._overrides = Overrides()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="overrides")
        self._has_news = asyncio.Event()
        self._tidying: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Restore what the file holds, and let go of what is over from now on. Never raises."""
        if self._file is not None:
            held = await done_on(self._thread, self._file.read, _parsed)
            self._overrides = Overrides() if held is None else held.at(self._clock())
        for override in self._overrides.held:
            self._logger.warning("override restored", extra={"facts": override.to_map()})
        self._tidying = asyncio.create_task(self._tidy_forever())

    async def close(self) -> None:
        """End the timer and the thread; the file stays."""
        if self._tidying is not None:
            self._tidying.cancel()
            await asyncio.gather(self._tidying, return_exceptions=True)
        self._thread.shutdown()

    @property
    def held(self) -> tuple[Override, ...]:
        """What is set by now."""
        return self._overrides.at(self._clock()).held

    @property
    def is_persisted(self) -> bool:
        """There is a file to outlive a restart in."""
        return self._file is not None

    def ruling(self, tenant: str) -> Ruling:
        """What holds for a request of `tenant`, at this instant."""
        overrides = self._overrides
        return overrides.ruling(tenant, self._clock()) if overrides.held else UNRULED

    def active(self, switch: Switch) -> int:
        """How many of that switch hold; may be asked from any thread."""
        return self._overrides.active(switch, self._clock())

    async def set(self, override: Override) -> bool:
        """Have `override` hold from now on; whether a disk has it in writing.

        Raises:
            ValueError: As many as may be are set.
        """
        self._overrides = self._overrides.at(self._clock()).adding(override)
        self._logger.warning("override set", extra={"facts": override.to_map()})
        return await self._changed()

    async def lift(self, key: Key) -> tuple[bool, bool]:
        """End the one of that key: whether there was one, and whether a disk has it in writing."""
        there_was = any(each.key == key for each in self.held)
        if not there_was:
            return False, self.is_persisted
        self._overrides = self._overrides.less(key)
        self._logger.warning("override lifted", extra={"facts": key._asdict()})
        return True, await self._changed()

    async def _changed(self) -> bool:
        self._on_change()
        self._has_news.set()
        if self._file is None:
            return False
        return await done_on(self._thread, self._file.write, _packed(self._overrides))

    async def _tidy_forever(self) -> None:
        while True:
            self._has_news.clear()
            alive = self._overrides.at(self._clock())
            gone = [each for each in self._overrides.held if each not in alive.held]
            if gone:
                self._overrides = alive
                for override in gone:
                    self._logger.warning("override expired", extra={"facts": override.to_map()})
                await self._changed()
                continue
            ends = [each.expires_at for each in alive.held]
            wait_s = min([_LOOK_S, *(max(0.0, end - self._clock()) for end in ends)])
            try:
                await asyncio.wait_for(self._has_news.wait(), wait_s if ends else None)
            except TimeoutError:
                continue


def _packed(overrides: Overrides) -> bytes:
    told = {"schema": SCHEMA, "overrides": [each.to_map() for each in overrides.held]}
    return orjson.dumps(told, option=orjson.OPT_INDENT_2)


def _parsed(packed: bytes) -> Overrides:
    """What the file holds; raises whatever a stranger's may."""
    told = orjson.loads(packed)
    if not isinstance(told, dict) or told.get("schema") != SCHEMA:
        raise ValueError(f"it is none of schema {SCHEMA}")
    found = Overrides()
    for values in told.get("overrides", ()):
        found = found.adding(Override.from_map(values))
    return found
