"""Evidence: intervals against sums done the long way, and an alarm that keeps its word."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.evidence import (
    ALARM_ODDS,
    CONFIDENCE,
    PRIOR_HITS,
    Alarm,
    beta_below,
    observed,
    shrunk,
    shrunk_mean,
    upper_bound,
)

COUNTS = st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
SHARES = st.floats(0.001, 0.999)


def at_most(wrong: int, total: int, share: float) -> float:
    """Chance of `wrong` or fewer among `total`, added up term by term."""
    terms = (math.comb(total, k) * share**k * (1 - share) ** (total - k) for k in range(wrong + 1))
    return math.fsum(terms)


@given(COUNTS, SHARES)
def test_the_beta_distribution_is_the_binomials_other_side(
    counts: tuple[int, int], share: float
) -> None:
    """P(Beta(w + 1, n - w) < p) = P(Binomial(n, p) > w)."""
    wrong, total = counts
    if wrong < total:
        expected = 1 - at_most(wrong, total, share)
        assert beta_below(share, wrong + 1, total - wrong) == pytest.approx(expected, abs=1e-9)


@given(COUNTS)
def test_a_bound_is_where_so_few_would_be_a_surprise(counts: tuple[int, int]) -> None:
    """At both ends of the interval half of what is left of the confidence remains."""
    wrong, total = counts
    estimate, tail = observed(wrong, total), (1 - CONFIDENCE) / 2
    assert estimate.lower <= estimate.value <= estimate.upper
    if wrong < total:
        assert at_most(wrong, total, estimate.upper) == pytest.approx(tail, abs=1e-6)
        assert upper_bound(wrong, total, 1 - tail) == estimate.upper
    if wrong:
        assert 1 - at_most(wrong - 1, total, estimate.lower) == pytest.approx(tail, abs=1e-6)


def test_nothing_counted_says_nothing() -> None:
    """Anything between none and all may be wrong."""
    estimate = observed(0, 0)
    assert math.isnan(estimate.value)
    assert (estimate.lower, estimate.upper) == (0.0, 1.0)


@given(COUNTS, st.floats(0.001, 0.2))
def test_a_shrunk_estimate_lies_between_prior_and_count(
    counts: tuple[int, int], prior: float
) -> None:
    """It is the mean of a hundred hits at the prior's rate and those counted."""
    wrong, total = counts
    naive = (PRIOR_HITS * prior + wrong) / (PRIOR_HITS + total)
    estimate = shrunk(prior, wrong, total)
    assert estimate.value == pytest.approx(naive)
    assert shrunk_mean(prior, wrong, total) == pytest.approx(naive)
    assert min(prior, wrong / total) <= naive + 1e-12
    assert naive <= max(prior, wrong / total) + 1e-12
    assert estimate.lower < estimate.upper


@given(st.floats(0.001, 0.5), st.floats(0.0, 1.0))
def test_the_alarm_expects_no_gain_within_the_bound(bound: float, part: float) -> None:
    """What chance of a false ring rests on: no ratio's mean exceeds 1 where the bound is kept."""
    rate = bound * part
    right, wrong = Alarm(bound), Alarm(bound)
    for if_right, if_wrong in zip(right._if_right, wrong._if_wrong, strict=True):
        assert (1 - rate) * math.exp(if_right) + rate * math.exp(if_wrong) <= 1 + 1e-12


def test_wrong_throughout_rings_at_the_fourth() -> None:
    """However long all went well before."""
    alarm = Alarm(0.02)
    for _ in range(100_000):
        alarm.right()
    for expected in (False, False, False, True):
        alarm.wrong()
        assert alarm.is_ringing is expected


@pytest.mark.parametrize(
    ("rate", "within"),
    [pytest.param(0.5, 40, id="half"), pytest.param(0.1, 500, id="a-tenth")],
)
def test_a_poisoned_stream_rings_soon(rate: float, within: int) -> None:
    """Of two hundred streams, all ring within so many hits."""
    assert max(rings_at(rate, seed, 10_000) for seed in range(200)) <= within


def test_a_stream_at_the_bound_seldom_rings() -> None:
    """At the very bound, n hits ring with a chance of n / ALARM_ODDS at most: here 2 of 100."""
    streams, hits = 100, 2_000
    false = sum(rings_at(0.02, seed, hits) <= hits for seed in range(streams))
    # Poisson with mean 2: more than 8 come about in 2 of 10,000 runs; the seeds are fixed.
    assert false <= 8
    assert streams * hits / ALARM_ODDS == 2


def rings_at(rate: float, seed: int, hits: int) -> int:
    dice, alarm = np.random.default_rng(seed), Alarm(0.02)
    for number in range(1, hits + 1):
        (alarm.wrong if dice.random() < rate else alarm.right)()
        if alarm.is_ringing:
            return number
    return hits + 1
