"""One front: requests on the shared port in; hits of its own, or the owner's answers, out.

It is started by the owner (`front.crew`), which hands it its listening socket and the table, and
tells it the rest on its standard input. It ends when that does, so that no front outlives its
owner. SIGTERM lets it finish what it has begun.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from dataclasses import asdict, dataclass
from typing import Final, Literal

import aiohttp
import orjson
import uvloop
from aiohttp import web

from sidecar.front.relay import Relay
from sidecar.front.reply import KEY_HEADER, Kept
from sidecar.front.served import Batch, Served
from sidecar.front.table import Reader
from sidecar.process import collector
from sidecar.telemetry.logs import TelemetryConfig, configure
from sidecar.web.bodies import read_body
from sidecar.web.connections import room_for_connections
from sidecar.web.heads import CHAT, MAX_ASKED_BYTES, Heads, fresh_request_id, request_key
from sidecar.web.listen import SocketDoor, drain
from sidecar.web.middleware import double_talk_refused, errors_told, pages_kept_out
from sidecar.web.quick import Asked

TELL_S: Final = 0.05
"""Chosen: what a front that is killed has not told of; twenty trips a second are nothing."""

MAX_UNTOLD: Final = 8_192
"""Chosen: half a second's hits; beyond it they are counted, and no more is told."""

MOUTHFUL: Final = 1_024
"""Chosen: replies in one batch: 100 kB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontConfig:
    """What the owner hands to a front.

    Attributes:
        listener: The handle of its listening socket.
        table: Of the shared memory.
        secret: Of this run's keys, in hex.
        plane: The Unix socket to which requests are relayed.
        control: The one to which it tells what it served.
        max_connections: Its share of the callers' connections.
        send_timeout_s: How long what was sent may lie untaken.
        drain_s: Time that requests in flight get on SIGTERM.
        log_level: As the owner's.
    """

    listener: int
    table: int
    secret: str
    plane: str
    control: str
    max_connections: int
    send_timeout_s: float
    drain_s: float
    log_level: Literal["debug", "info", "warning", "error"]

    def packed(self) -> bytes:
        """It as one line."""
        return orjson.dumps(asdict(self)) + b"\n"

    @classmethod
    def unpacked(cls, line: bytes) -> FrontConfig:
        """What `packed` made a line of."""
        return cls(**orjson.loads(line))


class Teller:
    """Tells the owner what was served, now and then. Lives on the event loop's thread."""

    def __init__(self, path: str) -> None:
        self._session = aiohttp.ClientSession(connector=aiohttp.UnixConnector(path))
        self._untold: list[Served] = []
        self._relayed = self._lost = 0
        self._task: asyncio.Task[None] | None = None

    def relayed(self) -> None:
        """One more went to the owner."""
        self._relayed += 1

    def served(self, one: Served) -> None:
        """One more was answered here."""
        if len(self._untold) < MAX_UNTOLD:
            self._untold.append(one)
        else:
            self._lost += 1

    async def start(self) -> None:
        """Say that requests are welcome, and begin to tell."""
        await self._post("/ready", str(os.getpid()).encode())
        self._task = asyncio.create_task(self._tell_forever())

    async def _tell_forever(self) -> None:
        while True:
            await asyncio.sleep(TELL_S)
            await self.tell()

    async def tell(self) -> None:
        """All that is untold."""
        while self._untold or self._relayed or self._lost:
            some, self._untold = self._untold[:MOUTHFUL], self._untold[MOUTHFUL:]
            batch = Batch(served=some, relayed=self._relayed, lost=self._lost)
            self._relayed = self._lost = 0
            try:
                await self._post("/served", batch.packed())
            except aiohttp.ClientError:
                self._lost += batch.lost + len(some)
                return

    async def _post(self, path: str, body: bytes) -> None:
        url = f"http://owner{path}"
        async with self._session.post(url, data=body, raise_for_status=True) as response:
            await response.read()

    async def close(self) -> None:
        """Tell the rest."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.tell()
        await self._session.close()


class Shown:
    """What the table knows, for the front's connections: see `web.quick.Known`.

    Attributes:
        heads: What requests began with lately.
        is_shut: Nothing is given any more: each answer is to say that the door drains.
        straight: None: what the table does not know is relayed.
    """

    def __init__(self, reader: Reader, teller: Teller, secret: bytes) -> None:
        self._reader = reader
        self._teller = teller
        self.heads: Final = Heads(secret)
        self.is_shut = False
        self.straight: Asked | None = None

    def find(self, key: bytes) -> bytes | None:
        """The whole answer to the request with this key; None: it is the owner's to give."""
        begun_s, received_at = time.perf_counter(), time.time()
        found = None if self.is_shut else self._reader.find(key, received_at)
        if found is None:
            return None
        kept, request_id = Kept.unpacked(found.payload), fresh_request_id()
        told = kept.told(request_id, received_at, (time.perf_counter() - begun_s) * 1e3)
        took_ms = (time.perf_counter() - begun_s) * 1e3
        self._teller.served(Served(found.number, request_id, received_at, took_ms))
        return told


class Front:
    """The handler of every request that is not answered from the table."""

    def __init__(self, relay: Relay, teller: Teller, secret: bytes) -> None:
        self._relay = relay
        self._teller = teller
        self._secret = secret
        self.inside = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Whatever the owner says."""
        self.inside += 1
        self._teller.relayed()
        try:
            if not _may_be_a_hit(request):
                return await self._relay.answered(request, None, {})
            body = await read_body(request)
            key = request_key(request.headers, body, self._secret)
            return await self._relay.answered(request, body, {KEY_HEADER: key.hex()})
        finally:
            self.inside -= 1


def _may_be_a_hit(request: web.Request) -> bool:
    """It is a chat request of a length that is looked up; a longer one is sent on as it comes."""
    length = request.content_length
    return (
        request.method == "POST"
        and request.rel_url.raw_path_qs == CHAT
        and length is not None
        and length <= MAX_ASKED_BYTES
    )


async def serve(config: FrontConfig, logger: logging.Logger) -> None:
    """Answer until SIGTERM, or until the owner is gone."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_reader(sys.stdin.fileno(), stop.set)  # nothing more is said there: it is the end
    reader, teller = Reader(config.table), Teller(config.control)
    relay = Relay(config.plane, config.send_timeout_s)
    secret = bytes.fromhex(config.secret)
    front, shown = Front(relay, teller, secret), Shown(reader, teller, secret)
    app = web.Application(middlewares=[errors_told(logger), double_talk_refused, pages_kept_out])
    app.router.add_route("*", "/{rest:.*}", front.answer)
    door = SocketDoor(
        app,
        socket.socket(fileno=config.listener),
        max_connections=room_for_connections(config.max_connections),
        send_s=config.send_timeout_s,
        givens=shown,
    )
    await door.open()
    collector.settle()
    await teller.start()
    await stop.wait()
    await drain(door, lambda: front.inside, config.drain_s)
    await door.close()
    await teller.close()
    await relay.close()
    reader.close()


def main() -> int:
    """Be told what to do, and do it; the exit status."""
    for number in (signal.SIGINT, signal.SIGHUP):  # a terminal tells all; they are the owner's
        signal.signal(number, signal.SIG_IGN)
    config = FrontConfig.unpacked(sys.stdin.buffer.readline())
    logger = configure(TelemetryConfig(log_level=config.log_level))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(config, logger))
    return 0


if __name__ == "__main__":
    sys.exit(main())
