"""Token counts in, dollars out."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

TOKENS_PER_MTOK: Final = Decimal(1_000_000)

CHARACTERS_PER_TOKEN: Final = 4
"""Source: the measuring data counts tokens so (its README), and OpenAI's help page on tokens says
the same of English text. Only estimates before a call rest on it; bills rest on the usage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a model costs, in USD per million tokens.

    Raises:
        ValueError: A price is negative.
    """

    in_usd_per_mtok: Decimal = Decimal(0)
    out_usd_per_mtok: Decimal = Decimal(0)

    def __post_init__(self) -> None:
        if self.in_usd_per_mtok < 0 or self.out_usd_per_mtok < 0:
            raise ValueError("a price must not be negative")


def cost(price: Price, tokens_in: int, tokens_out: int) -> Decimal:
    """USD for one call: `cost(Price(2.5, 10), 1000, 500) == Decimal("0.0075")`."""
    return (
        price.in_usd_per_mtok * tokens_in + price.out_usd_per_mtok * tokens_out
    ) / TOKENS_PER_MTOK


def estimated_tokens(text: str) -> int:
    """Tokens that `text` is likely to make, at least 1, by its length alone."""
    return max(1, len(text) // CHARACTERS_PER_TOKEN)
