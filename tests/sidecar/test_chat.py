"""The canonical request: what is read is checked, what is not read is kept."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from sidecar.chat import needs_of, parse, prompt_tokens, question_of, system_of, words_of
from sidecar.errors import MalformedRequest

HELLO = [{"role": "user", "content": "Hello?"}]


def raw(**fields: Any) -> bytes:
    return orjson.dumps({"model": "auto", "messages": HELLO, **fields})


def test_unknown_fields_are_kept_as_they_came() -> None:
    """The vendor's next parameter needs no release of ours."""
    request = parse(raw(frobnicate={"deep": [1, None]}))
    assert request.body["frobnicate"] == {"deep": [1, None]}


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        pytest.param(b"{", "body", id="no-json"),
        pytest.param(b"[]", "body", id="no-object"),
        pytest.param(b'{"model":"auto"}', "messages", id="no-messages"),
        pytest.param(raw(messages=[]), "messages", id="empty-messages"),
        pytest.param(raw(messages=["x"]), "messages[0]", id="message-is-text"),
        pytest.param(raw(messages=[*HELLO, {"content": "x"}]), "messages[1]", id="no-role"),
        pytest.param(orjson.dumps({"messages": HELLO}), "model", id="no-model"),
        pytest.param(raw(model=3), "model", id="model-is-number"),
        pytest.param(raw(stream="yes"), "stream", id="stream-is-text"),
        pytest.param(raw(n=True), "n", id="n-is-bool"),
        pytest.param(raw(temperature="hot"), "temperature", id="temperature-is-text"),
        pytest.param(raw(tools={}), "tools", id="tools-is-object"),
        pytest.param(raw(response_format="json"), "response_format", id="format-is-text"),
        pytest.param(b'{"x":' + b"[" * 300 + b"]" * 300 + b"}", "body", id="too-deep-to-send-on"),
    ],
)
def test_what_is_read_is_checked_and_named(sent: bytes, field: str) -> None:
    """The caller learns which field stops his request from being one."""
    with pytest.raises(MalformedRequest) as caught:
        parse(sent)
    assert caught.value.param == field


@pytest.mark.parametrize(
    ("content", "question"),
    [
        pytest.param("  Where is it? ", "Where is it?", id="string"),
        pytest.param(
            [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "a\nb", id="parts"
        ),
        pytest.param([{"type": "text", "text": "a"}, {"type": "image_url"}], None, id="image"),
        pytest.param("   ", None, id="blank"),
        pytest.param(None, None, id="null"),
    ],
)
def test_question_is_the_last_turns_text(content: object, question: str | None) -> None:
    """What cannot be embedded whole has no question."""
    assert question_of([{"role": "user", "content": content}]) == question


def test_a_tools_result_is_no_question() -> None:
    """Only the user asks."""
    assert question_of([*HELLO, {"role": "tool", "content": "42"}]) is None


def test_system_prompt_is_gathered_from_both_roles() -> None:
    """`developer` is the newer word for `system`."""
    messages = [{"role": "system", "content": "a"}, {"role": "developer", "content": "b"}, *HELLO]
    assert system_of(messages) == "a\nb"


@pytest.mark.parametrize(
    "turn",
    [
        pytest.param({"role": "user", "content": [{"type": ["text"]}]}, id="kind-is-a-list"),
        pytest.param({"role": "user", "content": "a", "tool_calls": 5}, id="calls-are-a-number"),
        pytest.param({"role": "user", "content": [5, None]}, id="parts-are-none"),
    ],
)
def test_what_the_vendor_is_to_judge_trips_nobody(turn: dict[str, Any]) -> None:
    """Fields that are only looked at may hold anything."""
    request = parse(raw(messages=[turn]))
    assert needs_of(request).capabilities == frozenset()
    assert words_of(turn) in {"", "a"}


def test_needs_name_every_capability() -> None:
    """A tier that lacks one of them is never chosen."""
    picture = {"type": "image_url", "image_url": {"url": "data:"}}
    request = parse(
        raw(
            messages=[{"role": "user", "content": [picture, {"type": "text", "text": "What?"}]}],
            tools=[{"type": "function"}],
            response_format={"type": "json_schema"},
            logprobs=True,
            n=2,
            max_tokens=100,
        )
    )
    needs = needs_of(request)
    assert needs.capabilities == {"vision", "tools", "json_schema", "logprobs", "n"}
    assert needs.tokens == 100 + prompt_tokens(request.messages)
