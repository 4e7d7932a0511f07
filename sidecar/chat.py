"""The canonical request: bytes in, a checked `ChatRequest` out, everything unknown kept as it came.

Only what the sidecar itself reads is checked here. All else is the vendor's business and passes
through untouched, so that the caller meets no error that the bare provider would not have given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from router.pricing import estimated_tokens
from router.tiers import Needs
from sidecar.errors import MalformedRequest
from sidecar.values import value

MAX_DEPTH: Final = 254
"""Source: orjson's documentation, "Serialize": it raises beyond 254 levels of nesting."""

_PART_CAPABILITY: Final = {"image_url": "vision", "input_audio": "audio"}


@value(frozen=True, slots=True, eq=False, kw_only=True)
class ChatRequest:
    """One chat completion request.

    Attributes:
        body: The parsed JSON object, as the caller sent it.
        messages: The conversation in it, oldest turn first.
        alias: Its `model`: `auto`, a tier's name or an upstream model id.
        question: The text to embed, see `question_of`.
        tokens_in: Estimated tokens of the whole prompt, see `prompt_tokens`.
        stream: The caller wants server-sent events.
        include_usage: The caller wants the usage chunk at the end of the stream.
    """

    body: Mapping[str, Any]
    messages: Sequence[Mapping[str, Any]]
    alias: str
    question: str | None
    tokens_in: int
    stream: bool
    include_usage: bool


def parse(raw: bytes) -> ChatRequest:
    """The request that `raw` holds.

    Raises:
        MalformedRequest: It is no JSON object, or a field that we read is of the wrong kind.
    """
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as fault:
        raise MalformedRequest("body", f"is no valid JSON: {fault}") from fault
    if not isinstance(body, dict):
        raise MalformedRequest("body", "must be a JSON object")
    _check_depth(raw, body)
    _check_messages(body.get("messages"))
    alias = body.get("model")
    if not isinstance(alias, str) or not alias:
        raise MalformedRequest("model", "must be a string that names a model")
    for field in _KINDS:
        if field in body:
            _check_kind(field, body[field])
    messages = body["messages"]
    return ChatRequest(
        body=body,
        messages=messages,
        alias=alias,
        question=question_of(messages),
        tokens_in=prompt_tokens(messages),
        stream=bool(body.get("stream")),
        include_usage=bool((body.get("stream_options") or {}).get("include_usage")),
    )


_KINDS: Final[Mapping[str, tuple[str, type | tuple[type, ...]]]] = {
    "stream": ("boolean", bool),
    "stream_options": ("object", dict),
    "n": ("integer", int),
    "temperature": ("number", (int, float)),
    "max_tokens": ("integer", int),
    "max_completion_tokens": ("integer", int),
    "response_format": ("object", dict),
    "tools": ("array", list),
}
"""Of the fields that are read here, by JSON's word and by Python's; each may be null."""


def _check_kind(field: str, value: object) -> None:
    wanted, kind = _KINDS[field]
    # bool is an int to Python and not to JSON.
    is_odd_bool = isinstance(value, bool) and kind is not bool
    if value is not None and (is_odd_bool or not isinstance(value, kind)):
        raise MalformedRequest(field, f"must be of type {wanted}")


def _check_depth(raw: bytes, body: object) -> None:
    """What was read must be written again, upstream; orjson reads 1024 levels and writes 254."""
    if raw.count(b"[") + raw.count(b"{") < MAX_DEPTH:
        return
    try:
        orjson.dumps(body)
    except orjson.JSONEncodeError as fault:
        raise MalformedRequest("body", f"is nested more than {MAX_DEPTH} levels deep") from fault


def _check_messages(messages: object) -> None:
    if not isinstance(messages, list) or not messages:
        raise MalformedRequest("messages", "must be an array with at least one message")
    for place, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise MalformedRequest(f"messages[{place}]", "must be an object with a role")


def question_of(messages: Sequence[Mapping[str, Any]]) -> str | None:
    """The text that is embedded, for cache, router and training alike.

    It is the last turn, if that is the user's and is text alone: a string, or text parts joined by
    a line break. None otherwise (an image, a tool's result, an empty turn): such a request has no
    text that stands for its meaning, and is cached by its exact key only.
    """
    last = messages[-1]
    text = text_of(last) if last.get("role") == "user" else None
    return text.strip() or None if text is not None else None


def text_of(message: Mapping[str, Any]) -> str | None:
    """The message's text; None if it has none, or more than text."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    parts = [
        part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None
        for part in content
    ]
    texts = [part for part in parts if isinstance(part, str)]
    return "\n".join(texts) if len(texts) == len(parts) else None


def words_of(message: Mapping[str, Any]) -> str:
    """All that is text in a message, parts of other kinds passed over, tool arguments included."""
    text = text_of(message)
    if text is not None:
        return "\n".join([text, *_arguments(message)])
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    return "\n".join([*(text for text in texts if isinstance(text, str)), *_arguments(message)])


def _arguments(message: Mapping[str, Any]) -> Iterator[str]:
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, dict) else None
        arguments = function.get("arguments") if isinstance(function, dict) else None
        if isinstance(arguments, str):
            yield arguments


def system_of(messages: Sequence[Mapping[str, Any]]) -> str:
    """The system prompt (role `system` or `developer`), empty if there is none."""
    texts = [text_of(m) or "" for m in messages if m.get("role") in {"system", "developer"}]
    return "\n".join(texts)


def prompt_tokens(messages: Sequence[Mapping[str, Any]]) -> int:
    """Estimated tokens of the whole prompt; what is not text counts nothing."""
    total = 0
    for message in messages:
        content = message.get("content")
        total += estimated_tokens(content if isinstance(content, str) else _parts_text(content))
    return total


def _parts_text(content: object) -> str:
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    return "\n".join(text for text in texts if isinstance(text, str))


def _capability(part: Any) -> str:
    """What it takes to read one part of a message; empty if nothing is known to."""
    kind = part.get("type") if isinstance(part, dict) else None
    return _PART_CAPABILITY.get(kind, "") if isinstance(kind, str) else ""


def needs_of(request: ChatRequest) -> Needs:
    """What the request needs of whichever tier takes it."""
    body = request.body
    capabilities = {
        capability
        for message in request.messages
        if isinstance(message.get("content"), list)
        for part in message["content"]
        if (capability := _capability(part))
    }
    if body.get("tools") or body.get("functions"):
        capabilities.add("tools")
    if (body.get("response_format") or {}).get("type") == "json_schema":
        capabilities.add("json_schema")
    if body.get("logprobs"):
        capabilities.add("logprobs")
    if (body.get("n") or 1) > 1:
        capabilities.add("n")
    limit = body.get("max_completion_tokens") or body.get("max_tokens") or 0
    return Needs(capabilities=frozenset(capabilities), tokens=request.tokens_in + limit)
