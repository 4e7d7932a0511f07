"""What requests are to cost or to be worth on average in, the price of quality that holds it out.

A `Goal` says what is wanted; `Pacer` moves the price (points of quality that a dollar must buy) as
each request's bill comes in:

1. What was overspent so far, in requests' worth, is the *debt*; the logarithm of the price rises by
   PULL for each request's worth of it. That alone is dual ascent: it holds the mean cost, but keeps
   whatever debt the price in force calls for.
2. So the logarithm's base creeps after the debt, by CREEP a request, until the debt is paid: then
   what was spent in all is what was allowed in all, whatever the traffic was.

Rejected: to bisect the price anew on the last rows now and then; it must foretell each row's cost
at each price, and what it foretells is off by just what the controller is there to correct.

Source: the dual of "most quality at a bounded mean cost" (Dekoninck et al., 2024), as a
proportional-integral controller; CREEP = PULL² / 4 damps it critically where a unit of the
logarithm moves the mean cost by its own size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

PULL: Final = 0.02
CREEP: Final = PULL * PULL / 4
"""Chosen: a request of ten times the mean cost moves the price by a fifth, and a debt is paid in
some hundred requests. Measured at this value, and at no other: `python -m train budget`, 5,000
requests, a shift of domains half way: within .5 % of the budget; see docs/router.md."""

MAX_DEBT: Final = 500.0
"""Chosen: requests' worth. What lies further back is forgiven, either way: a budget that traffic
could not use all night must not be thrown after the first requests of the morning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What is to be held; one of these at most, and 0 is unset.

    Attributes:
        budget_usd_per_1k: Mean cost of 1,000 requests that the router decides. Hits, followers and
            requests that name a tier or a quality of their own neither count nor are steered.
        quality_floor: Of what the top tier gains over the cheapest one, by the router's own
            estimates, the share to be had, in (0, 1], at the least cost.
        usd_per_right_answer: What one more right answer is worth. A point of quality over 1,000
            requests is ten of them.

    Raises:
        ValueError: A value is out of its range, or two are set.
    """

    budget_usd_per_1k: float = 0.0
    quality_floor: float = 0.0
    usd_per_right_answer: float = 0.0

    def __post_init__(self) -> None:
        told = (self.budget_usd_per_1k, self.quality_floor, self.usd_per_right_answer)
        if not all(math.isfinite(value) and value >= 0.0 for value in told):
            raise ValueError("a goal must not be negative")
        if self.quality_floor > 1.0:
            raise ValueError("quality_floor must lie in [0, 1]")
        if sum(value > 0.0 for value in told) > 1:
            raise ValueError(
                "budget_usd_per_1k, quality_floor and usd_per_right_answer exclude each other"
            )

    @property
    def is_set(self) -> bool:
        """Something is to be held."""
        return self != _UNSET


_UNSET: Final = Goal()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What one request came to.

    Attributes:
        cost_usd: Of all calls.
        gained: How much likelier the served answer suffices than the cheapest tier's would have,
            as estimated; None if nothing was.
        top_gains: The same of the top tier's.
    """

    cost_usd: float
    gained: float | None = None
    top_gains: float | None = None


@dataclass(frozen=True, slots=True)
class Range:
    """Prices of quality between which anything changes, in points a dollar, and where to begin."""

    low: float
    high: float
    start: float = 1_000.0

    def clip(self, price: float) -> float:
        """The nearest price within."""
        return min(self.high, max(self.low, price))


class Pacer:
    """Holds one goal. One owner; the price is read and the bills are handed in, in any order."""

    def __init__(self, goal: Goal, price: float, within: Range) -> None:
        """Begin at `price`."""
        self.goal: Final = goal
        self.within = within
        self._base = math.log(within.clip(price))
        self._debt = 0.0
        self._top_gains = 0.0
        self.bills = 0
        self.had = 0.0
        self.wanted = 0.0

    @property
    def price(self) -> float:
        """Points of quality that a dollar must buy now."""
        if self.goal.usd_per_right_answer:
            return 1.0 / self.goal.usd_per_right_answer
        return self.within.clip(math.exp(min(700.0, self._base + PULL * self._debt)))

    @property
    def debt(self) -> float:
        """Requests' worth overspent, or bought beyond the floor."""
        return self._debt

    def fit(self, within: Range) -> None:
        """Another artifact is in force: what was learnt stays, as far as its prices reach."""
        self.within = within
        self._base = math.log(within.clip(math.exp(self._base)))

    def saw(self, bill: Bill) -> None:
        """One request that was decided at this pacer's price is over."""
        if self.goal.budget_usd_per_1k:
            self._count(bill.cost_usd, self.goal.budget_usd_per_1k / 1e3)
            self._owe(1e3 * bill.cost_usd / self.goal.budget_usd_per_1k - 1.0)
        elif self.goal.quality_floor and bill.gained is not None and bill.top_gains is not None:
            # What a request may gain differs in sign even: it is measured by the mean so far.
            share = max(1.0 / (self.bills + 1), PULL)
            self._top_gains += share * (bill.top_gains - self._top_gains)
            wanted = self.goal.quality_floor * bill.top_gains
            self._count(bill.gained, wanted)
            self._owe((bill.gained - wanted) / max(self._top_gains, 0.01))

    def _count(self, had: float, wanted: float) -> None:
        self.bills += 1
        self.had += had
        self.wanted += wanted

    def _owe(self, excess: float) -> None:
        self._debt = max(-MAX_DEBT, min(MAX_DEBT, self._debt + excess))
        base = self._base + CREEP * self._debt
        # A price that has reached its end moves nothing more: neither does its base.
        self._base = min(math.log(self.within.high), max(math.log(self.within.low), base))
