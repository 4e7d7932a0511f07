"""The token bucket: never more than a minute's worth and what has come since."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import pytest
from hypothesis import given

from sidecar.admission.bucket import Bucket

STEPS = st.lists(
    st.tuples(st.floats(-5.0, 90.0), st.floats(0.0, 40.0), st.floats(0.0, 1.0)), max_size=40
)
"""Of each: seconds until it, what is asked, and the share of it that turned out to be needed."""


@given(per_minute=st.floats(1.0, 1000.0), steps=STEPS)
def test_never_more_than_a_burst_and_the_rate(
    per_minute: float, steps: list[tuple[float, float, float]]
) -> None:
    """Whatever is asked, given back and whenever; a clock that goes back gives nothing."""
    bucket, now_s, latest_s, given_out = Bucket(per_minute, 0.0), 0.0, 0.0, 0.0
    for wait_s, amount, share in steps:
        now_s += wait_s
        latest_s = max(latest_s, now_s)
        if bucket.wait_s(amount, now_s) == 0.0:
            bucket.take(amount)
            bucket.take(amount * share - amount)  # settled
            given_out += amount * share
        assert given_out <= per_minute + latest_s * per_minute / 60.0 + 1e-6


@given(per_minute=st.floats(1.0, 1000.0), taken=st.floats(0.0, 1.0), asked=st.floats(0.0, 1.0))
def test_the_wait_told_is_the_wait_needed(per_minute: float, taken: float, asked: float) -> None:
    """Neither a moment too early nor a second too late."""
    bucket = Bucket(per_minute, 0.0)
    bucket.take(taken * per_minute)
    wait_s = bucket.wait_s(asked * per_minute, 0.0)
    if wait_s > 1e-3:
        assert bucket.wait_s(asked * per_minute, wait_s * 0.9) > 0.0
    assert bucket.wait_s(asked * per_minute, wait_s) == pytest.approx(0.0, abs=1e-6)


def test_what_was_used_beyond_the_reservation_is_owed() -> None:
    """The next one waits for it."""
    bucket = Bucket(60.0, 0.0)
    bucket.take(90.0)
    assert bucket.wait_s(1.0, 0.0) == pytest.approx(31.0)


def test_more_than_a_minutes_worth_is_never_there() -> None:
    """Who waits for it would wait for ever."""
    assert Bucket(60.0, 0.0).wait_s(61.0, 1e9) == math.inf


def test_another_limit_keeps_what_was_taken() -> None:
    """A reload is no way to a fresh minute."""
    bucket = Bucket(60.0, 0.0)
    bucket.take(60.0)
    bucket.resize(600.0)
    assert bucket.held(0.0) == 0.0
    bucket.resize(6.0)
    assert bucket.held(60.0) == 6.0
