"""A vendor that misbehaves to the byte: a mischief's name in, and what comes over the wire is that.

It writes its bytes by hand, for no HTTP server would send what some of these send. It keeps a book:
what it gave whole, and what it would bill. Every connection carries one exchange.
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from loadtest.vendors.provider import (
    PRICES_USD_PER_MTOK,
    answer_to,
    chunks_of,
    completion_to,
    last_user_text,
)

LATENCY_S: Final = 0.05
DRIP_S: Final = 0.1
_MTOK: Final = 1_000_000
_HUGE: Final = 9 * 1024 * 1024
"""More than the longest event that the sidecar takes (8 MiB)."""
_REFUSALS: Final = {"429": 429, "500": 500, "503": 503, "401": 401}


@dataclass(slots=True)
class Book:
    """What the vendor knows of itself.

    Attributes:
        given: Whole answers that left without a fault, by question.
        said: Every text of a whole answer, by question.
        bill_usd: Of every answer that it made, heard to its end or not.
        calls: That reached it.
    """

    given: Counter[str] = field(default_factory=Counter)
    said: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    bill_usd: Decimal = Decimal(0)
    calls: int = 0


class Exchange:
    """One request, and the way back."""

    def __init__(self, body: dict[str, Any], writer: asyncio.StreamWriter, book: Book) -> None:
        self.question = last_user_text(body["messages"])
        self.is_stream = bool(body.get("stream"))
        self._body = body
        self._writer = writer
        self._book = book

    async def send(self, *parts: bytes) -> None:
        """These bytes, now."""
        for part in parts:
            if self._writer.is_closing():
                raise ConnectionResetError("whoever asked has left")
            self._writer.write(part)
        await self._writer.drain()

    def reset(self) -> None:
        """The connection torn: RST, not FIN."""
        self._writer.transport.abort()

    def answer(self) -> list[bytes]:
        """The whole answer in the pieces that it is sent in; from here on it is billed."""
        completion = completion_to(self._body, self.question)
        usage, model = completion["usage"], str(completion["model"]).removeprefix("demo-")
        price_in, price_out = map(Decimal, PRICES_USD_PER_MTOK[model])
        self._book.bill_usd += (
            price_in * usage["prompt_tokens"] + price_out * usage["completion_tokens"]
        ) / _MTOK
        if not self.is_stream:
            return [json.dumps(completion).encode()]
        chunks = chunks_of(completion, include_usage=True)
        return [*(b"data: %s\n\n" % json.dumps(chunk).encode() for chunk in chunks), DONE]

    def head(self, *, status: int = 200, kind: str = "", more: str = "") -> bytes:
        """The answer's head; without a length, so that its end is the connection's."""
        kind = kind or ("text/event-stream" if self.is_stream else "application/json")
        told = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\nconnection: close\r\n{more}\r\n"
        return told.encode()

    def gave(self, text: str) -> None:
        """All of it went out."""
        self._book.given[self.question] += 1
        self._book.said[self.question].add(text)


DONE: Final = b"data: [DONE]\n\n"
Mischief = Callable[[Exchange], Awaitable[None]]


async def _well(way: Exchange) -> None:
    await way.send(way.head(), *way.answer())
    way.gave(answer_to(way.question))


async def _hang(_way: Exchange) -> None:
    await asyncio.sleep(3_600)


async def _hang_after_head(way: Exchange) -> None:
    await way.send(way.head())
    await asyncio.sleep(3_600)


async def _reset(way: Exchange) -> None:
    way.reset()


def _middle(pieces: list[bytes]) -> list[bytes]:
    """The first half of an answer."""
    if len(pieces) == 1:
        return [pieces[0][: len(pieces[0]) // 2]]
    return pieces[: max(3, len(pieces) // 2)]  # the role, and words


async def _reset_midway(way: Exchange) -> None:
    await way.send(way.head(), *_middle(way.answer()))
    await asyncio.sleep(0.01)  # so that the words arrive before the reset does
    way.reset()


async def _truncate(way: Exchange) -> None:
    await way.send(way.head(), *_middle(way.answer()))


async def _stall(way: Exchange) -> None:
    await way.send(way.head(), *_middle(way.answer()))
    await asyncio.sleep(3_600)


async def _error_midway(way: Exchange) -> None:
    pieces = _middle(way.answer()) if way.is_stream else []
    await way.send(way.head(), *pieces, b'data: {"error": {"message": "overloaded"}}\n\n')


async def _garbage(way: Exchange) -> None:
    noise = random.Random(way.question).randbytes(2_000)  # the same for the same question
    await way.send(way.head(), b"data: " if way.is_stream else b"", noise, b"\n\n")


async def _no_http(way: Exchange) -> None:
    await way.send(random.Random(way.question).randbytes(500))


async def _odd_shape(way: Exchange) -> None:
    told = json.dumps({"choices": {"0": [None]}, "usage": "much"}).encode()
    await way.send(way.head(), b"data: %s\n\n" % told if way.is_stream else told)


async def _wrong_kind(way: Exchange) -> None:
    await way.send(way.head(kind="text/html"), b"<html>Please log in</html>")


async def _empty(way: Exchange) -> None:
    await way.send(way.head())


async def _redirect(way: Exchange) -> None:
    await way.send(way.head(status=302, more="location: http://127.0.0.1:9/v1\r\n"))


async def _twice(way: Exchange) -> None:
    pieces = way.answer()
    if not way.is_stream:
        await way.send(way.head(), *pieces)
        way.gave(answer_to(way.question))
        return
    doubled = [piece for piece in pieces[:-1] for _ in (0, 1)]
    await way.send(way.head(), *doubled, DONE)
    way.gave(_text_of(doubled))


def _text_of(pieces: list[bytes]) -> str:
    chunks = [json.loads(piece.removeprefix(b"data: ")) for piece in pieces]
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


async def _drip(way: Exchange) -> None:
    pieces = way.answer()
    await way.send(way.head())
    step = max(1, len(pieces[0]) // 4) if len(pieces) == 1 else 0
    raw = [pieces[0][at : at + step] for at in range(0, len(pieces[0]), step)] if step else pieces
    for piece in raw:
        await asyncio.sleep(DRIP_S)
        await way.send(piece)
    way.gave(answer_to(way.question))


async def _huge(way: Exchange) -> None:
    await way.send(way.head(), b'data: {"choices": [{"delta": {"content": "')
    for _ in range(_HUGE // 65_536 if way.is_stream else 8 * _HUGE // 65_536):
        await way.send(b"x" * 65_536)


async def _false_packing(way: Exchange) -> None:
    await way.send(way.head(more="content-encoding: gzip\r\n"), *way.answer())


async def _odd_letters(way: Exchange) -> None:
    raw = b"".join(way.answer()).replace(answer_to("")[:6].encode(), b"\xff\xfe\xed\xa0\x80")
    await way.send(way.head(), raw)


def _refusing(status: int) -> Mischief:
    async def refuse(way: Exchange) -> None:
        told = {"error": {"message": "no", "type": "x", "param": None, "code": str(status)}}
        more = "retry-after: 1\r\n" if status in {429, 503} else ""
        await way.send(
            way.head(status=status, kind="application/json", more=more), json.dumps(told).encode()
        )

    return refuse


MISCHIEFS: Final[dict[str, Mischief]] = {
    "": _well,
    "hang": _hang,
    "hang-after-head": _hang_after_head,
    "reset": _reset,
    "reset-midway": _reset_midway,
    "truncate": _truncate,
    "stall": _stall,
    "error-midway": _error_midway,
    "garbage": _garbage,
    "no-http": _no_http,
    "odd-shape": _odd_shape,
    "wrong-kind": _wrong_kind,
    "empty": _empty,
    "redirect": _redirect,
    "twice": _twice,
    "drip": _drip,
    "huge": _huge,
    "false-packing": _false_packing,
    "odd-letters": _odd_letters,
    **{name: _refusing(status) for name, status in _REFUSALS.items()},
}


class BadVendor:
    """Listens on a port of loopback, and does as `mischief` says."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.mischief = ""
        self.book = Book()
        self._server: asyncio.Server | None = None
        self._under_way: set[asyncio.Task[None]] = set()

    async def open(self, tls: ssl.SSLContext | None = None) -> None:
        """Listen, again if need be."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=tls)

    async def shut(self) -> None:
        """Refuse connections, and drop those that stand."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._under_way):
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a server's callback runs in one
        self._under_way.add(task)
        try:
            await self._exchange(reader, writer)
        except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.CancelledError):
            # Whoever asked is gone, or `shut` cut it off: it ends here, for streams' own callback
            # would print a cancelled task as a fault.
            pass
        finally:
            self._under_way.discard(task)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").lower().split("\r\n")
        length = next(int(line[15:]) for line in lines if line.startswith("content-length:"))
        way = Exchange(json.loads(await reader.readexactly(length)), writer, self.book)
        self.book.calls += 1
        await asyncio.sleep(LATENCY_S)
        await MISCHIEFS[self.mischief](way)
