"""Callers who behave badly, by hand over a socket: they leave at every stage, or hardly read."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import Awaitable, Callable
from typing import Final

from loadtest.resilience.stage import Stage
from loadtest.vendors.badvendor import LATENCY_S

Villain = Callable[[asyncio.StreamReader, asyncio.StreamWriter, bytes], Awaitable[None]]
"""Does its mischief with one request's bytes; its connection is cut afterwards."""

_AT_ONCE: Final = 8
_LONG: Final = 20_000
"""Characters of a question, and so of its answer: more than a socket's buffers take at once."""

_SIPS: Final = 40
_SIP_S: Final = 0.05


async def leave_before_body(
    _reader: asyncio.StreamReader, writer: asyncio.StreamWriter, raw: bytes
) -> None:
    """The head, and no word of the body."""
    await _send(writer, raw[: raw.index(b"\r\n\r\n") + 4])


async def leave_in_body(
    _reader: asyncio.StreamReader, writer: asyncio.StreamWriter, raw: bytes
) -> None:
    """Half of the request."""
    await _send(writer, raw[: (raw.index(b"\r\n\r\n") + len(raw)) // 2])


async def leave_before_answer(
    _reader: asyncio.StreamReader, writer: asyncio.StreamWriter, raw: bytes
) -> None:
    """All of it, and gone while the vendor thinks."""
    await _send(writer, raw)
    await asyncio.sleep(LATENCY_S / 2)


async def leave_in_stream(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, raw: bytes
) -> None:
    """Gone after the first words."""
    await _send(writer, raw)
    await reader.readuntil(b"data: ")


async def read_slowly(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, raw: bytes
) -> None:
    """A hundred bytes at a time, and long waits between."""
    await _send(writer, raw)
    for _ in range(_SIPS):
        await reader.read(100)
        await asyncio.sleep(_SIP_S)


async def _send(writer: asyncio.StreamWriter, raw: bytes) -> None:
    writer.write(raw)
    await writer.drain()


async def crowd(stage: Stage, villain: Villain) -> None:
    """Some of them at once, again and again, until cancelled."""
    numbers = itertools.count()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(_AT_ONCE):
            tasks.create_task(_again(stage, villain, numbers))


async def _again(stage: Stage, villain: Villain, numbers: itertools.count[int]) -> None:
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", stage.port, limit=1_024)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, ValueError):
                await villain(reader, writer, _request(villain, next(numbers)))
        finally:
            writer.transport.abort()
        await asyncio.sleep(0.01)


def _request(villain: Villain, number: int) -> bytes:
    """A stream of a long answer to a question that nobody else asks."""
    asked = f"{villain.__name__} asks question {number}: " + "why " * (_LONG // 4)
    told = {"model": "auto", "stream": True, "messages": [{"role": "user", "content": asked}]}
    body = json.dumps(told).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n"
        "authorization: Bearer sk-faults\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
