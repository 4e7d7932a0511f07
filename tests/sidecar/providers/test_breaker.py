"""The breaker: when it opens, how it closes, and never two trials at once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sidecar.providers.breaker import Breaker, BreakerConfig, State, Ticket

CONFIG = BreakerConfig(
    run=3, failure_ratio=0.5, min_calls=10, window_s=10.0, open_s=5.0, max_open_s=20.0
)


def admitted(breaker: Breaker, now_s: float) -> Ticket:
    ticket = breaker.admit(now_s)
    assert ticket is not None
    return ticket


def opened(at_s: float = 0.0) -> Breaker:
    breaker = Breaker(CONFIG)
    for _ in range(CONFIG.run):
        breaker.failed(admitted(breaker, at_s), at_s)
    assert breaker.state(at_s) is State.OPEN
    return breaker


def test_a_run_of_failures_opens_it() -> None:
    """Three in a row; a success between them begins the run anew."""
    breaker = Breaker(CONFIG)
    for fails in (True, True, False, True, True):
        ticket = admitted(breaker, 0.0)
        (breaker.failed if fails else breaker.succeeded)(ticket, 0.0)
    assert breaker.state(0.0) is State.CLOSED
    breaker.failed(admitted(breaker, 0.0), 0.0)
    assert breaker.admit(0.0) is None


def test_a_share_of_failures_opens_it_once_there_are_enough_calls() -> None:
    """Every second call fails: nine calls say nothing, ten do."""
    breaker = Breaker(CONFIG)
    for number in range(9):
        ticket = admitted(breaker, 0.0)
        (breaker.failed if number % 2 == 0 else breaker.succeeded)(ticket, 0.0)
    assert breaker.state(0.0) is State.CLOSED
    breaker.failed(admitted(breaker, 0.0), 0.0)
    assert breaker.state(0.0) is State.OPEN


def test_failures_of_long_ago_do_not_count() -> None:
    """What lies before the window is forgotten."""
    breaker = Breaker(CONFIG)
    for number in range(20):
        now_s = number * 6.0
        ticket = admitted(breaker, now_s)
        (breaker.failed if number % 2 == 0 else breaker.succeeded)(ticket, now_s)
    assert breaker.state(120.0) is State.CLOSED


def test_a_trial_that_answers_closes_it() -> None:
    """Nobody is let through until the time is over, then one, then all."""
    breaker = opened()
    assert breaker.retry_after_s(1.0) == 4.0
    assert breaker.admit(4.9) is None
    trial = admitted(breaker, 5.0)
    assert breaker.state(5.0) is State.HALF_OPEN
    assert breaker.admit(5.0) is None
    breaker.succeeded(trial, 6.0)
    assert breaker.state(6.0) is State.CLOSED
    assert not admitted(breaker, 6.0).is_trial


def test_each_trial_that_fails_doubles_the_time() -> None:
    """5, 10, 20 seconds and no more; an answer begins anew."""
    breaker, now_s, waits = opened(), 0.0, []
    for _ in range(4):
        waits.append(breaker.retry_after_s(now_s))
        now_s += waits[-1]
        breaker.failed(admitted(breaker, now_s), now_s)
    assert waits == [5.0, 10.0, 20.0, 20.0]


def test_the_upstreams_own_wish_is_heard_within_bounds() -> None:
    """`Retry-After: 12` keeps it open for twelve seconds, and for an hour at most its longest."""
    for wish_s, kept_s in ((12.0, 12.0), (3600.0, 20.0), (0.0, 5.0)):
        breaker = Breaker(CONFIG)
        for _ in range(3):
            breaker.failed(admitted(breaker, 0.0), 0.0, wish_s)
        assert breaker.retry_after_s(0.0) == kept_s


def test_a_refused_key_opens_it_at_once_and_for_long() -> None:
    """One refusal is enough: a key does not mend itself."""
    breaker = Breaker(CONFIG)
    breaker.refused_key(admitted(breaker, 0.0), 0.0)
    assert breaker.retry_after_s(0.0) == CONFIG.key_open_s


def test_a_trial_that_was_left_is_given_to_the_next() -> None:
    """A caller who goes away must not keep it half open for ever."""
    breaker = opened()
    breaker.left(admitted(breaker, 5.0))
    assert admitted(breaker, 5.0).is_trial


def test_what_was_asked_before_it_opened_says_nothing_afterwards() -> None:
    """A slow success of before must not close it, nor a slow failure end a trial."""
    breaker = Breaker(CONFIG)
    early, late = admitted(breaker, 0.0), admitted(breaker, 0.0)
    for _ in range(3):
        breaker.failed(admitted(breaker, 0.0), 0.0)
    breaker.succeeded(early, 1.0)
    assert breaker.state(1.0) is State.OPEN
    admitted(breaker, 5.0)
    breaker.failed(late, 5.0)
    breaker.left(late)
    assert breaker.admit(5.0) is None


def test_off_lets_everything_through() -> None:
    """`enabled = false` counts and never opens."""
    breaker = Breaker(BreakerConfig(enabled=False, run=1))
    for _ in range(9):
        breaker.failed(admitted(breaker, 0.0), 0.0)
    breaker.refused_key(admitted(breaker, 0.0), 0.0)
    assert breaker.state(0.0) is State.CLOSED


@pytest.mark.parametrize("name", ["run", "min_calls", "window_s", "open_s", "failure_ratio"])
def test_odd_settings_are_refused(name: str) -> None:
    """Each by its name."""
    odd: dict[str, Any] = {name: 0}
    with pytest.raises(ValueError, match=name):
        BreakerConfig(**odd)


class BreakerMachine(RuleBasedStateMachine):
    """Calls in any order of beginning and end, at any pace."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker(CONFIG)
        self.now_s = 0.0
        self.out: list[Ticket] = []

    @rule(seconds=st.floats(0.0, 30.0))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds

    @rule()
    def somebody_asks(self) -> None:
        may = self.breaker.may_admit(self.now_s)
        ticket = self.breaker.admit(self.now_s)
        assert may == (ticket is not None)
        if ticket is not None:
            self.out.append(ticket)

    @precondition(lambda self: self.out)
    @rule(data=st.data(), end=st.sampled_from(["succeeded", "failed", "left", "refused_key"]))
    def a_call_ends(self, data: st.DataObject, end: str) -> None:
        ticket = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
        instant = () if end == "left" else (self.now_s,)
        getattr(self.breaker, end)(ticket, *instant)

    @invariant()
    def never_two_trials(self) -> None:
        """Of all calls under way, at most one is a trial of this term."""
        term = self.breaker._term
        assert sum(ticket.is_trial and ticket.term == term for ticket in self.out) <= 1

    @invariant()
    def it_never_stays_shut(self) -> None:
        """With no trial out, the time alone lets somebody through again."""
        term = self.breaker._term
        if not any(ticket.is_trial and ticket.term == term for ticket in self.out):
            longest_s = max(CONFIG.max_open_s, CONFIG.key_open_s)
            assert self.breaker.may_admit(self.now_s + longest_s)


TestBreakerMachine = BreakerMachine.TestCase
