"""An address in, a listening site out whose connections are counted, and none of which is for ever.

Rule 1: so many connections stand at once; one more hears 503 and is closed. Handles are the
        process's, and the cache's file, the log and every upstream need some too.
Rule 2: what was sent and is not taken ends the connection after a while (`SEND_S`): a caller who
        asks and never reads would hold his place and his answer for as long as he likes.
Rule 3: so many are taken in one turn of the loop (`TAKEN_AT_ONCE`), lest callers who connect
        together wait for each other's turns.
Rule 4: a long answer goes piece by piece, the next one when the last one was taken: so whoever
        reads, however slowly, reads to the end.
"""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, cast

import orjson
from aiohttp import web

from sidecar.errors import ConnectionsFull
from sidecar.web.middleware import error_body

SEND_S: Final = 60.0
"""Source: nginx's `send_timeout`, by default: between two writes that the client takes."""

PIECE_BYTES: Final = 64 * 1024
"""Source: asyncio's default high-water mark of a transport: a write of more has to wait anyway."""

MAX_HANDLES: Final = 65_536
"""Chosen: more than connections to both sides and files of one process ever come to."""

TAKEN_AT_ONCE: Final = 16
"""Measured: docs/performance.md, "Many who connect at once". libuv takes one connection a turn from
each listening handle, and a turn beside a busy encoder lasts milliseconds; so there are as many
handles of the one socket as connections are to be taken. Source: libuv's `uv__server_io`."""

_HEAR_S: Final = 5.0
"""Chosen: how long one beyond the limit may take to ask before it is closed unheard."""


class BoundedSite(web.BaseSite):
    """Listens at an address or path, or on a socket that listens already; bounds connections."""

    def __init__(
        self,
        runner: web.BaseRunner,
        at: tuple[str, int] | Path | socket.socket,
        max_connections: int,
        make: Callable[[Any], asyncio.BaseProtocol] | None = None,
        send_s: float = SEND_S,
    ) -> None:
        """`make` makes a connection of the server; None has the server make it.

        `send_s` is how long what was sent may lie untaken.
        """
        super().__init__(runner, backlog=1024)
        self._at = at
        self._most = max_connections
        self._make = make
        self._send_s = send_s
        self._beside: list[asyncio.AbstractServer] = []

    @property
    def name(self) -> str:
        """Where it listens."""
        return str(self._at)

    async def start(self) -> None:
        """Listen; raises OSError."""
        await super().start()
        server = self._server = await self._listening()
        for listener in server.sockets:
            _give_up_the_unread(listener, self._send_s)
            for _ in range(TAKEN_AT_ONCE - 1):
                again = socket.socket(fileno=os.dup(listener.fileno()))
                self._beside.append(await self._listening_on(again))

    async def _listening(self) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        if isinstance(self._at, socket.socket):
            return await self._listening_on(self._at)
        if isinstance(self._at, Path):
            return await loop.create_unix_server(self._admitted, self._at, backlog=self._backlog)
        return await loop.create_server(self._admitted, *self._at, backlog=self._backlog)

    async def _listening_on(self, listener: socket.socket) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        if listener.family == socket.AF_UNIX:
            return await loop.create_unix_server(
                self._admitted, sock=listener, backlog=self._backlog
            )
        return await loop.create_server(self._admitted, sock=listener, backlog=self._backlog)

    async def stop(self) -> None:
        """Take no more."""
        for server in self._beside:
            server.close()
        await super().stop()

    def _admitted(self) -> asyncio.BaseProtocol:
        server = self._runner.server
        assert server is not None  # noqa: S101 - set up before it listens
        if len(server.connections) < self._most:
            return self._make(server) if self._make is not None else server()
        return _TurnedAway()


def _give_up_the_unread(listener: socket.socket, send_s: float) -> None:
    """Have the kernel end connections whose peer takes nothing; those accepted inherit it.

    It also ends those that were closed here with bytes on their way, which no timer of ours sees.
    Source: tcp(7), TCP_USER_TIMEOUT. Where there is none, `taken` holds alone.
    """
    if hasattr(socket, "TCP_USER_TIMEOUT") and listener.family != socket.AF_UNIX:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(send_s * 1e3))


async def taken(request: web.Request, sending: Awaitable[None], budget_s: float = SEND_S) -> None:
    """Await `sending` of bytes to whoever sent `request`.

    Raises:
        ConnectionError: He took nothing for `budget_s`; the connection is ended.
    """
    try:
        async with asyncio.timeout(budget_s):
            await sending
    except TimeoutError as fault:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionAbortedError("the caller did not take what he asked for") from fault


async def send_whole(
    request: web.Request, headers: Mapping[str, str], body: bytes, budget_s: float = SEND_S
) -> web.StreamResponse:
    """Answer `request` with the JSON `body`; each piece of it has `budget_s` to be taken.

    Raises:
        ConnectionError: He left, or took nothing for so long.
    """
    if len(body) <= PIECE_BYTES:
        short = web.Response(body=body, headers=headers, content_type="application/json")
        await short.prepare(request)
        await taken(request, short.write_eof(), budget_s)
        return short
    response = web.StreamResponse(headers=headers)
    response.content_type, response.content_length = "application/json", len(body)
    await response.prepare(request)
    await send_pieces(request, response, body, budget_s)
    await taken(request, response.write_eof(), budget_s)
    return response


async def send_pieces(
    request: web.Request, response: web.StreamResponse, data: bytes, budget_s: float
) -> None:
    """Write `data`, of any length; each piece of it has `budget_s` to be taken.

    Raises:
        ConnectionError: He left, or took nothing for so long.
    """
    for begin in range(0, len(data), PIECE_BYTES):
        piece = memoryview(data)[begin : begin + PIECE_BYTES] if len(data) > PIECE_BYTES else data
        await taken(request, response.write(piece), budget_s)


class _TurnedAway(asyncio.Protocol):
    """One beyond the limit: told so as soon as it asks, or closed if it does not."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is a class of its own
        self._timer = asyncio.get_running_loop().call_later(_HEAR_S, self._transport.abort)

    def data_received(self, _data: bytes) -> None:
        # Heard first: closed with its words unread, the caller would see a reset and no answer.
        self._transport.write(_refusal())
        self._transport.close()

    def connection_lost(self, _exc: Exception | None) -> None:
        self._timer.cancel()


def _refusal() -> bytes:
    fault = ConnectionsFull("too many connections are open; ask on one that is, or later")
    body = orjson.dumps(error_body(fault))
    head = (
        f"HTTP/1.1 {fault.status} Service Unavailable\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\nretry-after: 1\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body


def room_for_connections(wanted: int) -> int:
    """How many of `wanted` may stand: at most half of the handles that this process may have.

    It is allowed as many as its hard limit says first. Shells and service managers give 1,024 for
    the sake of programs that use `select`. Source: Go's runtime does the same at its start.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MAX_HANDLES if hard == resource.RLIM_INFINITY else min(hard, MAX_HANDLES)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(ValueError, OSError):  # a limit of the container's own
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            soft = most
    return wanted if soft == resource.RLIM_INFINITY else max(1, min(wanted, soft // 2))
