"""Retries: which faults, after how long, and never more than the budget holds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import ProviderError, UpstreamGarbled
from sidecar.providers.errors import (
    CallerAtFault,
    CallerRefused,
    KeyRefused,
    StreamBroken,
    UpstreamBusy,
    UpstreamShut,
    UpstreamTooSlow,
    UpstreamUnreachable,
)
from sidecar.replicas.retries import (
    BASE_S,
    CAP_S,
    FLOOR,
    FLOOR_PER_S,
    RetryBudget,
    may_retry,
    wait_s,
)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        *(
            pytest.param(UpstreamBusy("u", n, None), "again", id=str(n))
            for n in (408, 429, 500, 529)
        ),
        *(pytest.param(UpstreamBusy("u", n, None), "never", id=str(n)) for n in (302, 402, 410)),
        pytest.param(UpstreamUnreachable("u"), "again", id="unreachable"),
        pytest.param(UpstreamTooSlow("u"), "again", id="slow"),
        pytest.param(UpstreamGarbled("u"), "again", id="garbled"),
        pytest.param(CallerAtFault("u", 400, None), "never", id="callers-fault"),
        pytest.param(KeyRefused("u", 401), "never", id="our-key"),
        pytest.param(CallerRefused("u", 429, None), "never", id="callers-key"),
        pytest.param(UpstreamShut("u"), "never", id="shut"),
        pytest.param(StreamBroken("u"), "never", id="words-were-sent"),
    ],
)
def test_what_may_pass_by_itself_is_tried_again(fault: ProviderError, told: str) -> None:
    """Nothing else: the rest would be refused again, or said twice."""
    assert may_retry(fault) == (told == "again")


@given(number=st.integers(0, 40), die=st.floats(0.0, 1.0, exclude_max=True))
def test_the_wait_is_full_jitter_under_a_rising_roof(number: int, die: float) -> None:
    """Anything from nothing to the roof, which doubles up to its cap."""
    waited_s = wait_s(UpstreamUnreachable("u"), number, die)
    assert 0.0 <= waited_s <= min(CAP_S, BASE_S * 2**number)


def test_what_the_upstream_asked_for_comes_on_top() -> None:
    """Never earlier than it said, and not all at the same instant."""
    fault = UpstreamBusy("u", 429, None, None, 7.0)
    assert wait_s(fault, 0, 0.0) == 7.0
    assert wait_s(fault, 0, 0.5) == 7.25


STEPS = st.lists(
    st.tuples(st.floats(0.0, 5.0), st.integers(1, 20), st.integers(0, 40)), max_size=30
)


@given(ratio=st.floats(0.0, 1.0), steps=STEPS)
def test_a_budget_never_gives_more_than_its_share_and_its_floor(
    ratio: float, steps: list[tuple[float, int, int]]
) -> None:
    """Whatever is asked of it: further calls <= requests x ratio + floor + floor per second."""
    budget, now_s, requests, given_out = RetryBudget(ratio, 0.0), 0.0, 0, 0
    for passed_s, came, wanted in steps:
        now_s += passed_s
        for _ in range(came):
            budget.deposit(now_s)
            requests += 1
        given_out += sum(budget.withdraw(now_s) for _ in range(wanted))
    assert given_out <= requests * ratio + FLOOR + now_s * FLOOR_PER_S + 1e-6
