"""The load test's own HTTP client: one chat question in, a `Reply` out, never an exception."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

import aiohttp

from loadtest.callers.answers import UNREACHED, Reply, read

FAULTS: Final = (aiohttp.ClientError, TimeoutError, ConnectionError)
"""What keeps an HTTP answer from coming."""

T = TypeVar("T")
R = TypeVar("R")


def session(timeout_s: float = 60.0) -> aiohttp.ClientSession:
    """A client session that opens as many connections as are asked of it."""
    connector = aiohttp.TCPConnector(limit=0)
    return aiohttp.ClientSession(
        connector=connector, timeout=aiohttp.ClientTimeout(total=timeout_s)
    )


async def ask(
    http: aiohttp.ClientSession,
    base_url: str,
    question: str,
    *,
    model: str = "auto",
    headers: Mapping[str, str] | None = None,
    **fields: Any,
) -> Reply:
    """What `base_url` (ending in `/v1`) answers; UNREACHED where it does not."""
    body = {"model": model, "messages": [{"role": "user", "content": question}], **fields}
    return await post(http, f"{base_url}/chat/completions", body, headers)


async def post(
    http: aiohttp.ClientSession,
    url: str,
    body: Mapping[str, Any],
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """The same for any body."""
    started, stage = time.perf_counter(), "head"
    try:
        async with http.post(url, json=body, headers=headers) as response:
            stage = "body"
            first = await response.content.readany()
            first_ms = _since_ms(started)
            rest = await response.content.read()
            return read(
                response.status,
                response.headers,
                first + rest,
                latency_ms=_since_ms(started),
                first_ms=first_ms,
            )
    except FAULTS as fault:
        told = unanswered(fault, stage)
        return Reply(status=UNREACHED, latency_ms=_since_ms(started), fault=told)


def unanswered(fault: Exception, stage: str) -> str:
    """What ended a request, and for what it was waiting then: `ServerDisconnectedError, head`."""
    return f"{type(fault).__name__}, {stage}"


def _since_ms(started: float) -> float:
    return 1_000 * (time.perf_counter() - started)


async def in_turns(
    items: Iterable[T], work: Callable[[T], Awaitable[R]], *, at_once: int
) -> list[R]:
    """`work` done for each item, `at_once` at a time; results in the order of the items."""
    waiting = iter(enumerate(items))
    results: dict[int, R] = {}

    async def worker() -> None:
        for place, item in waiting:
            results[place] = await work(item)

    async with asyncio.TaskGroup() as workers:
        for _ in range(at_once):
            workers.create_task(worker())
    return [results[place] for place in sorted(results)]
