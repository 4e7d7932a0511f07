"""OpenAI's wire: the same events wherever the bytes are cut, and every refusal by its meaning."""

from __future__ import annotations

from email.utils import formatdate
from itertools import pairwise

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import UpstreamGarbled
from sidecar.providers import openai
from sidecar.providers.errors import CallerAtFault, UpstreamBusy

STREAM = (
    b': ping\n\ndata: {"a":1}\n\nevent: x\r\ndata: {"b":\r\ndata: 2}\r\n\r\n'
    b"data:{}\n\n\n\nid: 7\nretry: 10\n\ndata: [DONE]\n\n"
)
EVENTS = [b'{"a":1}', b'{"b":\n2}', b"{}", b"[DONE]"]


@given(st.lists(st.integers(0, len(STREAM)), max_size=30))
def test_events_are_the_same_wherever_the_bytes_are_cut(cuts: list[int]) -> None:
    """The network's packets are none of the protocol's business."""
    splitter = openai.EventSplitter("u")
    edges = [0, *sorted(cuts), len(STREAM)]
    parts = [STREAM[start:end] for start, end in pairwise(edges)]
    assert [event for part in parts for event in splitter.feed(part)] == EVENTS


@given(st.binary(max_size=300), st.integers(1, 50))
def test_no_bytes_upset_the_splitter(noise: bytes, step: int) -> None:
    """Whatever an upstream sends, we get data or nothing."""
    splitter = openai.EventSplitter("u")
    whole = [e for n in range(0, len(noise), step) for e in splitter.feed(noise[n : n + step])]
    assert all(isinstance(event, bytes) for event in [*whole, *splitter.finish()])


def test_the_last_event_needs_no_blank_line() -> None:
    """Some servers close right after it."""
    splitter = openai.EventSplitter("u")
    assert list(splitter.feed(b"data: {}")) == []
    assert list(splitter.finish()) == [b"{}"]


def test_an_event_without_an_end_is_refused() -> None:
    """Memory is bounded, whatever comes."""
    splitter = openai.EventSplitter("u")
    with pytest.raises(UpstreamGarbled):
        list(splitter.feed(b"data: " + b"x" * (openai.MAX_EVENT_BYTES + 1)))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *[pytest.param(s, CallerAtFault, id=str(s)) for s in (400, 404, 413, 422)],
        *[pytest.param(s, UpstreamBusy, id=str(s)) for s in (401, 403, 408, 429, 500, 503, 529)],
    ],
)
def test_refusals_are_told_apart_by_who_can_help(status: int, kind: type[Exception]) -> None:
    """The caller's own mistake is nobody else's to answer; all else may be."""
    headers = {"Retry-After": "3", "X-RateLimit-Limit-Requests": "9", "Set-Cookie": "secret"}
    fault = openai.refusal("u", status, b'{"error":{"message":"no","code":"c"}}', headers, 0.0)
    assert isinstance(fault, kind)
    assert fault.body == {"error": {"message": "no", "code": "c"}}
    assert fault.headers == {"retry-after": "3", "x-ratelimit-limit-requests": "9"}


def test_an_error_page_is_no_error_body() -> None:
    """HTML from a proxy between is not shown to the caller."""
    assert openai.refusal("u", 502, b"<html>", {}, 0.0).body is None


def test_a_stream_is_asked_for_its_usage_and_keeps_other_options() -> None:
    """Without the usage nobody knows what it cost."""
    body = {"model": "m", "stream": False, "stream_options": {"include_obfuscation": False}}
    sent = orjson.loads(openai.request_body(body, stream=True, usage_in_streams=True))
    assert sent["stream"] is True
    assert sent["stream_options"] == {"include_obfuscation": False, "include_usage": True}
    assert "stream" not in orjson.loads(
        openai.request_body(body, stream=False, usage_in_streams=True)
    )


NOON_AT = 1_790_000_000.0


@pytest.mark.parametrize(
    ("headers", "told_s"),
    [
        pytest.param({}, None, id="none"),
        pytest.param({"Retry-After": "7"}, 7.0, id="seconds"),
        pytest.param({"retry-after": "0.5"}, 0.5, id="fraction"),
        pytest.param({"retry-after-ms": "250", "retry-after": "9"}, 0.25, id="milliseconds-first"),
        pytest.param({"retry-after": formatdate(NOON_AT + 90, usegmt=True)}, 90.0, id="date"),
        pytest.param({"retry-after": formatdate(NOON_AT - 90, usegmt=True)}, 0.0, id="past-date"),
        pytest.param({"retry-after": "-3"}, 0.0, id="negative"),
        pytest.param({"retry-after": "inf"}, openai.MAX_RETRY_AFTER_S, id="endless"),
        pytest.param({"retry-after": "soon"}, None, id="odd"),
        pytest.param({"retry-after": "nan"}, None, id="no-number"),
    ],
)
def test_the_vendors_wish_is_read_in_each_of_its_forms(
    headers: dict[str, str], told_s: float | None
) -> None:
    """Seconds, milliseconds or a date; bounded, and what is none is none."""
    assert openai.find_retry_after_s(headers, NOON_AT) == told_s


@given(st.text(max_size=40), st.text(max_size=12))
def test_no_header_breaks_it(told: str, told_ms: str) -> None:
    """A stranger writes it."""
    found = openai.find_retry_after_s({"retry-after": told, "retry-after-ms": told_ms}, NOON_AT)
    assert found is None or 0.0 <= found <= openai.MAX_RETRY_AFTER_S
