"""Replies: what is read from JSON, from a stream, and from what is neither."""

from __future__ import annotations

import json

import pytest

from loadtest.callers.answers import read

_STREAM = {"Content-Type": "text/event-stream", "X-Sidecar-Cache": "miss"}


def _event(content: str, **fields: object) -> bytes:
    chunk = {"choices": [{"index": 0, "delta": {"content": content}}], **fields}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def test_json_gives_text_and_headers() -> None:
    """Names of headers in lower case, numbers as numbers."""
    body = json.dumps({"choices": [{"message": {"content": "yes"}}]}).encode()
    headers = {"X-Sidecar-Cache": "hit-exact", "X-Sidecar-Cost-USD": "0.5"}
    reply = read(200, headers, body, latency_ms=3.0)
    assert (reply.text, reply.is_whole, reply.is_hit) == ("yes", True, True)
    assert reply.number("cost-usd") == 0.5
    assert reply.number("similarity") == 0.0


def test_a_stream_gives_its_pieces_and_what_its_last_chunk_tells() -> None:
    """The `sidecar` object stands in for the headers that were not known yet."""
    body = _event("ye") + _event("s", sidecar={"cost_usd": 0.25}) + b"data: [DONE]\n\n"
    reply = read(200, _STREAM, body, latency_ms=3.0, first_ms=1.0)
    assert (reply.text, reply.is_whole, reply.first_ms) == ("yes", True, 1.0)
    assert reply.number("cost-usd") == 0.25
    assert not reply.is_hit


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        pytest.param(200, _STREAM, _event("ye"), id="no end"),
        pytest.param(200, _STREAM, b"data: {bro", id="cut chunk"),
        pytest.param(200, {}, b"<html>", id="no JSON"),
        pytest.param(200, {}, b'{"choices": []}', id="no choice"),
        pytest.param(502, {}, b'{"choices": [{"message": {"content": "x"}}]}', id="error"),
    ],
)
def test_what_is_no_finished_answer_is_not_whole(
    status: int, headers: dict[str, str], body: bytes
) -> None:
    """Whatever came of it, it is not counted as an answer."""
    assert not read(status, headers, body, latency_ms=1.0).is_whole
