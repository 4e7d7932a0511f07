"""The same bytes have the same key; what is kept of an answer is told as the owner would."""

from __future__ import annotations

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
    headers={"x-sidecar-cache": "hit-exact", "x-sidecar-request-id": "old", "age": "7"},
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


def test_packed_and_unpacked_it_is_the_same() -> None:
    """The body's bytes as they stand."""
    assert Kept.unpacked(KEPT.packed()) == KEPT


def test_what_is_new_each_time_is_new() -> None:
    """Request id, age and our own time; the rest as it was."""
    told = KEPT.told_headers("req-1", 105.5, 0.25)
    assert told == {
        "x-sidecar-cache": "hit-exact",
        "x-sidecar-request-id": "req-1",
        "x-sidecar-overhead-ms": "0.250",
        "age": "5",
    }
    one, other = (orjson.loads(KEPT.told_body(200.0)) for _ in range(2))
    assert one["id"] != other["id"]
    assert one["created"] == 200
    assert one["choices"][0]["message"]["content"] == "An answer."


def test_a_stream_ends_with_its_summary() -> None:
    """The last chunk's `sidecar` object names this very request."""
    kept = Kept(
        body=KEPT.body, created_at=1.0, headers={}, summary={"cache": "hit-exact", "tier": "small"}
    )
    *_, last = kept.told_events("req-9", 3.0, lambda: 0.5)
    assert orjson.loads(last)["sidecar"] == {
        "cache": "hit-exact",
        "tier": "small",
        "request_id": "req-9",
        "overhead_ms": 0.5,
    }
