"""An estimate and a price of quality in; the plans that may be taken, and what each is worth, out.

A plan is worth its gain, less the price of quality times its cost.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from router.decision import Task
from router.estimate import Estimate, Plan

STEP: Final = 0.01
"""Chosen: a caller waits for every further call, so it must gain a point besides its cost.
Measured: over the whole curve 1.97 calls a request in place of 2.08, the area within .0003."""


def payable(allowed: Iterable[int], estimate: Estimate, budget_usd: float | None) -> list[int]:
    """The allowed tiers within the budget; the cheapest one alone if none is."""
    places = list(allowed)
    if budget_usd is None:
        return places
    within = [place for place in places if estimate.cost_usd[place] <= budget_usd]
    return within or [min(places, key=lambda place: estimate.cost_usd[place])]


def in_time(estimate: Estimate, task: Task, whatever: Iterable[int] = ()) -> Estimate:
    """Less the plans that would not be done by the deadline; of `whatever` the fastest stays."""
    if task.left_s is None or not task.latency_s:
        return estimate
    fastest = min(whatever, key=lambda place: task.latency_s[place], default=None)
    gain = {
        plan: value
        for plan, value in estimate.gain.items()
        if plan == (fastest,) or sum(task.latency_s[place] for place in plan) <= task.left_s
    }
    return replace(estimate, gain=gain)


def worth(gain: float, plan: Plan, estimate: Estimate, price: float) -> float:
    """What a plan gains, less what its cost and its later calls are worth, in points of quality."""
    spent = price * sum(map(estimate.cost_usd.__getitem__, plan))
    return gain - spent - (len(plan) - 1) * step(price)


def step(price: float) -> float:
    """What one more call must gain besides its cost; nothing where only quality counts."""
    return STEP if price > 0.0 else 0.0


def best(
    places: Iterable[int], estimate: Estimate, price: float, longest: int | None = None
) -> Plan:
    """The plan of most worth among `places`; the cheapest tier if only money counts.

    Plans of more than `longest` tiers are left out, if it is given.
    """
    able = list(places)
    if price == math.inf:
        return (min(able, key=lambda place: (estimate.cost_usd[place], place)),)
    within = among(able, estimate, longest)
    return max(within, key=lambda plan: worth(estimate.gain[plan], plan, estimate, price))


def among(places: Iterable[int], estimate: Estimate, longest: int | None) -> list[Plan]:
    """The plans that ask none but `places`, of at most `longest` tiers if that is given."""
    able = set(places)
    within = [plan for plan in estimate.gain if able.issuperset(plan)]
    return [plan for plan in within if longest is None or len(plan) <= longest]


def is_final(entry: int, allowed: Iterable[int], estimate: Estimate, price: float) -> bool:
    """Whether no answer of `entry` is likely to make a tier above pay."""
    able = set(allowed)
    return price == math.inf or all(
        worth(most, plan, estimate, price) <= step(price)
        for plan, most in estimate.most_gain.get(entry, {}).items()
        if able.issuperset(plan)
    )
