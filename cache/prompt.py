"""A request's messages in, the version of the prompt that they were asked under out.

A prompt that nobody manages has no name: its version is the digest of its text, so that "all that
was answered under the text that stood here until yesterday" can be said, searched and forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any, Final

import orjson

PREFIX: Final = "sha-"
_DIGITS: Final = 12
"""Chosen: 48 bits, to be read and typed; two prompts of a million share one in 2**9 worlds, and
then an invalidation forgets too much and never too little."""

_ROLES: Final = frozenset({"system", "developer"})
"""Source: https://platform.openai.com/docs/api-reference/chat/create, "Developer message" and
"System message": what the model is to do whatever the user sends."""


def prompt_version(messages: Iterable[object]) -> str:
    """`sha-` and 12 hex digits over the system and developer messages; empty if there is none.

    The digest is that of the text itself where there is one message with one text, so that
    `printf %s "$PROMPT" | sha256sum` gives it too.
    """
    contents = [
        message.get("content")
        for message in messages
        if isinstance(message, Mapping) and message.get("role") in _ROLES
    ]
    if not contents:
        return ""
    return PREFIX + sha256(_told(contents)).hexdigest()[:_DIGITS]


def _told(contents: list[Any]) -> bytes:
    texts = [_plain(content) for content in contents]
    if len(texts) == 1 and isinstance(texts[0], str):
        return texts[0].encode("utf-8", "surrogatepass")
    try:
        return orjson.dumps(texts, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:  # nested deeper than orjson writes
        return repr(texts).encode("utf-8", "surrogatepass")


def _plain(content: Any) -> Any:
    """A lone text part says what its text says; see `cache.key`."""
    if isinstance(content, list) and len(content) == 1 and isinstance(content[0], dict):
        part = content[0]
        return part["text"] if part.keys() == {"type", "text"} else content
    return content
