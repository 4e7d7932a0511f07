"""Bytes and JSON that no caller would send, sent to a real sidecar's doors.

A caller may send anything; what he hears is an answer or an error in OpenAI's shape, and never that
the sidecar failed.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sidecar import chat
from sidecar.chat import parse
from sidecar.errors import MalformedRequest
from sidecar.fragments.asked import parse_fragments
from sidecar.providers import openai
from sidecar.web.bodies import parse_object
from sidecar.web.feedback_api import parse_feedback
from tests.fuzz.conftest import Target

HANGS_S = 120.0
KNOWN = (
    *("stream", "stream_options", "n", "temperature", "top_p", "max_tokens", "response_format"),
    *("max_completion_tokens", "tools", "functions", "tool_choice", "logprobs", "stop", "user"),
    *("metadata", "seed", "prompt_variables", "modalities", "x"),
)
"""Fields that somebody in the sidecar reads, and one that nobody does."""

ODD_NUMBERS = [-1, 0, 1, 2**31, 2**53 + 1, 2**63, -(2**63), 2**64, 10**400, 1e308, -0.0, 5e-324]
scalars = (
    st.none()
    | st.booleans()
    | st.sampled_from(ODD_NUMBERS)
    | st.text(max_size=8)
    | st.sampled_from(["text", "image_url", "user", "json_schema", "json_object", "auto", "\x00"])
)
names = st.sampled_from(
    ["type", "text", "role", "content", "function", "arguments", "index", "include_usage", "schema"]
) | st.text(max_size=4)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)
messages = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "system", "assistant", "tool", "\ud7ff"])},
    optional={
        "content": anything
        | st.lists(
            st.fixed_dictionaries({"type": anything}, optional={"text": anything}), max_size=3
        ),
        "tool_calls": anything
        | st.lists(st.fixed_dictionaries({"function": anything}), max_size=2),
        "name": anything,
    },
)
requests = st.builds(
    lambda fields, more, turns: {"model": "auto", **fields, **more, "messages": turns},
    st.dictionaries(st.sampled_from(KNOWN), anything, max_size=4),
    st.fixed_dictionaries({}, optional={"stream": st.booleans(), "n": st.sampled_from([1, 2, -3])}),
    st.lists(messages, min_size=1, max_size=3),
)

CHAT = "/v1/chat/completions"
TURN = b'{"role":"user","content":"Hi"}'
BYTES = [
    pytest.param(b"", id="nothing"),
    pytest.param(b"\xff\xfe\x00", id="no-utf-8"),
    pytest.param(b'{"model":"auto","messages":[{"role":"user","content":"\\ud800"}]}', id="half"),
    pytest.param(b'{"model":"auto","messages":[' + TURN + b'],"x":NaN}', id="nan"),
    pytest.param(b'{"model":"auto","messages":[' + TURN + b'],"x":1e999}', id="infinite"),
    pytest.param(
        b'{"model":"auto","messages":[' + TURN + b'],"x":' + b"9" * 5_000 + b"}", id="int"
    ),
    pytest.param(b'{"model":"auto","model":"x","messages":[' + TURN + b"]}", id="twice"),
    pytest.param(b'{"model":"auto","messages":' + b"[" * 100_000, id="open"),
    pytest.param(
        b'{"model":"auto","messages":[' + TURN + b'],"x":' + b"[" * 300 + b"]" * 300 + b"}",
        id="300",
    ),
    pytest.param(
        b'{"model":"auto","messages":['
        + TURN
        + b'],"tools":'
        + b'[{"a":' * 400
        + b"1"
        + b"}]" * 400
        + b"}",
        id="tools",
    ),
    pytest.param(b'{"model":"' + b"a" * 100_000 + b'","messages":[' + TURN + b"]}", id="model"),
    pytest.param(
        b'{"model":"auto","messages":[' + b'{"role":"user"},' * 20_000 + TURN + b"]}", id="turns"
    ),
    pytest.param(
        b'{"model":"auto","messages":['
        + TURN
        + b"],"
        + b",".join(b'"f%d":0' % n for n in range(20_000))
        + b"}",
        id="fields",
    ),
]


@pytest.fixture(scope="module")
def post(target: Target) -> Iterator[Any]:
    """Sends bytes to a path of the data plane; gives status and body.

    Each time over a connection of its own: nobody keeps an idle one for as long as a test may take.
    """
    place = urlsplit(target.url)
    host, port = place.hostname, place.port
    assert host is not None

    def posted(path: str, raw: bytes) -> tuple[int, bytes]:
        with closing(http.client.HTTPConnection(host, port, timeout=HANGS_S)) as line:
            line.request("POST", path, raw, {"content-type": "application/json"})
            response = line.getresponse()
            return response.status, response.read()

    yield posted
    assert target.unforeseen() == []


def _is_answered(status: int, body: bytes) -> bool:
    """An answer, a stream that ends as one, or an error in OpenAI's shape."""
    if body.startswith(b"data: "):
        return status == 200 and (body.endswith(b"[DONE]\n\n") or b'"error"' in body)
    told = json.loads(body)
    if status == 200:
        return bool(told["choices"])
    return status != 500 and isinstance(told["error"]["message"], str)


