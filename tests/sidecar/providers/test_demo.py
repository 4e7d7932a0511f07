"""The demo upstream: OpenAI's shape, streams that say the same, limits, and faults on request."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from sidecar.answer import Assembler
from sidecar.deadline import Deadline
from sidecar.errors import ProviderError, UpstreamGarbled
from sidecar.providers.demo import DemoUpstream
from sidecar.providers.errors import (
    CallerAtFault,
    StreamBroken,
    UpstreamBusy,
    UpstreamTooSlow,
    UpstreamUnreachable,
)
from sidecar.providers.wire import Call, Upstream

_SUM = "What is 17 plus 25?"


def _call(question: str = _SUM, *, model: str = "demo-large", **fields: Any) -> Call:
    body = {"model": model, "messages": [{"role": "user", "content": question}], **fields}
    return Call(body=body, tier="large", deadline=Deadline.after_s(60.0))


def _upstream() -> Upstream:
    return DemoUpstream("demo", speed=0.0)


async def _streamed(call: Call) -> list[dict[str, Any]]:
    chunks: list[bytes] = []
    await _upstream().stream(call, dict[str, str]().update, chunks.extend)
    return [json.loads(chunk) for chunk in chunks]


async def test_an_answer_has_every_usual_field_and_says_that_it_is_simulated() -> None:
    """A caller finds what it finds at the vendor, and cannot take it for real."""
    body = (await _upstream().ask(_call())).body
    assert body["object"] == "chat.completion"
    assert body["model"] == "demo-large"
    assert body["system_fingerprint"] == "simulated"
    choice = body["choices"][0]
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["content"].startswith("[simulated]")
    assert choice["message"]["content"].endswith("The answer is 42.")


async def test_the_same_question_gets_the_same_answer() -> None:
    """All but the id and the time is the same."""
    one, other = [(await _upstream().ask(_call())).body for _ in range(2)]
    assert one["choices"] == other["choices"]
    assert one["id"] != other["id"]


@pytest.mark.parametrize("question", [_SUM, "Who wrote Faust?"])
async def test_a_stream_assembles_to_the_whole_answer(question: str) -> None:
    """Choices and usage are the same as without `stream`."""
    call = _call(question, stream_options={"include_usage": True}, n=2, logprobs=True)
    whole = (await _upstream().ask(call)).body
    assembler = Assembler("demo")
    for chunk in await _streamed(call):
        assembler.add(chunk)
    assert assembler.is_finished
    assert assembler.body()["usage"] == whole["usage"]
    for told, choice in zip(assembler.body()["choices"], whole["choices"], strict=True):
        assert told["message"]["content"] == choice["message"]["content"]
        assert told["logprobs"] == choice["logprobs"]


async def test_the_usage_chunk_comes_only_when_asked_for() -> None:
    """As at the vendor: last, and without choices."""
    assert all(chunk["choices"] for chunk in await _streamed(_call()))
    *_, last = await _streamed(_call(stream_options={"include_usage": True}))
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] > 0


async def test_usage_counts_four_characters_a_token() -> None:
    """Usage and log-probabilities count alike."""
    body = (await _upstream().ask(_call(logprobs=True))).body
    text = body["choices"][0]["message"]["content"]
    assert body["usage"]["prompt_tokens"] == math.ceil(len(_SUM) / 4)
    assert body["usage"]["completion_tokens"] == math.ceil(len(text) / 4)
    tokens = body["choices"][0]["logprobs"]["content"]
    assert len(tokens) == body["usage"]["completion_tokens"]
    assert "".join(token["token"] for token in tokens) == text


@pytest.mark.parametrize("fields", [{"max_tokens": 3}, {"max_completion_tokens": 3}])
async def test_a_limit_cuts_the_answer_and_says_so(fields: dict[str, Any]) -> None:
    """`finish_reason` is `length`, and no token more is billed."""
    body = (await _upstream().ask(_call(**fields))).body
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["completion_tokens"] == 3


async def test_n_gives_as_many_choices_of_one_value() -> None:
    """Each choice is put in its own way, and says the same."""
    choices = (await _upstream().ask(_call(n=3))).body["choices"]
    assert [choice["index"] for choice in choices] == [0, 1, 2]
    assert all(c["message"]["content"].endswith("The answer is 42.") for c in choices)


@pytest.mark.parametrize("shape", ["json_object", "json_schema"])
async def test_a_response_format_gets_a_json_object(shape: str) -> None:
    """Under `answer` stands the value."""
    body = (await _upstream().ask(_call(response_format={"type": shape}))).body
    assert json.loads(body["choices"][0]["message"]["content"])["answer"] == "42"


@pytest.mark.parametrize("shape", [None, 1, [], {}, "text", ["json_object"]])
async def test_any_other_response_format_gets_words(shape: object) -> None:
    """Whatever a caller puts where a vendor's word should stand."""
    body = (await _upstream().ask(_call(response_format={"type": shape}))).body
    assert body["choices"][0]["message"]["content"].endswith("The answer is 42.")


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("500", UpstreamBusy),
        ("429", UpstreamBusy),
        ("timeout", UpstreamTooSlow),
        ("truncate", UpstreamUnreachable),
        ("garbage", UpstreamGarbled),
        ("nonsense", CallerAtFault),
    ],
)
async def test_a_fault_that_is_asked_for_comes(fault: str, kind: type[ProviderError]) -> None:
    """Each name raises its error, also before a stream's first chunk."""
    with pytest.raises(kind):
        await _upstream().ask(_call(demo_fault=fault))
    with pytest.raises(StreamBroken if fault == "truncate" else kind):
        await _streamed(_call(demo_fault=fault))


async def test_a_broken_stream_breaks_in_its_midst() -> None:
    """Some of it was there before."""
    chunks: list[bytes] = []
    with pytest.raises(StreamBroken):
        await _upstream().stream(
            _call(demo_fault="truncate"), dict[str, str]().update, chunks.extend
        )
    assert chunks


async def test_a_fault_for_another_model_is_none_of_this_one() -> None:
    """`500@demo-small` fails the small model alone, so that a fallback can be seen."""
    await _upstream().ask(_call(demo_fault="500@demo-small"))
    with pytest.raises(UpstreamBusy):
        await _upstream().ask(_call(model="demo-small", demo_fault="500@demo-small"))


@pytest.mark.parametrize("fields", [{"model": "gpt-4o"}, {"n": 1_000}])
async def test_what_no_demo_model_can_do_is_refused_in_openai_shape(fields: dict[str, Any]) -> None:
    """The body is an error that the caller may see."""
    with pytest.raises(CallerAtFault) as refused:
        await _upstream().ask(_call(**fields))
    assert refused.value.body is not None
    assert refused.value.body["error"]["type"] == "invalid_request_error"


async def test_an_answer_that_takes_too_long_is_a_timeout() -> None:
    """The deadline holds for simulated time too."""
    call = Call(body=_call().body, tier="large", deadline=Deadline.after_s(0.0))
    with pytest.raises(UpstreamTooSlow):
        await DemoUpstream("demo", speed=1_000.0).ask(call)
