"""The second look: pairs that must be told apart, and pairs that must not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.facets import facets
from cache.guard import NAMES, compare


@pytest.mark.parametrize(
    ("one", "other", "veto"),
    [
        ("What is 12 plus 7?", "What is 12 plus 8?", "number"),
        ("What is 12 plus 7?", "What is twelve minus seven?", "operation"),
        ("What is 12 minus 7?", "What is 7 minus 12?", "number order"),
        ("subtract 7 from 12", "7 minus 12", "number order"),
        ("convert 5 km to miles", "convert 5 miles to km", "unit"),
        ("Is 21 odd?", "Is 21 even?", "opposite"),
        ("What is the capital of France?", "What is the capital of Spain?", "name"),
        ("Can I eat this raw?", "Can't I eat this raw?", "negation"),
        ("Is it eligible?", "Is it ineligible?", "opposite"),
        ("Flights from oslo to rome", "Flights from rome to oslo", "direction"),
        ("Where was the wheel invented?", "When was the wheel invented?", "asks"),
        ("Status of case D-7781", "Status of case D-7782", "number"),
        ("Status of case ab12", "Status of case ab13", "id"),
        ('Translate "good day"', 'Translate "good night"', "id"),
        ("What does x < y mean?", "What does x > y mean?", "symbol"),
        ("Days until 3 March 2024", "Days until 4 March 2024", "number"),
    ],
)
def test_a_small_difference_forbids(one: str, other: str, veto: str) -> None:
    """Both ways round, with its word."""
    assert compare(facets(one), facets(other)).veto == veto
    assert compare(facets(other), facets(one)).veto == veto


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is 12 plus 7?", "How much is twelve plus seven?"),
        ("What is 12 plus 7?", "what's the sum of 7 and 12"),
        ("convert 5 km to miles", "How many miles are in 5 kilometers?"),
        ("What is 205 times 3?", "Two hundred and five multiplied by three"),
        ("1,200 / 4", "1200 divided by 4"),
    ],
)
def test_a_calculation_said_twice_is_one(one: str, other: str) -> None:
    """Numbers, units and operations in any spelling."""
    comparison = compare(facets(one), facets(other))
    assert not comparison.veto
    assert comparison.is_restated


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What day is 3 days after 2024-02-27?", "What day is 3 days after February 27, 2024?"),
        ("How do I reset my password?", "How can I reset my password?"),
        ("What's the capital of France?", "Tell me the capital of france"),
        ("Can you tell me why the sky is blue?", "Why is the sky blue?"),
        ("Best laptop under $1,000", "best laptop under $1000"),
    ],
)
def test_another_wording_passes(one: str, other: str) -> None:
    """No veto; how sure one may be is the risk model's matter."""
    assert not compare(facets(one), facets(other)).veto


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2 plus 3 times 4", "2 times 3 plus 4"),
        ("What is 12 less than 7?", "What is 12 less 7?"),
        ("What is 5 to the power of 3?", "What is 3 to the power of 5?"),
        ("What is 12 plus 7?", "Why is 12 plus 7 more than 12?"),
        ("5 km", "5 kg"),
    ],
)
def test_what_only_looks_like_a_calculation_is_not_restated(one: str, other: str) -> None:
    """Grouping, turned words and what is left over keep it to the model or forbid it."""
    assert not compare(facets(one), facets(other)).is_restated


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_text_can_be_compared(one: str, other: str) -> None:
    """Never raises; the values are of [0, 1], one for each name; a text is never unlike itself."""
    comparison = compare(facets(one), facets(other))
    assert len(comparison.values) == len(NAMES)
    assert all(0.0 <= value <= 1.0 for value in comparison.values)
    assert not compare(facets(one), facets(one)).veto


@pytest.mark.parametrize(
    ("kept", "asked", "veto"),
    [
        ("Will Rome beat Carthage?", "Will Carthage beat Rome?", "roles"),
        ("Is the text written already in ink?", "Is the text already written in ink?", ""),
        ("Is Rome as old as and like Carthage?", "Is Carthage as old as and like Rome?", ""),
        ("What is felt?", "What is felt? How is it made?", "asks more"),
        ("What is felt? How is it made?", "What is felt?", ""),
        ("What is the best felt?", "What is the best felt? Why?", ""),
    ],
)
def test_who_does_it_to_whom_and_who_asks_for_more(kept: str, asked: str, veto: str) -> None:
    """Two words in each other's place; the same question with another behind it."""
    assert compare(facets(kept), facets(asked)).veto == veto