@pytest.mark.fuzz
@pytest.mark.parametrize("raw", BYTES)
@pytest.mark.parametrize("path", [CHAT, "/v1/fragments", "/v1/feedback"])
def test_no_bytes_make_the_sidecar_fail(post: Any, path: str, raw: bytes) -> None:
    """Deep, long, twice, half a character, no number: an answer or a refusal."""
    status, body = post(path, raw)
    assert _is_answered(status, body), (status, body[:500])


@pytest.mark.fuzz
@pytest.mark.timeout(7_200)
@given(body=requests)
@example(body={"model": "auto", "messages": [{"role": "user"}], "response_format": {"type": []}})
def test_no_chat_request_makes_the_sidecar_fail(post: Any, body: dict[str, Any]) -> None:
    """Any JSON in any field that somebody reads."""
    status, told = post(CHAT, json.dumps(body).encode())
    assert _is_answered(status, told), (status, told[:500])


@pytest.mark.fuzz
@pytest.mark.timeout(7_200)
@given(body=requests)
def test_no_fragment_makes_the_sidecar_fail(post: Any, body: dict[str, Any]) -> None:
    """The same, inside another request."""
    whole = {"template": "a {{b}}", "fragments": {"b": {"request": body}}}
    status, told = post("/v1/fragments", json.dumps(whole).encode())
    assert status != 500, told[:500]


@pytest.mark.fuzz
@pytest.mark.timeout(7_200)
@given(raw=st.binary(max_size=200) | anything.map(lambda told: json.dumps(told).encode()))
@example(raw=b'{"messages":[{"role":"user"}],"model":"a"}')
def test_a_parser_gives_what_it_promises_or_its_own_refusal(raw: bytes) -> None:
    """No other exception, whatever the bytes."""
    for read in (_chat, lambda b: parse_fragments(parse_object(b)), _feedback):
        with suppress(MalformedRequest):
            read(raw)


@pytest.mark.fuzz
@pytest.mark.timeout(7_200)
@given(body=requests)
def test_what_was_parsed_can_be_read_by_all_who_do(body: dict[str, Any]) -> None:
    """Text, needs and system prompt of a request that passed: no surprise is left in it."""
    with suppress(MalformedRequest):
        _chat(json.dumps(body).encode())


def _chat(raw: bytes) -> None:
    request = parse(raw)
    chat.needs_of(request)
    chat.system_of(request.messages)
    for message in request.messages:
        chat.words_of(message)
    openai.request_body(request.body, stream=True, usage_in_streams=True)


def _feedback(raw: bytes) -> None:
    parse_feedback(raw, tenant="t", at=0.0)
