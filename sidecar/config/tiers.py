"""One `[[tiers]]` table in, a rung's settings out, checked by themselves."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from router.pricing import Price
from router.tiers import CAPABILITIES, Tier
from sidecar.replicas.balance import Balance
from sidecar.replicas.hedge import Hedge


@dataclass(frozen=True, slots=True, kw_only=True)
class TierConfig:
    """One rung of the ladder; `[[tiers]]` stand in rising order.

    Attributes:
        name: The word that callers, headers and artifacts use.
        model: The vendor's model id.
        upstreams: Who is asked for it, in fallback order.
        balance: Who of them is asked first: `order` (the next where one fails), `weighted`, or
            `latency`.
        hedge_after: A whole answer that takes longer is asked of a second upstream too: seconds,
            or `p50` to `p99` of the first one's last answers; empty asks nobody.
        price_in_usd_per_mtok: Per million prompt tokens.
        price_out_usd_per_mtok: Per million completion tokens.
        context_tokens: Longest prompt plus answer; None if not stated.
        capabilities: What it can do beyond plain text; unset means everything.

    Raises:
        ValueError: A capability is unknown, a price negative or a list empty.
    """

    name: str
    model: str
    upstreams: tuple[str, ...]
    balance: Balance = "order"
    hedge_after: float | str = ""
    price_in_usd_per_mtok: Decimal = Decimal(0)
    price_out_usd_per_mtok: Decimal = Decimal(0)
    context_tokens: int | None = None
    capabilities: frozenset[str] = CAPABILITIES

    def __post_init__(self) -> None:
        if not self.upstreams:
            raise ValueError("upstreams must not be empty")
        if strange := sorted(self.capabilities - CAPABILITIES):
            raise ValueError(f"capabilities: {strange[0]!r} is none of {sorted(CAPABILITIES)}")
        if self.context_tokens is not None and self.context_tokens <= 0:
            raise ValueError("context_tokens must be positive")
        Hedge.parse(self.hedge_after)  # refuses what is no delay
        self.tier()  # refuses a negative price

    def tier(self) -> Tier:
        """What the router knows of it."""
        return Tier(
            name=self.name,
            model=self.model,
            price=Price(
                in_usd_per_mtok=self.price_in_usd_per_mtok,
                out_usd_per_mtok=self.price_out_usd_per_mtok,
            ),
            context_tokens=self.context_tokens,
            capabilities=self.capabilities,
        )
