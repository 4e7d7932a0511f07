"""Cascade: what holds whatever the tiers do."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from router.cascade import Cascade, Do, Event, Step

_Told = list[tuple[Event, int]]
_TOLD = st.lists(st.tuples(st.sampled_from(Event), st.integers(0, 5)), min_size=7, max_size=7)
_ALLOWED = st.sets(st.integers(0, 4), min_size=1).map(sorted)


def _climb(allowed: list[int], start: int, told: _Told) -> tuple[list[int], list[Event], Step]:
    """The places asked, the events told, and the last step."""
    cascade = Cascade(entry=allowed[start % len(allowed)], allowed=allowed)
    asked, heard, step = [cascade.place], [], Step(Do.ASK, cascade.place)
    for event, better in told:
        heard.append(event)
        step = cascade.after(event, better if event is Event.DOUBTFUL else None)
        if step.do is not Do.ASK:
            break
        asked.append(cascade.place)
    return asked, heard, step


@given(_ALLOWED, st.integers(0, 4), _TOLD)
def test_climb_ends_and_asks_each_allowed_tier_once_at_most(
    allowed: list[int], start: int, told: _Told
) -> None:
    """Seven events end every climb of five tiers, and no tier is asked twice or unallowed."""
    asked, _, step = _climb(allowed, start, told)
    assert step.do is not Do.ASK
    assert len(set(asked)) == len(asked)
    assert set(asked) <= set(allowed)


@given(_ALLOWED, st.integers(0, 4), _TOLD)
def test_only_a_failed_tier_sends_the_request_down(
    allowed: list[int], start: int, told: _Told
) -> None:
    """After an answer the climb rises; it falls only from a failure, with no answer held."""
    asked, heard, _ = _climb(allowed, start, told)
    for step, (before, after) in enumerate(pairwise(asked)):
        if after < before:
            assert set(heard[: step + 1]) == {Event.FAILED}


@given(_ALLOWED, st.integers(0, 4), _TOLD)
def test_an_answer_once_held_is_served(allowed: list[int], start: int, told: _Told) -> None:
    """The climb gives up only if every allowed tier was asked and failed."""
    asked, heard, step = _climb(allowed, start, told)
    if step.do is Do.GIVE_UP:
        assert set(heard) == {Event.FAILED}
        assert set(asked) == set(allowed)
