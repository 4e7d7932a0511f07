"""Two questions in, a second opinion out: what the cache asks of a network it may not import.

The verdict is a logit: above 0 the answer to the one serves the other, more likely than not. It is
one more input of the risk, and never a decision by itself.
"""

from __future__ import annotations

from typing import Final, Protocol

LARGEST: Final = 6.0
"""Chosen: verdicts are cut at it and its opposite, so that one sure error cannot outweigh all that
the facets say."""


class Verifier(Protocol):
    """A network that reads both questions together. One thread owns it."""

    @property
    def digest(self) -> str:
        """Of its weights: a risk model is fitted on one verifier's verdicts."""
        ...

    def verdict(self, kept: str, asked: str) -> float | None:
        """The logit that the answer to `kept` serves `asked`; None: no verdict, which is a no."""
        ...


def clipped(verdict: float) -> float:
    """The verdict as the risk is told it."""
    return min(LARGEST, max(-LARGEST, verdict))
