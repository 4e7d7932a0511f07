"""The canonical answer: one `chat.completion` object, kept once, told as JSON or as a stream.

An entry's body is the vendor's object less `id` and `created`; a replay gets fresh ones. The same
object is put together from a stream's chunks, so that an answer is kept alike however it came.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, Literal

import orjson

from router.decision import AnswerView
from router.pricing import estimated_tokens
from sidecar.errors import UpstreamGarbled

_PIECE_CHARACTERS: Final = 24
"""Chosen: about six tokens a chunk. A replayed stream is written in one go, so that the size only
decides how many times the caller's loop turns."""

_MAX_PIECES: Final = 1_000
"""Chosen: an answer of 24,000 characters. A longer one has longer pieces: at six tokens each, a
megabyte would be forty thousand objects, for each of its callers."""

MAX_GROWING: Final = 128
"""Chosen: tool calls of one answer that may be told side by side; OpenAI allows as many tools."""


def fresh_id() -> str:
    """An id for an answer that no vendor gave one to. Unique, and no secret."""
    return f"chatcmpl-{random.getrandbits(96):024x}"


def checked(body: object, upstream: str) -> dict[str, Any]:
    """`body` if it is a chat completion with at least one choice.

    Raises:
        UpstreamGarbled: It is something else.
    """
    choices = body.get("choices") if isinstance(body, dict) else None
    if not isinstance(choices, list) or not choices:
        raise UpstreamGarbled(f"upstream {upstream} sent no choices")
    if not all(map(_is_choice, choices)):
        raise UpstreamGarbled(f"upstream {upstream} sent a choice without a message")
    assert isinstance(body, dict)  # noqa: S101 - said by the first line
    return body


def _is_choice(choice: Any) -> bool:
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict) or not message:
        return False
    calls = message.get("tool_calls")
    return (
        (not calls or _are_calls(calls))
        and isinstance(choice.get("logprobs") or {}, dict)
        and isinstance(choice.get("finish_reason") or "", str)
    )


def _are_calls(calls: object) -> bool:
    return (
        isinstance(calls, list)
        and all(isinstance(call, dict) for call in calls)
        and all(isinstance(call.get("function") or {}, dict) for call in calls)
    )


def kept_body(body: Mapping[str, Any]) -> bytes:
    """What an entry keeps: no id and no time of its own, and a usage that says "from a cache".

    The token counts stay, for they describe the text; `cached_tokens` says that nothing of the
    prompt was computed for this caller.
    """
    kept = {name: value for name, value in body.items() if name not in {"id", "created"}}
    usage = kept.get("usage")
    if isinstance(usage, dict):
        told = usage.get("prompt_tokens_details")
        details = {
            **(told if isinstance(told, dict) else {}),
            "cached_tokens": usage.get("prompt_tokens", 0),
        }
        kept["usage"] = {**usage, "prompt_tokens_details": details}
    # A copy: the library's own bytes keep the room that they were written in, 4 kB for 500 bytes.
    return bytes(memoryview(orjson.dumps(kept)))


def replayed_body(kept: bytes, answer_id: str, created_at: int) -> bytes:
    """`kept` with an id and a time in front, without parsing it.

    `replayed_body(b'{"a":1}', "x", 7) == b'{"id":"x","created":7,"a":1}'`
    """
    return b'{"id":"%s","created":%d,%s' % (answer_id.encode(), created_at, kept[1:])


