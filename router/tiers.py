"""The ladder: which tiers there are, in rising order, and which of them may take a request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from router.errors import LadderError
from router.pricing import Price

CAPABILITIES: Final = frozenset({"vision", "audio", "tools", "json_schema", "logprobs", "n"})
"""What a request may need of a tier beyond plain text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """One rung.

    Attributes:
        name: The word that callers, headers and artifacts use (`small`).
        model: The vendor's model id.
        price: What it costs.
        context_tokens: Longest prompt plus answer that it takes; None if not stated.
        capabilities: What it can do beyond plain text; a subset of CAPABILITIES.
    """

    name: str
    model: str
    price: Price = field(default_factory=Price)
    context_tokens: int | None = None
    capabilities: frozenset[str] = CAPABILITIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What one request needs of whichever tier takes it.

    Attributes:
        capabilities: A subset of CAPABILITIES.
        tokens: Estimated prompt tokens plus the answer's limit, if the caller set one.
    """

    capabilities: frozenset[str] = frozenset()
    tokens: int = 0


class Ladder:
    """The tiers in rising order; a tier's place on it is its index, 0 the smallest."""

    def __init__(self, tiers: Sequence[Tier]) -> None:
        names = [tier.name for tier in tiers]
        if not names:
            raise LadderError("a ladder needs at least one tier")
        if len(set(names)) < len(names):
            raise LadderError(f"two tiers bear the same name: {names}")
        self.tiers: Final = tuple(tiers)
        self._places = {name: place for place, name in enumerate(names)}

    def __len__(self) -> int:
        return len(self.tiers)

    def __getitem__(self, place: int) -> Tier:
        return self.tiers[place]

    @property
    def top(self) -> int:
        """Place of the largest tier."""
        return len(self.tiers) - 1

    @property
    def names(self) -> tuple[str, ...]:
        """The tiers' names, smallest first."""
        return tuple(self._places)

    def find_place(self, name: str) -> int | None:
        """Place of the tier called `name`, or None."""
        return self._places.get(name)

    def able(self, needs: Needs, *, floor: int = 0, ceiling: int | None = None) -> tuple[int, ...]:
        """Places between floor and ceiling, both included, that can do what is needed.

        Empty if none can: the caller then hears so, for no tier would answer rightly.
        """
        last = self.top if ceiling is None else ceiling
        return tuple(
            place
            for place in range(floor, last + 1)
            if needs.capabilities <= self.tiers[place].capabilities
            and needs.tokens <= (self.tiers[place].context_tokens or needs.tokens)
        )
