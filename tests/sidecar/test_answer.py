"""The canonical answer: kept once, the same as JSON and as a stream."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar import answer
from sidecar.errors import UpstreamGarbled

TEXTS = st.text(max_size=200)
CALLS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.text(min_size=1, max_size=8),
            "type": st.just("function"),
            "function": st.fixed_dictionaries(
                {"name": st.text(min_size=1, max_size=8), "arguments": st.text(max_size=20)}
            ),
        }
    ),
    min_size=1,
    max_size=3,
)


@st.composite
def completions(draw: st.DrawFn) -> dict[str, Any]:
    """A whole answer, as vendors send it."""
    choices = []
    for index in range(draw(st.integers(1, 3))):
        message: dict[str, Any] = {"role": "assistant", "content": draw(TEXTS)}
        if draw(st.booleans()):
            message["tool_calls"] = draw(CALLS)
        if draw(st.booleans()):
            message["reasoning_content"] = draw(st.text(min_size=1, max_size=20))
        choices.append({"index": index, "message": message, "finish_reason": "stop"})
    usage = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
    head = {"id": "x", "object": "chat.completion", "created": 7, "model": "m"}
    return {**head, "choices": choices, "usage": usage}


@given(completions())
def test_a_streamed_answer_assembles_to_the_whole_one(body: dict[str, Any]) -> None:
    """assemble(chunks(answer)) == answer, whatever it holds."""
    assembler = answer.Assembler("u")
    for chunk in answer.chunks(body, include_usage=True):
        assembler.add(orjson.loads(orjson.dumps(chunk)))
    assert assembler.is_finished
    assert assembler.body() == body


HEADS = st.dictionaries(st.sampled_from("abc"), st.sampled_from([None, 0, 1, "x", {"y": None}]))


@given(st.lists(HEADS, max_size=8))
def test_of_each_field_the_last_word_that_is_not_null_holds(heads: list[dict[str, Any]]) -> None:
    """Whatever the chunks before it said, and in the order in which they came up."""
    assembler, told = answer.Assembler("u"), dict[str, Any]()
    for head in heads:
        told |= {name: value for name, value in head.items() if value is not None}
        assembler.add({**head, "choices": [{"delta": {"content": "x"}}]})
    body = assembler.body()
    assert [pair for pair in body.items() if pair[0] in told] == [*told.items()]


@given(TEXTS)
def test_pieces_join_to_the_text(text: str) -> None:
    """No character is lost between two chunks."""
    assert "".join(answer.pieces(text)) == text


@given(completions())
def test_a_replay_has_its_own_id_and_says_it_was_cached(body: dict[str, Any]) -> None:
    """Fresh id and time, the same choices, and a usage that says nothing was computed."""
    replayed = orjson.loads(answer.replayed_body(answer.kept_body(body), "fresh", 99))
    assert (replayed["id"], replayed["created"]) == ("fresh", 99)
    assert replayed["choices"] == body["choices"]
    assert replayed["usage"]["prompt_tokens_details"] == {"cached_tokens": 3}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param([], id="array"),
        pytest.param({"choices": []}, id="no-choice"),
        pytest.param({"choices": [{"index": 0}]}, id="no-message"),
        pytest.param({"html": "hello"}, id="no-completion"),
    ],
)
def test_what_is_no_completion_is_garbled(body: object) -> None:
    """200 with something else in it is no answer."""
    with pytest.raises(UpstreamGarbled):
        answer.checked(body, "u")


@pytest.mark.parametrize(
    ("grows", "chunks"),
    [("content", 100_000), ("arguments", 100_000), ("logprobs", 100_000), ("calls", 10_000)],
)
def test_a_long_stream_takes_time_linear_in_it(grows: str, chunks: int) -> None:
    """Whatever grows: copied or searched for each chunk, it would take minutes and more."""
    assembler, piece = answer.Assembler("u"), "x" * 100
    for number in range(chunks):
        told: dict[str, Any] = {"delta": {}}
        match grows:
            case "content":
                told["delta"] = {"content": piece}
            case "arguments":
                call = {"index": 0, "function": {"arguments": piece}}
                told["delta"] = {"tool_calls": [call]}
            case "logprobs":
                told["logprobs"] = {"content": [{"token": "x", "logprob": -0.1}]}
            case "calls":
                told["delta"] = {"tool_calls": [{"index": number}]}
        assembler.add({"choices": [{"index": 0, **told}]})
    (choice,) = assembler.body()["choices"]
    message = choice["message"]
    size = {
        "content": lambda: len(message["content"]) // len(piece),
        "arguments": lambda: len(message["tool_calls"][0]["function"]["arguments"]) // len(piece),
        "logprobs": lambda: len(choice["logprobs"]["content"]),
        "calls": lambda: len(message["tool_calls"]),
    }
    assert size[grows]() == chunks


def test_a_stream_without_a_finish_reason_is_not_finished() -> None:
    """What was cut off must not look whole."""
    assembler = answer.Assembler("u")
    assembler.add({"choices": [{"index": 0, "delta": {"content": "Hel"}, "finish_reason": None}]})
    assert not assembler.is_finished


def test_an_error_within_a_stream_is_told() -> None:
    """Some vendors answer 200 and then say it went wrong."""
    with pytest.raises(UpstreamGarbled):
        answer.Assembler("u").add({"error": {"message": "overloaded"}})


def test_malformed_json_is_seen_where_json_was_asked_for() -> None:
    """The judgement escalates on it without asking."""
    message = {"role": "assistant", "content": "{no"}
    body = {"choices": [{"message": message, "finish_reason": "stop"}]}
    assert answer.view(body, 1, {"response_format": {"type": "json_object"}}).is_malformed
    assert not answer.view(body, 1, {}).is_malformed


@pytest.mark.parametrize("length", [0, 1, 24, 25, 24_000, 24_001, 2_000_000])
def test_a_long_answer_has_longer_pieces_and_no_more_of_them(length: int) -> None:
    """Whoever asks for a megabyte as a stream makes the sidecar hold a thousand objects at most."""
    text = "".join(map(str, range(length)))[:length]
    told = list(answer.pieces(text))
    assert "".join(told) == text
    assert len(told) <= 1_000
    assert length > 24_000 or all(len(piece) <= 24 for piece in told)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats(allow_nan=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(
    choice=st.fixed_dictionaries(
        {
            "message": st.fixed_dictionaries({}, optional={"content": JSON, "tool_calls": JSON}),
            "finish_reason": JSON,
            "logprobs": JSON,
        }
    ),
    usage=JSON
    | st.fixed_dictionaries(
        {"prompt_tokens": JSON, "completion_tokens": JSON, "prompt_tokens_details": JSON}
    ),
)
def test_a_strangers_json_is_an_answer_or_garbled_and_nothing_else(choice: Any, usage: Any) -> None:
    """Whatever passes the check can be counted, judged and kept."""
    body = {"choices": [choice], "usage": usage}
    try:
        answer.checked(body, "u")
    except UpstreamGarbled:
        return
    tokens_in, tokens_out = answer.tokens(body, 7)
    assert min(tokens_in, tokens_out) >= 0
    answer.view(body, tokens_out, {})
    answer.kept_body(body)
    list(answer.chunks(body, include_usage=True))
