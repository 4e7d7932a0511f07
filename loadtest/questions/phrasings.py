"""Questions that are kept, and the same in other words; without end where that is asked for."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Final

_ACTIONS: Final = (
    *("reset", "change", "cancel", "renew", "find", "print", "share", "delete", "update"),
    *("move", "export", "restore", "lock", "rename", "download", "return"),
)
_THINGS: Final = (
    *("password", "subscription", "email address", "invoice", "delivery address", "parcel"),
    *("booking", "credit card", "phone number", "insurance policy", "library card", "calendar"),
)
_KEPT: Final = "How do I {} my {}?"
_OTHER_WORDS: Final = (
    *("How can I {} my {}?", "How could I {} my {}?", "What is the way to {} my {}?"),
    *("How would I {} my {}?", "What should I do to {} my {}?", "how do i {} my {}"),
)


def kept() -> list[str]:
    """What is asked first, so that it is there to be hit."""
    return [_KEPT.format(*topic) for topic in _topics()]


def other_words() -> list[str]:
    """The same questions in other words; whether one is a hit is the cache's to say."""
    return [words.format(*topic) for words in _OTHER_WORDS for topic in _topics()]


def _topics() -> Iterator[tuple[str, str]]:
    return itertools.product(_ACTIONS, _THINGS)