def pieces(text: str) -> Iterator[str]:
    """`text` cut into what a stream's chunks carry; joined again it is `text`."""
    size = max(_PIECE_CHARACTERS, -(-len(text) // _MAX_PIECES))
    for start in range(0, len(text), size):
        yield text[start : start + size]


def chunks(body: Mapping[str, Any], *, include_usage: bool) -> Iterator[dict[str, Any]]:
    """The whole answer as the `chat.completion.chunk` objects of a stream, in order."""
    head = {
        "id": body.get("id"),
        "object": "chat.completion.chunk",
        "created": body.get("created"),
        "model": body.get("model"),
    }
    if body.get("system_fingerprint") is not None:
        head["system_fingerprint"] = body["system_fingerprint"]
    for choice in body["choices"]:
        yield from (head | {"choices": [told]} for told in _choice_chunks(choice))
    if include_usage and body.get("usage") is not None:
        yield head | {"choices": [], "usage": body["usage"]}


def _choice_chunks(choice: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    index, message = choice.get("index", 0), choice["message"]
    content = message.get("content")
    # Whatever else the message holds (reasoning, refusal, annotations) rides in the first delta.
    first = {
        name: value for name, value in message.items() if name not in {"content", "tool_calls"}
    }
    if message.get("tool_calls"):
        calls = message["tool_calls"]
        first["tool_calls"] = [{"index": place, **call} for place, call in enumerate(calls)]
    first["content"] = "" if isinstance(content, str) else content
    opening: dict[str, Any] = {"index": index, "delta": first, "finish_reason": None}
    if choice.get("logprobs") is not None:
        opening["logprobs"] = choice["logprobs"]
    yield opening
    for piece in pieces(content) if isinstance(content, str) else ():
        yield {"index": index, "delta": {"content": piece}, "finish_reason": None}
    yield {"index": index, "delta": {}, "finish_reason": choice.get("finish_reason")}


Kind = Literal["words", "end", "usage"]
"""What a chunk is for: `end` has a finish reason, `usage` what it cost and no choice."""


class Assembler:
    """Puts a stream's chunks together to the object that a request without `stream` would get."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._head: dict[str, Any] = {}
        self._latest: dict[str, Any] = {}  # less its choices
        self._choices: dict[int, dict[str, Any]] = {}

    def add(self, chunk: dict[str, Any]) -> Kind:
        """Take the next chunk in, whose `choices` are taken out of it; what it is for.

        Raises:
            UpstreamGarbled: It is no chunk, or the vendor's own error in the midst of the stream.
        """
        if not self._head:
            self._head.update(_less_nulls(chunk))  # the answer's fields stand in its order
        choices = chunk.pop("choices", None)
        if not choices and "error" in chunk:
            raise UpstreamGarbled(f"upstream {self._upstream} sent an error in its stream")
        if chunk != self._latest:  # all else of it is the same from the first to the last but one
            self._head.update(_less_nulls(chunk))
            self._latest = chunk
        if not choices:
            return "usage" if chunk.get("usage") is not None else "words"
        kind: Kind = "words"
        for told in choices:
            index = told.get("index", 0)
            choice = self._choices.get(index)
            if choice is None:
                choice = self._choices[index] = {"message": {}, "finish_reason": None}
            if delta := told.get("delta"):
                _merge(choice["message"], delta)
            if (reason := told.get("finish_reason")) is not None:
                choice["finish_reason"] = reason
                kind = "end" if reason else kind
            if logprobs := told.get("logprobs"):
                _merge(choice.setdefault("logprobs", {}), logprobs)
        return kind

    @property
    def is_finished(self) -> bool:
        """Every choice has its finish reason: the answer is whole."""
        return bool(self._choices) and all(
            choice["finish_reason"] is not None for choice in self._choices.values()
        )

    def body(self) -> dict[str, Any]:
        """The `chat.completion` object so far."""
        told = sorted(self._choices.items())
        choices = [{"index": index, **_joined(choice)} for index, choice in told]
        for choice in choices:
            choice["message"].setdefault("role", "assistant")
            choice["message"].setdefault("content", None)
            for call in choice["message"].get("tool_calls", ()):
                call.pop("index", None)
        return {**self._head, "object": "chat.completion", "choices": choices}


def _less_nulls(chunk: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in chunk.items() if value is not None}


class _Pieces(list[str]):
    """A text that still grows: joined once, at the end.

    Added piece by piece to what is there, an answer would be copied once for each of its chunks: a
    long one would keep the event loop for seconds, and one of 64 MiB for hours.
    """


def _joined(value: Any) -> Any:
    """The same with every text in one piece."""
    if isinstance(value, _Pieces):
        return "".join(value)
    if isinstance(value, dict):
        return {name: _joined(inner) for name, inner in value.items()}
    return [_joined(inner) for inner in value] if isinstance(value, list) else value


_SAID_ONCE: Final = frozenset({"role", "id", "type", "index"})
"""Fields of which the last word holds; all other text grows."""


def _merge(whole: dict[str, Any], delta: Mapping[str, Any]) -> None:
    """Add `delta` to `whole` in place: text is appended, lists by `index` or at the end."""
    for name, value in delta.items():
        held = whole.get(name)
        if isinstance(held, _Pieces):
            if isinstance(value, str):
                held.append(value)
        elif held is None or name in _SAID_ONCE:
            whole[name] = _copied(value) if value is not None else held
        elif isinstance(value, str) and isinstance(held, str):
            whole[name] = _Pieces((held, value))
        elif isinstance(value, dict) and isinstance(held, dict):
            _merge(held, value)
        elif isinstance(value, list) and isinstance(held, list):
            _merge_list(held, value)


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copied(inner) for name, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, list) else value


def _merge_list(held: list[Any], more: list[Any]) -> None:
    for item in more:
        index = item.get("index") if isinstance(item, dict) else None
        same = _find(held, index) if index is not None else None
        if same is not None:
            _merge(same, item)
        else:
            held.append(_copied(item))


def _find(held: Sequence[Any], index: object) -> dict[str, Any] | None:
    """The item of that index, if it is among those that may still grow."""
    recent = (old for old in islice(reversed(held), MAX_GROWING) if isinstance(old, dict))
    return next((old for old in recent if old.get("index") == index), None)


def tokens(body: Mapping[str, Any], prompt_estimate: int) -> tuple[int, int]:
    """Prompt and completion tokens: the vendor's usage, or an estimate where it gave none."""
    usage = body.get("usage")
    told = usage if isinstance(usage, dict) else {}
    tokens_in, tokens_out = told.get("prompt_tokens") or 0, told.get("completion_tokens")
    # What is no count is no bill: a stranger's minus one would pay the budget back.
    if (
        isinstance(tokens_in, int)
        and isinstance(tokens_out, int)
        and min(tokens_in, tokens_out) >= 0
    ):
        return int(tokens_in), int(tokens_out)
    return prompt_estimate, estimated_tokens(text(body))


def text(body: Mapping[str, Any]) -> str:
    """The first choice's content, empty if it has none."""
    content = body["choices"][0]["message"].get("content")
    return content if isinstance(content, str) else ""


def view(body: Mapping[str, Any], tokens_out: int, request: Mapping[str, Any]) -> AnswerView:
    """The first choice as the router's judgement sees it."""
    choice = body["choices"][0]
    calls, said, logprobs = choice["message"].get("tool_calls"), text(body), choice.get("logprobs")
    if calls:
        is_malformed = not all(map(_has_json, calls))
    else:
        wanted = request.get("response_format")
        is_malformed = wanted is not None and _means_json(wanted) and not _is_json(said)
    return AnswerView(
        text=said,
        finish_reason=choice.get("finish_reason") or "",
        tokens_out=tokens_out,
        logprobs=_logprobs(logprobs) if logprobs else None,
        has_tool_calls=bool(calls),
        is_malformed=is_malformed,
    )


def _logprobs(told: Mapping[str, Any]) -> tuple[float, ...] | None:
    numbers = [
        float(token["logprob"])
        for token in told.get("content") or []
        if isinstance(token, dict) and isinstance(token.get("logprob"), int | float)
    ]
    return tuple(numbers) or None


def _means_json(wanted: Mapping[str, Any]) -> bool:
    kind = wanted.get("type")
    return isinstance(kind, str) and kind in _JSON_FORMATS


def _has_json(call: Mapping[str, Any]) -> bool:
    return _is_json((call.get("function") or {}).get("arguments", ""))


_JSON_FORMATS: Final = frozenset({"json_object", "json_schema"})


def _is_json(told: str) -> bool:
    try:
        orjson.loads(told)
    except orjson.JSONDecodeError:
        return False
    return True
