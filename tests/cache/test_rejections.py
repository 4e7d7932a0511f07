"""Rejections: the pair and what looks more like it than like itself, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.rejections import MAX_PAIRS, MAX_PARTITION_PAIRS, MAX_TEXT, Question, Rejections

HERE, THERE = b"p" * 20, b"q" * 20


def at(degrees: float, text: str = "what is it") -> Question:
    """A question whose unit vector lies in the plane."""
    angle = np.deg2rad(degrees)
    return Question(text, np.array([np.cos(angle), np.sin(angle)], dtype=np.float32))


KEPT, ASKED = at(0), at(20)


@pytest.fixture
def rejections() -> Rejections:
    held = Rejections()
    held.add(HERE, ASKED, KEPT)
    return held


@pytest.mark.parametrize(
    ("asked", "kept", "is_held"),
    [
        pytest.param(20, 0, True, id="the-pair"),
        pytest.param(0, 20, True, id="the-pair-the-other-way-round"),
        pytest.param(25, 0, True, id="nearer-to-the-rejected-question"),
        pytest.param(22, -2, True, id="beside-both"),
        pytest.param(5, 0, False, id="nearer-to-the-entrys-own"),
        pytest.param(-10, 0, False, id="on-the-entrys-other-side"),
        pytest.param(24, 20, False, id="two-on-the-rejected-side"),
        pytest.param(120, 100, False, id="far-away"),
    ],
)
def test_a_pair_stands_for_its_neighbourhood(
    rejections: Rejections, *, asked: float, kept: float, is_held: bool
) -> None:
    """Who lies nearer to it than to one another is refused with it."""
    assert rejections.holds(HERE, at(asked), at(kept)) is is_held


def test_what_the_guard_tells_apart_is_another_pair(rejections: Rejections) -> None:
    """The same likeness about another number was never rejected."""
    rejections.add(THERE, at(20, "how much is 12 plus 7"), at(0, "what is 12 plus 7"))
    asked, kept = at(21, "how much is 13 plus 7"), at(-1, "what is 13 plus 7")
    assert not rejections.holds(THERE, asked, kept)
    asked, kept = at(21, "tell me 12 plus 7"), at(-1, "what does 12 plus 7 make")
    assert rejections.holds(THERE, asked, kept)


def test_a_rejection_stays_in_its_partition(rejections: Rejections) -> None:
    """Another partition is another question."""
    assert not rejections.holds(THERE, ASKED, KEPT)


@given(st.floats(0, 360), st.floats(0, 360))
def test_it_does_not_matter_which_of_two_is_the_entry(one: float, other: float) -> None:
    """What answers neither way was rejected both ways."""
    held = Rejections()
    held.add(HERE, at(one), at(other))
    assert held.holds(HERE, at(one), at(other))
    assert held.holds(HERE, at(other), at(one))


def test_memory_is_bounded_in_each_partition_and_in_all() -> None:
    """The oldest pairs leave a partition, the least recently asked about leave the whole."""
    held = Rejections()
    for number in range(MAX_PARTITION_PAIRS + 5):
        held.add(HERE, at(number), at(number + 1))
    assert len(held) == MAX_PARTITION_PAIRS
    for number in range(MAX_PAIRS):
        held.add(number.to_bytes(20), ASKED, KEPT)
        held.holds(THERE, ASKED, KEPT)
    assert len(held) <= MAX_PAIRS
    assert not held.holds(HERE, at(10), at(11))


def test_a_tenant_that_rejects_without_end_forgets_its_own() -> None:
    """Feedback spam of one costs another nothing that it had learnt."""
    held = Rejections()
    held.add(HERE, ASKED, KEPT, "quiet")
    for number in range(2 * MAX_PAIRS):
        held.add((number // MAX_PARTITION_PAIRS).to_bytes(20), ASKED, KEPT, "loud")
    assert len(held) <= MAX_PAIRS
    assert held.holds(HERE, ASKED, KEPT)


def test_a_long_text_is_not_kept_and_refuses_too_much() -> None:
    """Words without end may stand for few tokens; memory is bounded all the same."""
    held = Rejections()
    held.add(HERE, at(20, "how much is 12 plus 7" + " " * MAX_TEXT), at(0, "what is 12 plus 7"))
    [(_, pair)] = held
    assert pair.asked == ""
    assert held.holds(HERE, at(21, "how much is 12 plus 8"), at(-1, "what is 12 plus 7"))


def test_what_changed_is_told_by_name() -> None:
    """Each pair that came, and each that had to leave for it."""
    held = Rejections()
    for number in range(MAX_PARTITION_PAIRS + 1):
        held.add(HERE, at(number), at(number + 1))
    assert {number for _, number in held.changed} == set(range(1, MAX_PARTITION_PAIRS + 2))
    assert held.find((HERE, 1)) is None
    assert held.find((HERE, 2)) is not None
    held.changed.clear()
    held.forget(HERE)
    assert len(held.changed) == MAX_PARTITION_PAIRS
    assert len(held) == 0
    assert held.partitions_of(None) == []
