"""The same bytes have the same key; what is kept of an answer is told as the owner would."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest

from sidecar.front.reply import Kept
from sidecar.web.heads import request_key

SECRET = bytes(32)
HEADERS = {"Authorization": "Bearer a", "content-type": "application/json"}

KEPT = Kept(
    body=b'{"object":"chat.completion","model":"m","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"An answer."},"finish_reason":"stop"}]}',
    created_at=100.0,
    head=b"HTTP/1.1 200 OK\r\nx-sidecar-cache: hit-exact\r\n",
)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        pytest.param({**HEADERS, "Authorization": "Bearer b"}, b"q", id="another-key"),
        pytest.param({**HEADERS, "x-sidecar-namespace": "n"}, b"q", id="a-namespace"),
        pytest.param({**HEADERS, "x-team": "n"}, b"q", id="a-header-that-a-rule-may-read"),
        pytest.param({**HEADERS, "nobody-knows": "n"}, b"q", id="a-header-nobody-knows"),
        pytest.param(HEADERS, b"q ", id="another-body"),
        pytest.param({"content-type": "application/json"}, b"q", id="no-key"),
    ],
)
def test_whatever_may_decide_is_in_the_key(headers: dict[str, str], body: bytes) -> None:
    """Tenant, options, body: each makes another key."""
    assert request_key(headers, body, SECRET) != request_key(HEADERS, b"q", SECRET)


def test_what_decides_nothing_is_not() -> None:
    """Names in any case and order, the trace, the user agent."""
    other = {
        "user-agent": "x",
        "Content-Type": "application/json",
        "traceparent": "00-1",
        "authorization": "Bearer a",
        "Host": "h",
    }
    assert request_key(other, b"q", SECRET) == request_key(HEADERS, b"q", SECRET)


def test_a_header_cannot_pass_for_the_body() -> None:
    """Where one ends and the next begins is part of the key."""
    one = request_key({"x-a": "1", "x-b": "2"}, b"q", SECRET)
    assert one != request_key({"x-a": "1\nx-b\x002"}, b"q", SECRET)
    assert request_key({}, b"x-a\x001\n\nq", SECRET) != request_key({"x-a": "1"}, b"q", SECRET)


@pytest.mark.parametrize("kept", [KEPT, replace(KEPT, summary={"a": 1}, include_usage=True)])
def test_packed_and_unpacked_it_is_the_same(kept: Kept) -> None:
    """The body's bytes as they stand."""
    assert Kept.unpacked(kept.packed()) == kept


def read(raw: bytes) -> tuple[dict[str, str], bytes]:
    """Headers and body of an answer's bytes."""
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    assert first == "HTTP/1.1 200 OK"
    headers = dict(line.split(": ", 1) for line in lines)
    assert int(headers.pop("content-length")) == len(body)
    assert headers.pop("date")
    return headers, body


def test_what_is_new_each_time_is_new() -> None:
    """Request id, age and our own time, the answer's id and time; the rest as it was."""
    headers, body = read(KEPT.told("req-1", 105.5, 0.25))
    assert headers == {
        "x-sidecar-cache": "hit-exact",
        "x-sidecar-request-id": "req-1",
        "x-sidecar-overhead-ms": "0.250",
        "age": "5",
    }
    one, other = orjson.loads(body), orjson.loads(read(KEPT.told("req-2", 105.5, 0.25))[1])
    assert one["id"] != other["id"]
    assert one["created"] == 105
    assert one["choices"][0]["message"]["content"] == "An answer."


def test_a_stream_ends_with_its_summary() -> None:
    """The last chunk's `sidecar` object names this very request."""
    kept = Kept(
        body=KEPT.body,
        created_at=1.0,
        head=KEPT.head,
        summary={"cache": "hit-exact", "tier": "small"},
    )
    *_, last, done, rest = read(kept.told("req-9", 3.0, 0.5))[1].split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    assert orjson.loads(last.removeprefix(b"data: "))["sidecar"] == {
        "cache": "hit-exact",
        "tier": "small",
        "request_id": "req-9",
        "overhead_ms": 0.5,
    }
