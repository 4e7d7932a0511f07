"""Load: a slow answer is remembered at once and forgotten by and by."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.replicas.load import DECAY_S, FAULT_S, Load


def test_a_peak_counts_at_once_and_fades() -> None:
    """One slow answer among quick ones; after many decay times it is nothing."""
    load = Load()
    for second in range(20):
        load.answered(0.1, float(second), whole=True)
    load.answered(3.0, 20.0, whole=True)
    assert load.latency_s(20.0) == 3.0
    assert load.latency_s(20.0 + DECAY_S) == pytest.approx(3.0 / 2.718, rel=0.01)
    assert load.latency_s(20.0 + 20 * DECAY_S) < 0.001


def test_a_failure_is_slow_however_fast_it_came() -> None:
    """Or whoever refuses at once would be sent everything."""
    load = Load()
    load.failed(0.001, 0.0)
    assert load.latency_s(0.0) == FAULT_S


def test_what_is_under_way_counts() -> None:
    """One more call to a busy upstream costs more; an unknown one is tried by one call first."""
    load = Load()
    assert load.cost(0.0) == 0.0
    load.in_flight = 1
    assert load.cost(0.0) == 2 * FAULT_S
    load.answered(1.0, 0.0, whole=True)
    load.in_flight = 2
    assert load.cost(0.0) == 3.0


@given(st.lists(st.floats(0.01, 10.0), min_size=20, max_size=128))
def test_a_percentile_is_one_of_the_times_and_covers_its_share(times: list[float]) -> None:
    """At least that share of the last whole answers came within it."""
    load = Load()
    for time_s in times:
        load.answered(time_s, 0.0, whole=True)
    found = load.quantile_s(0.95)
    assert found in times
    assert sum(time_s <= (found or 0.0) for time_s in times) >= 0.95 * len(times)


def test_giving_up_on_the_slow_ones_does_not_sink_the_percentile() -> None:
    """One in ten takes ten seconds, and is given up a moment after the 90th percentile."""
    load = Load()
    for number in range(1_000):
        delay_s = load.quantile_s(0.9)
        if number % 10:
            load.answered(1.0 + number % 7 / 10, 0.0, whole=True)
        elif delay_s is None:
            load.answered(10.0, 0.0, whole=True)
        else:
            load.overtaken(delay_s + 0.01, 0.0)
    assert (load.quantile_s(0.9) or 0.0) >= 1.6


def test_few_answers_say_nothing_of_their_tail() -> None:
    """Nor do streams, of which only the beginning was timed."""
    load = Load()
    for _ in range(19):
        load.answered(1.0, 0.0, whole=True)
    load.answered(1.0, 0.0, whole=False)
    assert load.quantile_s(0.95) is None


def test_usual_time_is_a_median_of_a_few() -> None:
    """One odd answer does not move it, and before there are five nothing is said."""
    load = Load()
    for spent_s in (1.0, 1.0, 9.0, 1.0):
        load.answered(spent_s, 0.0, whole=True)
    assert load.usual_s() == 0.0
    load.answered(1.2, 0.0, whole=True)
    assert load.usual_s() == 1.0
