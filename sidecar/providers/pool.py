"""An upstream's address in, connections to it out: kept while they are used, and never too many.

Rule 1: so many connections stand or are being made to one place; whoever comes then waits in line
        for one, within his own time.
Rule 2: the one used last is used next, so that those which are not needed grow old and are closed.
Rule 3: one that is closed while idle is never handed out. One that the upstream closes just as it
        is asked again fails its call, as it would with any client: a POST may have been heard, and
        whether it is made again is for `replicas.retries` to say, who counts.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

import aiohappyeyeballs

from sidecar.providers.connection import Connection

IDLE_S: Final = 15.0
"""Source: aiohttp's own client, by default: servers before vendors commonly allow a minute."""

NAMES_S: Final = 60.0
"""Chosen: how long an address holds. A vendor that moves does so within minutes."""

_SECOND_FAMILY_S: Final = 0.25
"""Source: RFC 8305, section 8, "Connection Attempt Delay"."""


class Origin(NamedTuple):
    """Where a server is: its host's name or address, its port, and whether TLS is spoken there."""

    host: str
    port: int
    is_tls: bool


class Pool:
    """The connections to one origin. Lives on the event loop's thread."""

    def __init__(self, origin: Origin, limit: int, tls: Callable[[], ssl.SSLContext]) -> None:
        """`limit` bounds how many stand at once; `tls` gives the settings that all share."""
        self._origin = origin
        self._limit = limit
        self._tls = tls
        self._idle: list[Connection] = []
        self._all: set[Connection] = set()
        self._opening = 0
        self._line: deque[asyncio.Future[Connection | None]] = deque()
        self._sweep: asyncio.TimerHandle | None = None
        self._addresses: list[aiohappyeyeballs.AddrInfoType] = []
        self._addresses_until_s = 0.0

    def find(self) -> Connection | None:
        """One that stands idle."""
        while self._idle:
            connection = self._idle.pop()
            oldest_s = asyncio.get_running_loop().time() - IDLE_S
            if connection.is_open and connection.idle_since_s > oldest_s:
                return connection
            connection.abort()
        return None

    async def opened(self, connect_s: float) -> Connection:
        """A new one, or one that comes free meanwhile.

        Raises:
            TimeoutError: It took longer than `connect_s`, the wait in line not counted.
            OSError: Nobody is there, or TLS failed.
        """
        while len(self._all) + self._opening >= self._limit:
            freed = await self._in_line()
            if freed is not None:
                return freed
        self._opening += 1
        try:
            async with asyncio.timeout(connect_s):
                connection = await self._connected()
        except BaseException:
            self._opening -= 1
            self._addresses_until_s = 0.0  # the host may have moved
            self._call_next(None)
            raise
        self._opening -= 1
        self._all.add(connection)
        return connection

    async def _in_line(self) -> Connection | None:
        """One that came free; None: there is room for another."""
        place: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._line.append(place)
        try:
            return await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():  # called, and gone at the same instant
                self._freed(place.result())
            raise

    async def _connected(self) -> Connection:
        loop, origin = asyncio.get_running_loop(), self._origin
        reached = await aiohappyeyeballs.start_connection(
            await self._found(), happy_eyeballs_delay=_SECOND_FAMILY_S, interleave=1, loop=loop
        )
        try:
            _, connection = await loop.create_connection(
                lambda: Connection(self._freed, self._lost),
                sock=reached,
                ssl=self._tls() if origin.is_tls else None,
                server_hostname=origin.host if origin.is_tls else None,
            )
        except BaseException:
            reached.close()
            raise
        return connection

    async def _found(self) -> list[aiohappyeyeballs.AddrInfoType]:
        """The host's addresses, each time another one first."""
        loop = asyncio.get_running_loop()
        if loop.time() >= self._addresses_until_s:
            found = await loop.getaddrinfo(
                self._origin.host, self._origin.port, type=socket.SOCK_STREAM
            )
            self._addresses, self._addresses_until_s = list(found), loop.time() + NAMES_S
        first, *others = self._addresses
        self._addresses = [*others, first]
        return [first, *others]

    def _freed(self, connection: Connection | None) -> None:
        if self._call_next(connection) or connection is None:
            return
        self._idle.append(connection)
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(IDLE_S, self._close_old)

    def _lost(self, connection: Connection) -> None:
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._call_next(None)

    def _call_next(self, connection: Connection | None) -> bool:
        """Somebody in line takes it; or, of None, looks whether there is room now."""
        while self._line:
            place = self._line.popleft()
            if not place.done():
                place.set_result(connection)
                return True
        return False

    def _close_old(self) -> None:
        loop = asyncio.get_running_loop()
        self._sweep = None
        for connection in [*self._idle]:
            if connection.idle_since_s <= loop.time() - IDLE_S:
                connection.abort()
                self._idle.remove(connection)
        if self._idle:
            due_s = self._idle[0].idle_since_s + IDLE_S
            self._sweep = loop.call_at(due_s, self._close_old)

    def close(self) -> None:
        """End all of them."""
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in [*self._all]:
            connection.abort()


class Pools:
    """The connections to all upstreams, by origin; they outlive a reload."""

    def __init__(self, limit: int) -> None:
        """`limit` bounds the connections to each origin."""
        self._limit = limit
        self._pools: dict[Origin, Pool] = {}
        self._context: ssl.SSLContext | None = None

    def to(self, origin: Origin) -> Pool:
        """Those to `origin`."""
        if origin not in self._pools:
            self._pools[origin] = Pool(origin, self._limit, self._tls)
        return self._pools[origin]

    def _tls(self) -> ssl.SSLContext:
        """Certificates of the system's, or of SSL_CERT_FILE's, are checked; HTTP/1.1 is offered."""
        if self._context is None:
            self._context = ssl.create_default_context()
            self._context.set_alpn_protocols(["http/1.1"])
        return self._context

    async def close(self) -> None:
        """End all of them."""
        for pool in self._pools.values():
            pool.close()
        await asyncio.sleep(0)  # the loop tells each connection that it is over
