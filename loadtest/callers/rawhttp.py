"""A client so plain that it hardly shows in a measurement: request bytes in, answer bytes out.

A full client costs more than the servers that are compared here, and would make all ratios one.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from loadtest.callers.answers import Reply, read


@dataclass(frozen=True, slots=True)
class Exchange:
    """One answer as it came, and how long it took."""

    head: bytes
    body: bytes
    latency_ms: float

    def reply(self) -> Reply:
        """The same, read."""
        first, *lines = self.head.decode("latin-1").strip().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines if ": " in line)
        status = int(first.split(" ")[1])
        return read(status, headers, self.body, latency_ms=self.latency_ms)


def request(url: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> bytes:
    """The bytes of a POST of JSON on a connection that stays open."""
    parts = urlsplit(url)
    raw = json.dumps(body).encode()
    told = {
        "host": parts.netloc,
        "content-type": "application/json",
        "content-length": str(len(raw)),
        **headers,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    return f"POST {parts.path} HTTP/1.1\r\n{lines}\r\n".encode() + raw


class Connection:
    """One open connection; one exchange at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def to(cls, url: str) -> Connection:
        """A connection to the host of `url`."""
        parts = urlsplit(url)
        return cls(*await asyncio.open_connection(parts.hostname, parts.port))

    async def exchange(self, raw: bytes) -> Exchange:
        """Send and receive; the answer must have a content-length.

        Raises:
            ConnectionError: It has none, or the connection broke.
        """
        started = time.perf_counter()
        self._writer.write(raw)
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
            body = await self._reader.readexactly(_length(head))
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as fault:
            raise ConnectionError("the server broke the connection off") from fault
        return Exchange(head, body, 1_000 * (time.perf_counter() - started))

    async def close(self) -> None:
        """Close the connection."""
        self._writer.close()
        await self._writer.wait_closed()


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise ConnectionError("the server gave no content-length")


async def rate(url: str, raws: Sequence[bytes], *, at_once: int) -> float:
    """Requests a second: all of `raws`, over `at_once` connections.

    Raises:
        ConnectionError: One of them was not answered by 200; inside an ExceptionGroup.
    """
    waiting = iter(raws)

    async def sender() -> None:
        connection = await Connection.to(url)
        try:
            for raw in waiting:
                head = (await connection.exchange(raw)).head
                if not head.startswith(b"HTTP/1.1 200 "):
                    raise ConnectionError(f"{url} answered {head[:40]!r}: no rate is worth that")
        finally:
            await connection.close()

    started = time.perf_counter()
    async with asyncio.TaskGroup() as senders:
        for _ in range(at_once):
            senders.create_task(sender())
    return len(raws) / (time.perf_counter() - started)


async def hit_body(url: str, raw: bytes) -> bytes:
    """The bytes of the exact hit that `raw` becomes, once its answer is kept.

    Raises:
        ConnectionError: It never does, or the connection broke.
    """
    connection = await Connection.to(url)
    try:
        for _ in range(20):
            exchange = await connection.exchange(raw)
            if exchange.reply().cache == "hit-exact":
                return exchange.body
            await asyncio.sleep(0.1)  # the entry is kept off the request's path
    finally:
        await connection.close()
    raise ConnectionError(f"no exact hit at {url}: {exchange.head.decode('latin-1')}")
