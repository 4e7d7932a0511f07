"""Bytes that no vendor should send: they are bounded, in memory and in what the caller gets."""

from __future__ import annotations

import gzip
import tracemalloc

import pytest

from sidecar.errors import UpstreamGarbled
from sidecar.providers.openai import MAX_PASSED, passed_headers
from sidecar.providers.reading import Body

LONG_S = 60.0


async def _packed() -> Body:
    body = Body("u", LONG_S, 1e12)
    body.begin(200, {"content-encoding": "gzip"})
    return body


async def test_what_follows_a_packed_answer_is_neither_kept_nor_told() -> None:
    """A megabyte at a time, for as long as the vendor likes: zlib itself would hold all of it."""
    body, garbage = await _packed(), b"x" * 2**20
    body.feed(gzip.compress(b"an answer") + garbage[:100])
    tracemalloc.start()
    try:
        for _ in range(64):
            body.feed(garbage)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert body.whole() == b"an answer"
    assert peak_bytes < len(garbage)


async def test_a_packed_answer_is_the_same_however_it_is_cut() -> None:
    """Byte by byte, and with its end in a packet of its own."""
    raw = gzip.compress(b"an answer, " * 1_000)
    body = await _packed()
    for place in range(len(raw)):
        body.feed(raw[place : place + 1])
    assert body.whole() == b"an answer, " * 1_000


async def test_what_is_badly_packed_is_a_fault() -> None:
    """And not an answer of nothing."""
    body = await _packed()
    with pytest.raises(UpstreamGarbled):
        body.feed(b"no gzip at all")


def test_no_header_is_passed_that_a_caller_may_choke_on() -> None:
    """A long one is left out, and of many the first."""
    many = {f"X-RateLimit-{n}": "1" for n in range(100)}
    told = passed_headers({"X-Request-Id": "r", "x-ratelimit-long": "9" * 20_000, **many})
    assert len(told) == MAX_PASSED
    assert told["x-request-id"] == "r"
    assert "x-ratelimit-long" not in told
