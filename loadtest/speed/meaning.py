"""Questions in other words in, how long a hit by meaning takes beside the bare session out.

One request at a time, a few of each in turns: the session alone on the text's tokens, in a process
of its own; the sidecar; the same texts once more; the sidecar without its verifier, and once more.
What is told is the whole way over HTTP, and of the session the run alone.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final

from loadtest.callers.client import in_turns
from loadtest.callers.rawhttp import Connection, request
from loadtest.measures.intervals import percentile
from loadtest.questions.phrasings import kept, other_words
from loadtest.servers.contenders import Contender
from loadtest.servers.processes import Server, free_port, python, running, start
from loadtest.speed.routes import MEANT

BUNDLE: Final = Path(".sidecar/encoder")
"""Source: docs/encoder.md: where the sidecar that is asked finds its own."""

SESSION: Final = "bare session"
AGAIN: Final = "asked again"
LOOKED_AT: Final = {"x-sidecar-namespace": "looked-at"}
"""What was tried out is tried out here, so that no text was met before where it is timed."""

BLOCK: Final = 10
"""Chosen: asked of one before the next one's turn. One of each in turn measures how long a process
takes to come back to a core, and its weights to the core's cache, four times over."""

_HIT: Final = "hit-semantic"


async def learn(contender: Contender) -> None:
    """Have it keep what is to be hit."""
    for headers in (LOOKED_AT, MEANT):
        await in_turns(kept(), lambda each: contender.taught(each, headers), at_once=8)  # noqa: B023 - awaited here


async def found_hits(contender: Contender, count: int) -> list[str]:
    """Up to `count` texts that it serves by meaning."""
    found: list[str] = []
    connection = await Connection.to(contender.server.url)
    try:
        for text in other_words():
            exchange = await connection.exchange(contender.raw(text, headers=LOOKED_AT))
            found += [text] * (exchange.reply().cache == _HIT)
            if len(found) == count:
                break
    finally:
        await connection.close()
    return found


@contextlib.asynccontextmanager
async def bare_session(folder: Path) -> AsyncIterator[Server]:
    """The session's process."""
    port = free_port()
    words = ("--port", str(port), "--bundle", str(BUNDLE.resolve()))
    url, log = f"http://127.0.0.1:{port}", folder / "session.log"
    command = python("loadtest.servers.baresession", *words)
    server = await start(command, url, "/ready", ready_s=60.0, log=log)
    async with running(server):
        yield server


async def measured(
    session: Server, contenders: Sequence[Contender], texts: Sequence[str], requests: int
) -> dict[str, Any]:
    """Milliseconds by who was asked; of ours those answers alone that were hits by meaning."""
    times: dict[str, list[float]] = defaultdict(list)
    own: dict[str, list[float]] = defaultdict(list)
    async with contextlib.AsyncExitStack() as stack:
        bare = await _connected(session.url, stack)
        lines = [(each, await _connected(each.server.url, stack)) for each in contenders]
        for start in range(0, min(requests, len(texts)), BLOCK):
            some = texts[start : start + BLOCK]
            for text in some:
                exchange = await bare.exchange(_posted(session.url, text))
                times[SESSION].append(float(exchange.body))
            for (each, line), name in itertools.product(lines, ("{}", f"{{}}, {AGAIN}")):
                for text in some:
                    exchange = await line.exchange(each.raw(text, headers=MEANT))
                    reply = exchange.reply()
                    if each.gateway.teaches is not None or reply.cache == _HIT:
                        times[name.format(each.name)].append(exchange.latency_ms)
                        own[name.format(each.name)].append(reply.number("overhead-ms"))
    return {
        "asked": min(requests, len(texts)),
        "ms": {name: _quantiles(some) for name, some in times.items()},
        "own_ms": {name: percentile(some, 0.5) for name, some in own.items()},
    }


def _posted(url: str, text: str) -> bytes:
    raw = text.encode()
    head = request(f"{url}/", {}, {"content-length": str(len(raw))})
    return head.removesuffix(b"{}") + raw


async def _connected(url: str, stack: contextlib.AsyncExitStack) -> Connection:
    connection = await Connection.to(url)
    stack.push_async_callback(connection.close)
    return connection


def _quantiles(times: list[float]) -> dict[str, float]:
    told = {name: percentile(times, share) for share, name in ((0.5, "p50"), (0.9, "p90"))}
    return {**told, "count": len(times)}
