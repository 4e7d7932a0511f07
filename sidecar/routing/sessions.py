"""A conversation in, the tier that it had out, as long as it was asked about lately.

A conversation is what the caller names (`x-sidecar-session`); else its tenant, namespace, user,
system prompt and first user's turn tell it from others, from its second turn on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

import orjson

from cache.shelf import Shelf
from sidecar import chat
from sidecar.ledger import Inquiry

MAX_SESSIONS: Final = 20_000
"""Chosen: 300 bytes each, 6 MB; of a tenant who has the most, the oldest leaves."""

IDLE_S: Final = 3_600.0
"""Chosen: an hour later the vendor's prompt cache is cold, and the talk is most likely over."""


class Sessions:
    """What each conversation had. Lives on the event loop's thread."""

    def __init__(self, clock: Callable[[], float], size: int = MAX_SESSIONS) -> None:
        """`clock` is monotonic, in seconds."""
        self._clock = clock
        self._held: Shelf[bytes, tuple[str, float]] = Shelf(size)

    def find(self, key: bytes) -> str:
        """The tier that it had, by name; empty if none is known."""
        found = self._held.get(key)
        return "" if found is None or self._clock() - found[1] > IDLE_S else found[0]

    def keep(self, key: bytes, tier: str, tenant: str) -> None:
        """It has this one now."""
        self._held.put(key, (tier, self._clock()), tenant)


def session_key(inquiry: Inquiry) -> bytes:
    """What tells this conversation from every other one."""
    messages, options = inquiry.request.messages, inquiry.options
    told: list[str] = [inquiry.caller.tenant, options.namespace]
    if options.session:
        told += ["named", options.session]
    else:
        first = next((m for m in messages if m.get("role") == "user"), {})
        told += ["told", inquiry.user, chat.system_of(messages), chat.text_of(first) or ""]
    return hashlib.blake2b(orjson.dumps(told), digest_size=16).digest()


def is_under_way(inquiry: Inquiry) -> bool:
    """It has a name, or turns before this one."""
    turns = sum(message.get("role") == "user" for message in inquiry.request.messages)
    return bool(inquiry.options.session) or turns > 1
