"""Budget: what is spent in all is what was allowed, whatever the traffic does to the costs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.budget import MAX_DEBT, Bill, Goal, Pacer, Range

RANGE = Range(0.1, 100_000.0)


def _traffic_usd(rng: np.random.Generator, price: float, dearness: float) -> float:
    """The bill of one request where costs fall as the price of quality rises, and vary wildly."""
    mean = dearness * 0.004 / (1.0 + price / 300.0)
    return mean * float(rng.exponential())


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.5, 1.5), st.floats(0.6, 2.0), st.floats(1, 10_000))
def test_budget_is_held_within_two_percent_over_a_shift(
    seed: int, budget: float, shift: float, begin: float
) -> None:
    """5,000 requests, dearer or cheaper from half way on, from whatever price it begins at."""
    rng = np.random.default_rng(seed)
    pacer = Pacer(Goal(budget_usd_per_1k=budget), begin, RANGE)
    spent = 0.0
    for number in range(5000):
        cost_usd = _traffic_usd(rng, pacer.price, 1.0 if number < 2500 else shift)
        spent += cost_usd
        pacer.saw(Bill(cost_usd=cost_usd))
    assert 1e3 * spent / 5000 == pytest.approx(budget, rel=0.02)
    assert pacer.bills == 5000
    assert pacer.had == pytest.approx(spent)
    assert pacer.wanted == pytest.approx(5 * budget)


@given(st.lists(st.floats(0, 100), max_size=60), st.floats(1e-9, 1e9))
def test_price_stays_in_its_range_and_debt_is_bounded(bills: list[float], begin: float) -> None:
    """Whatever the bills."""
    pacer = Pacer(Goal(budget_usd_per_1k=1.0), begin, RANGE)
    for cost_usd in bills:
        pacer.saw(Bill(cost_usd=cost_usd))
        assert RANGE.low <= pacer.price <= RANGE.high
        assert abs(pacer.debt) <= MAX_DEBT


@given(st.lists(st.floats(0, 0.01), max_size=30), st.floats(0, 0.01), st.floats(0, 0.01))
def test_the_dearer_bill_never_leads_to_the_lower_price(
    before: list[float], less: float, more: float
) -> None:
    """Of two that differ in the last bill alone, the one that paid more asks more of a dollar."""
    prices = []
    for last in sorted((less, more)):
        pacer = Pacer(Goal(budget_usd_per_1k=1.0), 500.0, RANGE)
        for cost_usd in [*before, last]:
            pacer.saw(Bill(cost_usd=cost_usd))
        prices.append(pacer.price)
    assert prices[0] <= prices[1]


@pytest.mark.parametrize("shift", [0.05, 0.4])
def test_floor_is_held_by_the_estimates(shift: float) -> None:
    """The share of the top tier's gain that is had comes out as the floor, over a shift too."""
    pacer, rng = Pacer(Goal(quality_floor=0.9), 500.0, RANGE), np.random.default_rng(1)
    for number in range(5000):
        top = float(rng.uniform(-0.1, 0.5)) + (shift if number >= 2500 else 0.0)
        pacer.saw(Bill(cost_usd=0, gained=top * 1.1 / (1.0 + pacer.price / 3e3), top_gains=top))
    assert pacer.had / pacer.wanted == pytest.approx(1.0, abs=0.02)
    pacer.saw(Bill(cost_usd=0.1))  # of which nothing was estimated
    assert pacer.bills == 5000


def test_price_told_is_the_price() -> None:
    """A right answer that is worth half a cent makes a dollar buy two hundred of them."""
    pacer = Pacer(Goal(usd_per_right_answer=0.005), 7.0, RANGE)
    pacer.saw(Bill(cost_usd=1.0))
    assert pacer.price == pytest.approx(200.0)


def test_another_artifacts_prices_bound_what_was_learnt() -> None:
    """After a change of artifact the price stays where it was, as far as the new range goes."""
    pacer = Pacer(Goal(budget_usd_per_1k=1.0), 5_000.0, RANGE)
    pacer.fit(Range(0.1, 90_000.0))
    assert pacer.price == pytest.approx(5_000.0)
    pacer.fit(Range(0.1, 100.0))
    assert pacer.price == pytest.approx(100.0)


@pytest.mark.parametrize(
    "told",
    [
        pytest.param({"budget_usd_per_1k": -1.0}, id="negative"),
        pytest.param({"usd_per_right_answer": math.inf}, id="endless"),
        pytest.param({"quality_floor": 1.5}, id="more than all"),
        pytest.param({"quality_floor": 0.5, "budget_usd_per_1k": 1.0}, id="two"),
    ],
)
def test_goal_that_cannot_be_held_is_refused(told: dict[str, float]) -> None:
    """Each value in its range, and one goal at a time."""
    with pytest.raises(ValueError, match=r"goal|quality_floor"):
        Goal(**told)
    assert not Goal().is_set
