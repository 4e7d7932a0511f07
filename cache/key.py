"""A caller's scope and a request's body in, the two hashes that say what it is the same as out.

The fingerprint says "the same request"; the partition says "the same request but for the question
asked last". Only within a partition may two questions be compared by meaning, so that tenant,
namespace, model, system prompt, earlier turns, tools, answer format and sampling are equalities and
never a matter of similarity.

What is hashed is one JSON array, `[tenant, namespace, epoch, body less its last question]`, then a
byte that JSON text cannot hold, then the rest. A JSON text ends where its last bracket closes, so
no two scopes and no two bodies write the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import orjson

HASH_BYTES: Final = 20
"""Chosen: 160 bits; among 2**40 entries the chance of any collision is 2**-81."""

IGNORED: Final = frozenset(
    {
        "stream",  # how the answer travels; one entry is replayed both ways
        "stream_options",  # as above
        "user",  # whom the vendor blames for abuse
        "safety_identifier",  # its new name
        "metadata",  # labels for the vendor's own dashboard
        "store",  # whether the vendor keeps the answer
        "prompt_cache_key",  # where the vendor looks for a warm prefix
        "prompt_cache_retention",  # how long it keeps that prefix
        "service_tier",  # how fast the vendor answers, and at which price
    }
)
"""Fields that cannot change the answer. `prompt_variables` are not among them: they are text of the
prompt. A field that is not known stays in: a saving may be lost, an answer never.
Source: https://platform.openai.com/docs/api-reference/chat/create, each field's own description."""

DEFAULTS: Final[Mapping[str, tuple[Any, ...]]] = {
    "n": (None, 1),
    "temperature": (None, 1),
    "top_p": (None, 1),
    "presence_penalty": (None, 0),
    "frequency_penalty": (None, 0),
    "logprobs": (None, False),
    "top_logprobs": (None,),
    "logit_bias": (None, {}),
    "max_tokens": (None,),
    "max_completion_tokens": (None,),
    "seed": (None,),
    "stop": (None, []),
    "tools": (None, []),
    "tool_choice": (None,),
    "response_format": (None, {"type": "text"}),
    "modalities": (None, ["text"]),
}
"""Values that say what leaving the field out says. Source: as above, "Defaults to"."""

_QUESTION: Final = b"\x00"
_PARTS: Final = b"\x01"
_PARTITION: Final = b"\x02"


class Scope(NamedTuple):
    """Whose answers may be shared.

    Attributes:
        tenant: From the caller's key, never from a header.
        namespace: Partition within the tenant that the caller chose.
        epoch: Rises when everything kept so far is to be forgotten.
    """

    tenant: str
    namespace: str
    epoch: int


class Keys(NamedTuple):
    """What one request is the same as.

    Attributes:
        fingerprint: Of the whole request, 20 bytes.
        partition: Of all but the last question, 20 bytes; None if there is no question.
    """

    fingerprint: bytes
    partition: bytes | None


def keys(scope: Scope, body: Mapping[str, Any], question: str | None, encoder_id: str) -> Keys:
    """The keys of one request.

    `question` is the text of the last user turn, None if that turn is more or less than text.
    Measured: see docs/cache.md, "What it costs".
    """
    canonical = _canonical(body)
    messages = canonical.get("messages")
    last = b""
    if question is not None and messages:
        # The question leaves the body; what kind of content it was is told by the mark.
        content = messages[-1].get("content")
        if isinstance(content, str):
            last = _QUESTION + question.strip().encode()
        else:
            last = _PARTS + _dumps(content)
        canonical["messages"] = [*messages[:-1], {**messages[-1], "content": None}]
    context = blake2b(
        _dumps([scope.tenant, scope.namespace, scope.epoch, canonical]), digest_size=HASH_BYTES
    )
    partition = None
    if question is not None:
        of_partition = context.copy()
        of_partition.update(_PARTITION + encoder_id.encode())
        partition = of_partition.digest()
    context.update(last)
    return Keys(context.digest(), partition)


def _canonical(body: Mapping[str, Any]) -> dict[str, Any]:
    canonical = {
        field: _number(value) if isinstance(value, float) else value
        for field, value in body.items()
        if field not in IGNORED and not (field in DEFAULTS and _is_default(field, value))
    }
    messages = canonical.get("messages")
    if isinstance(messages, list):
        canonical["messages"] = [_message(message) for message in messages]
    return canonical


def _is_default(field: str, value: Any) -> bool:
    # True == 1 to Python and not to JSON.
    return any(
        value == default and isinstance(value, bool) == isinstance(default, bool)
        for default in DEFAULTS[field]
    )


def _number(value: float) -> float:
    """`0.0` as `0`: JSON does not tell them apart. A larger float may stand for many integers."""
    return int(value) if value.is_integer() and abs(value) <= 2.0**53 else value


def _message(message: Any) -> Any:
    """The message, its content a string if it was one plain text part."""
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, list) or len(content) != 1:
        return message
    part = content[0]
    is_plain = isinstance(part, dict) and part.keys() == {"type", "text"} and part["type"] == "text"
    return {**message, "content": part["text"]} if is_plain else message


def _dumps(value: Any) -> bytes:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        # orjson reads 1024 levels of nesting and writes 254.
        return b"".join(_flat(value))


def _flat(value: Any) -> Iterator[bytes]:
    """Prefix notation: each container tells how many values follow, so that none runs over."""
    waiting: list[Any] = [value]
    while waiting:
        top = waiting.pop()
        if isinstance(top, Mapping):
            yield b"{%d" % len(top)
            waiting.extend(part for name in sorted(top) for part in (top[name], name))
        elif isinstance(top, Sequence) and not isinstance(top, str):
            yield b"[%d" % len(top)
            waiting.extend(reversed(top))
        else:
            yield b"," + orjson.dumps(top)
