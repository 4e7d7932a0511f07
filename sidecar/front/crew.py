"""The fronts of one owner: started, started again when one dies, and ended together.

Each has a listening socket of its own on the one port, between which the kernel spreads new
connections (`SO_REUSEPORT`). The owner holds all of them open: where a front dies, connections that
it had not taken wait for the one that comes after it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Final

from sidecar.errors import ConfigError
from sidecar.front.worker import FrontConfig

BACKLOG: Final = 1024
"""As the one process's own door."""

START_S: Final = 120.0
"""Chosen: a front imports a few libraries, half a second of a whole processor; a pod that has a
twentieth of one still comes up. Whoever wants to give up earlier has a start-up probe for it."""

END_S: Final = 2.0
"""Chosen: beyond the time to drain, before a front that does not end is killed."""

_FIRST_PAUSE_S: Final = 0.1
_LAST_PAUSE_S: Final = 5.0
"""Chosen: a front that dies at once again is tried ever less often, and never given up."""

_STEADY_S: Final = 10.0
"""Chosen: one that lived so long did not die of how it was started."""


class Crew:
    """Keeps `count` fronts alive. Lives on the main loop."""

    def __init__(
        self,
        *,
        count: int,
        config: FrontConfig,
        logger: logging.Logger,
        on_restart: Callable[[], None],
    ) -> None:
        """`config` lacks only the listener."""
        self._count = count
        self._config = config
        self._logger = logger
        self._on_restart = on_restart
        self._listeners: list[socket.socket] = []
        self._running: dict[int, asyncio.subprocess.Process] = {}  # by process id
        self._ready: set[int] = set()
        self._all_ready = asyncio.Event()
        self._is_ending = False
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def alive(self) -> int:
        """Fronts that take requests."""
        return len(self._ready & self._running.keys())

    @property
    def process_ids(self) -> list[int]:
        """Of those that run."""
        return sorted(self._running)

    def listen(self, host: str, port: int) -> int:
        """Open the port; it, which is news if 0 was asked for.

        Raises:
            ConfigError: The address is taken or not ours.
        """
        try:
            for _ in range(self._count):
                self._listeners.append(_listener(host, port))
                port = int(self._listeners[0].getsockname()[1])
        except OSError as fault:
            where = f"{host}:{port}"
            raise ConfigError([f"server: cannot listen on {where}: {fault.strerror}"]) from fault
        return port

    async def start(self) -> None:
        """Start all of them, and wait until they take requests.

        Raises:
            ConfigError: They do not.
        """
        self._tasks = [asyncio.create_task(self._keep(each)) for each in self._listeners]
        try:
            async with asyncio.timeout(START_S):
                await self._all_ready.wait()
        except TimeoutError as fault:
            told = f"server.workers: {self.alive} of {self._count} came up in {START_S:g} s"
            raise ConfigError([told]) from fault

    def is_ready(self, process_id: int) -> None:
        """That front takes requests."""
        self._ready.add(process_id)
        if self.alive == self._count:
            self._all_ready.set()

    async def _keep(self, listener: socket.socket) -> None:
        """Have one front behind `listener`, whatever happens to it."""
        pause_s = _FIRST_PAUSE_S
        while not self._is_ending:
            begun_s = time.monotonic()
            status = await self._run(listener)
            if self._is_ending:
                return
            self._on_restart()
            self._logger.error("a front died", extra={"facts": {"status": status}})
            steady = time.monotonic() - begun_s > _STEADY_S
            pause_s = _FIRST_PAUSE_S if steady else min(2.0 * pause_s, _LAST_PAUSE_S)
            await asyncio.sleep(pause_s)

    async def _run(self, listener: socket.socket) -> int:
        """One front's life; its exit status."""
        config = replace(self._config, listener=listener.fileno())
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "sidecar.front.worker",
            stdin=asyncio.subprocess.PIPE,
            pass_fds=(config.listener, config.table),
        )
        self._running[process.pid] = process
        assert process.stdin is not None  # noqa: S101 - a pipe was asked for
        try:
            process.stdin.write(config.packed())  # and left open: its end is the owner's
            return await process.wait()
        finally:
            self._running.pop(process.pid, None)
            self._ready.discard(process.pid)

    async def end(self, drain_s: float) -> None:
        """Have all of them finish, within `drain_s`; take no more connections from now on."""
        self._is_ending = True
        for listener in self._listeners:
            listener.close()
        for process in list(self._running.values()):
            with suppress(ProcessLookupError):
                process.terminate()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=drain_s + END_S)
        for process in list(self._running.values()):
            with suppress(ProcessLookupError):
                process.kill()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _listener(host: str, port: int) -> socket.socket:
    infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, proto, _, address = infos[0]
    listener = socket.socket(family, kind, proto)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(address)
    listener.listen(BACKLOG)
    listener.setblocking(False)  # noqa: FBT003 - the library's own
    return listener
