"""Intervals and percentiles, against known values and laws."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.measures.intervals import bootstrap, exact, percentile, weighted, wilson


def test_wilson_at_zero_of_ten_is_the_textbook_value() -> None:
    """Upper end z**2 / (n + z**2)."""
    rate = wilson(0, 10)
    assert rate.low == 0.0
    assert rate.high == pytest.approx(0.2775, abs=1e-4)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_an_interval_holds_its_rate(counts: tuple[int, int]) -> None:
    """0 <= low <= value <= high <= 1."""
    rate = wilson(*counts)
    assert 0.0 <= rate.low <= rate.value + 1e-12
    assert rate.value - 1e-12 <= rate.high <= 1.0


def test_nothing_counted_is_no_rate() -> None:
    """NaN, shown as a dash."""
    assert math.isnan(wilson(0, 0).value)
    assert str(wilson(0, 0)) == "-"
    assert math.isnan(weighted([], []).value)


@given(st.lists(st.booleans(), min_size=1, max_size=50), st.floats(0.1, 10.0))
def test_equal_weights_weigh_nothing(hits: list[bool], weight: float) -> None:
    """Weighted by one number, it is the plain rate."""
    plain, same = wilson(sum(hits), len(hits)), weighted(hits, [weight] * len(hits))
    assert same.value == pytest.approx(plain.value)
    assert same.high == pytest.approx(plain.high)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.floats(0.0, 1.0))
def test_a_percentile_is_one_of_the_samples(samples: list[float], share: float) -> None:
    """Nearest rank: never between two."""
    assert percentile(samples, share) in samples
    assert percentile(samples, 1.0) == max(samples)


def test_the_bootstrap_of_a_constant_is_that_constant() -> None:
    """And a mean's interval holds the mean."""
    assert bootstrap(10, lambda _: 0.5, rounds=20, seed=0) == (0.5, 0.5)
    values = [0.0] * 50 + [1.0] * 50
    low, high = bootstrap(
        100, lambda places: sum(values[p] for p in places) / len(places), rounds=300, seed=0
    )
    assert 0.3 < low < 0.5 < high < 0.7


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_exact_interval_is_where_so_few_or_so_many_would_be_a_surprise(
    counts: tuple[int, int],
) -> None:
    """Half of what 95 % leave remains at either end; at none and at all of them it is one-sided."""
    hits, total = counts
    rate = exact(hits, total)
    assert 0.0 <= rate.low <= rate.value <= rate.high <= 1.0

    def at_most(most: int, share: float) -> float:
        terms = (
            math.comb(total, k) * share**k * (1 - share) ** (total - k) for k in range(most + 1)
        )
        return math.fsum(terms)

    if hits < total:
        assert at_most(hits, rate.high) == pytest.approx(0.025, abs=1e-6)
    if hits:
        assert 1 - at_most(hits - 1, rate.low) == pytest.approx(0.025, abs=1e-6)
