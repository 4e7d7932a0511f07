"""Two doors in one process: the data plane on the main loop, the operator plane on its own thread.

The operator plane has a loop of its own so that it answers while the data plane is under load; a
liveness probe that waits behind requests would have the pod killed when it is needed most.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, TypeVar

from aiohttp import web

from sidecar.errors import ConfigError
from sidecar.web.connections import MAX_HANDLES, SEND_S, BoundedSite
from sidecar.web.quick import Known, quick

T = TypeVar("T")

IDLE_S: Final = 75.0
"""Source: nginx's keepalive_timeout. It also ends a connection whose headers come in drips: by
aiohttp's own default, an hour, a few hundred of them hold every file handle there is."""

MAX_WORKERS: Final = 64
"""Chosen: the owner, which accounts for what they serve, is busy long before."""


_POSITIVE: Final = (
    "max_connections",
    "max_in_flight",
    "max_body_bytes",
    "request_timeout_s",
    "drain_s",
    "send_timeout_s",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """Where the sidecar listens, and how much it lets in.

    Attributes:
        host: Address of the data plane.
        port: Its port; 0 takes any that is free.
        admin_host: Address of the operator plane; loopback unless admin_token is set.
        admin_port: Its port.
        admin_token: Bearer token of `/admin/`; without one it answers on loopback only.
        max_connections: Connections that callers may have open, idle ones too; one more hears 503.
        max_in_flight: Requests that may be inside at once; one more waits.
        max_queued: Requests that may wait for a place; one more is a 429.
        queue_timeout_s: The longest that one waits.
        max_body_bytes: Longest request body.
        max_bodies_bytes: Of all long ones that are inside together; one more is a 429.
        request_timeout_s: A request's deadline where the caller sets none, and the longest he may.
        send_timeout_s: How long what was sent may lie untaken before the connection is ended.
        drain_s: Time that requests in flight get on SIGTERM.
        workers: Processes that share the port; more than one needs Linux, see `sidecar.front`.
        state_dir: Folder of what the operator switched; empty is beside the cache's file, or the
            traffic log's folder, or memory alone where there is neither.

    Raises:
        ValueError: A number lies outside its range, or the operator plane would be open to all.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    admin_host: str = "127.0.0.1"
    admin_port: int = 8081
    admin_token: str = field(default="", repr=False)
    # Chosen: each request inside has one, and as many again stand idle in callers' pools.
    max_connections: int = 2048
    max_in_flight: int = 1024
    # Chosen: a quarter of those inside wait as long again as a place takes to come free; a caller
    # who would wait longer is better told at once, that he may go elsewhere.
    max_queued: int = 256
    queue_timeout_s: float = 5.0
    max_body_bytes: int = 16 * 1024 * 1024
    # Chosen: sixteen of the longest, or hundreds with a picture each; parsed they take some more.
    max_bodies_bytes: int = 256 * 1024 * 1024
    request_timeout_s: float = 600.0
    send_timeout_s: float = SEND_S
    # Chosen: Kubernetes gives 30 seconds by default, and log and cache are written after it.
    drain_s: float = 25.0
    workers: int = 1
    state_dir: str = ""

    def __post_init__(self) -> None:
        for name in ("port", "admin_port"):
            if not 0 <= getattr(self, name) <= 65535:  # noqa: PLR2004 - ports are 16 bits
                raise ValueError(f"{name} must lie in [0, 65535]")
        for name in _POSITIVE:
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive")
        if self.max_bodies_bytes < self.max_body_bytes:
            raise ValueError("max_bodies_bytes must be at least max_body_bytes")
        if not 1 <= self.workers <= MAX_WORKERS:
            raise ValueError(f"workers must lie in 1 to {MAX_WORKERS}")
        if self.workers > 1 and not hasattr(os, "memfd_create"):
            raise ValueError("workers: more than one needs Linux")
        if self.max_queued < 0 or self.queue_timeout_s < 0:
            raise ValueError("max_queued and queue_timeout_s must not be negative")
        if not self.admin_token and not is_loopback(self.admin_host):
            raise ValueError("admin_host must be loopback as long as no admin_token is set")


def is_loopback(host: str) -> bool:
    """`host` is reached from this machine alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


MAX_OPERATORS: Final = 256
"""Chosen: connections to the operator plane; probes, a scraper and some people have a few."""


@dataclass(frozen=True, slots=True)
class MainLoop:
    """The loop that owns what the operator plane speaks of, reached from another."""

    loop: asyncio.AbstractEventLoop

    async def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What `work` returns, done there."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work(), self.loop))


class Door:
    """One aiohttp application, listening on one address."""

    def __init__(
        self,
        app: web.Application,
        host: str,
        port: int,
        *,
        max_connections: int,
        idle_s: float = IDLE_S,
        send_s: float = SEND_S,
        givens: Known | None = None,
    ) -> None:
        """Set up.

        Args:
            app: What is served.
            host: Where.
            port: 0 takes any that is free.
            max_connections: That stand at once.
            idle_s: How long a connection may be without a whole request.
            send_s: How long what was sent may lie untaken.
            givens: What may be given before `app` is asked; None if nothing may.
        """
        self._givens = givens
        self._app = app
        self._host = host
        self._port = port
        self._most = max_connections
        self._idle_s = idle_s
        self._send_s = send_s
        self._runner: web.AppRunner | None = None
        self._is_leaving = False
        app.on_response_prepare.append(self._say_whether_it_stays)

    async def _say_whether_it_stays(self, _: web.Request, response: web.StreamResponse) -> None:
        """While it drains each answer is its connection's last, and says so.

        A caller who keeps connections would go on asking on them for as long as he is answered, and
        lose what he asked last. Source: RFC 9112, section 9.6.
        """
        if self._is_leaving:
            response.headers["connection"] = "close"
            response.force_close()

    async def open(self) -> int:
        """Listen; the port, which is news if 0 was asked for.

        Raises:
            ConfigError: The address is taken or not ours.
        """
        self._runner = web.AppRunner(
            self._app, handler_cancellation=True, shutdown_timeout=1.0, **self._manners
        )
        await self._runner.setup()
        try:
            await self._site(self._runner).start()
        except OSError as fault:
            where = f"{self._host}:{self._port}"
            raise ConfigError([f"server: cannot listen on {where}: {fault.strerror}"]) from fault
        address: tuple[str, int] | str = self._runner.addresses[0]
        return 0 if isinstance(address, str) else address[1]

    @property
    def _manners(self) -> dict[str, Any]:
        """Of each connection."""
        return {
            "access_log": None,
            "keepalive_timeout": self._idle_s,
            "auto_decompress": False,  # packed bodies are refused: see bodies.py
        }

    def _site(self, runner: web.AppRunner) -> web.BaseSite:
        """Where it listens."""
        make = quick(self._givens, **self._manners) if self._givens is not None else None
        return BoundedSite(runner, self._where, self._most, make, self._send_s)

    @property
    def _where(self) -> tuple[str, int] | Path | socket.socket:
        return self._host, self._port

    @property
    def connections(self) -> int:
        """How many stand."""
        server = self._runner.server if self._runner is not None else None
        return len(server.connections) if server is not None else 0

    async def stop_listening(self) -> None:
        """Take no more connections; those that stand are answered once more, and end."""
        assert self._runner is not None  # noqa: S101 - opened before
        self._is_leaving = True
        if self._givens is not None:
            self._givens.is_shut = True
        for site in list(self._runner.sites):
            await site.stop()

    async def close(self) -> None:
        """Close the connections too."""
        if self._runner is not None:
            await self._runner.cleanup()


class UnixDoor(Door):
    """A Door on a Unix socket, for processes of this machine that may enter its folder.

    They are the fronts, whose own connections are bounded.
    """

    def __init__(self, app: web.Application, path: Path) -> None:
        super().__init__(app, str(path), 0, max_connections=MAX_HANDLES)
        self._path = path

    @property
    def _where(self) -> Path:
        return self._path


class SocketDoor(Door):
    """A Door on a socket that somebody else opened, and listens on already."""

    def __init__(
        self,
        app: web.Application,
        listener: socket.socket,
        *,
        max_connections: int,
        send_s: float = SEND_S,
        givens: Known | None = None,
    ) -> None:
        super().__init__(app, "", 0, max_connections=max_connections, send_s=send_s, givens=givens)
        self._listener = listener

    @property
    def _where(self) -> socket.socket:
        return self._listener


async def drain(door: Door, in_flight: Callable[[], int], drain_s: float) -> None:
    """Take no more connections, and give those in flight their time."""
    await door.stop_listening()
    deadline_s = asyncio.get_running_loop().time() + drain_s
    # Looked at now and then: drain comes once in a life, and a request is none the slower for it.
    while in_flight() and asyncio.get_running_loop().time() < deadline_s:  # noqa: ASYNC110 - as said above
        await asyncio.sleep(0.02)


class ThreadedDoor:
    """A Door on a thread and a loop of its own."""

    def __init__(self, make_app: Callable[[], web.Application], host: str, port: int) -> None:
        self._make_app = make_app
        self._host = host
        self._port = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="operator-plane", daemon=True
        )

    async def open(self) -> int:
        """See Door."""
        self._thread.start()
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._open(), self._loop))

    async def _open(self) -> int:
        self._door = Door(self._make_app(), self._host, self._port, max_connections=MAX_OPERATORS)
        return await self._door.open()

    async def close(self) -> None:
        """Close the connections, end the loop, join the thread."""
        closing = asyncio.run_coroutine_threadsafe(self._door.close(), self._loop)
        await asyncio.wrap_future(closing)
        self._loop.call_soon_threadsafe(self._loop.stop)
        # The thread ends as soon as its loop has, so that this join is a matter of microseconds.
        self._thread.join()
        self._loop.close()
