"""Steering: who has a goal is held to it, and what was learnt outlives a reload."""

from __future__ import annotations

from router.budget import Bill, Goal, Range
from sidecar.routing.steering import COMMON, Steering

RANGE = Range(1.0, 10_000.0, 500.0)
CHEAP, DEAR = Goal(budget_usd_per_1k=0.5), Goal(budget_usd_per_1k=2.0)


def test_a_tenants_own_goal_stands_in_the_place_of_the_common_one() -> None:
    """Tenants without one share the common one's pacer."""
    steering = Steering()
    assert steering.find("shop", RANGE) is None
    steering.know({COMMON: CHEAP, "bank": DEAR})
    shop, bank = steering.find("shop", RANGE), steering.find("bank", RANGE)
    assert shop is not None
    assert bank is not None
    assert (shop.goal, bank.goal) == (CHEAP, DEAR)
    assert steering.find("other", RANGE) is shop
    assert [name for name, _ in steering.standings()] == ["all", "bank"]
    assert steering.find("shop", None) is None


def test_what_was_learnt_outlives_a_reload_and_a_new_goal_begins_anew() -> None:
    """And another artifact's prices take what was learnt over."""
    steering = Steering()
    steering.know({COMMON: CHEAP, "bank": DEAR})
    shop, bank = steering.find("shop", RANGE), steering.find("bank", RANGE)
    assert shop is not None
    assert bank is not None
    for _ in range(20):
        shop.saw(Bill(cost_usd=0.01))
    learnt = shop.price
    steering.know({COMMON: CHEAP, "bank": CHEAP})
    assert steering.find("shop", RANGE) is shop
    assert steering.find("bank", RANGE) is not bank
    assert shop.price == learnt > RANGE.start
    wider = Range(0.5, 20_000.0, 500.0)
    assert steering.find("shop", wider) is shop
    assert shop.within == wider
    steering.know({COMMON: Goal()})
    assert steering.find("shop", RANGE) is None


def test_gauges_tell_price_and_ratio() -> None:
    """The ratio only once something was spent."""
    steering = Steering()
    steering.know({"bank": DEAR})
    bank = steering.find("bank", RANGE)
    assert bank is not None
    assert [name for name, _ in steering.prices()] == [("bank",)]
    assert list(steering.ratios()) == []
    bank.saw(Bill(cost_usd=0.004))
    assert list(steering.ratios()) == [(("bank",), 2.0)]
