"""Patterns of the operator's in, where a stranger's text breaks one out: the only import of re2.

Python's own `re` may take time exponential in the text, and callers write the text. RE2 takes time
linear in it, and knows neither look-around nor back-references: a pattern that has one is refused
at the start. Rejected: `re` with a bound on the text, which a caller passes by padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import re2

MAX_PATTERNS: Final = 64
MAX_PATTERN_CHARACTERS: Final = 1_000
_MAX_PATTERN_BYTES: Final = 8 * 1024 * 1024
"""Chosen: of RE2's own memory for one pattern; a counted repetition may ask for much more."""

MAX_TEXT_CHARACTERS: Final = 1_000_000
"""Chosen: a longer text is refused where patterns are set, for it cannot be looked at in passing.
Measured: 64 patterns over a million characters, 60 ms."""


def compiled(pattern: str) -> Any:
    """`pattern`, ready to search.

    Raises:
        ValueError: It is too long, too large, or nothing that RE2 knows.
    """
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        raise ValueError(f"is longer than {MAX_PATTERN_CHARACTERS} characters")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MAX_PATTERN_BYTES
    try:
        return re2.compile(pattern, options)
    except re2.error as fault:
        told = fault.args[0].decode() if isinstance(fault.args[0], bytes) else fault
        raise ValueError(f"is no pattern that RE2 knows: {told}") from fault


class Patterns:
    """Some patterns of one config key.

    Raises:
        ValueError: One cannot be used; it is named by its place.
    """

    def __init__(self, patterns: Sequence[str], name: str) -> None:
        if len(patterns) > MAX_PATTERNS:
            raise ValueError(f"{name} must hold at most {MAX_PATTERNS} patterns")
        self._patterns = []
        for place, pattern in enumerate(patterns):
            try:
                self._patterns.append(compiled(pattern))
            except ValueError as fault:
                raise ValueError(f"{name}[{place}] {fault}") from fault

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def find_first(self, text: str) -> int | None:
        """The place of the first pattern that `text` holds; None if it holds none."""
        for place, pattern in enumerate(self._patterns):
            if pattern.search(text) is not None:
                return place
        return None

    def find_missing(self, texts: Sequence[str]) -> int | None:
        """The place of the first pattern that none of `texts` holds; None if all are there."""
        for place, pattern in enumerate(self._patterns):
            if not any(pattern.search(text) is not None for text in texts):
                return place
        return None
