"""Every phrase tried both ways."""

from __future__ import annotations

import pytest

from cache.phrases import is_time_bound, needs_context


@pytest.mark.parametrize(
    "turn",
    [
        "continue",
        "Yes",
        "why?",
        "tell me more",
        "and in French?",
        "Please go on.",
        "make it shorter",
        "what about Spain?",
        "can you explain that again?",
        "Translate this into German",
        "another one, please",
        "who is she?",
    ],
)
def test_a_turn_that_leans_on_another_needs_its_context(turn: str) -> None:
    """Useless in a conversation of one message just as well."""
    assert needs_context(turn)


@pytest.mark.parametrize(
    "turn",
    [
        "What is French for cat?",
        "Why is the sky blue?",
        "How do I continue a loop in Python?",
        "Yes or no: is 7 prime?",
        "Explain recursion",
        "What about the Spanish armada made it fail?",
        "2+2",
        "Tell me more about black holes",
    ],
)
def test_a_whole_question_needs_none(turn: str) -> None:
    """Words of a follow-up inside a question that stands alone."""
    assert not needs_context(turn)


@pytest.mark.parametrize(
    "question",
    [
        "What is today's date?",
        "What's the weather in Oslo today?",
        "what time is it",
        "latest news about the election",
        "What is the current price of gold?",
        "Is the shop open right now?",
        "What date is 3 days after today?",
        "Which day is today?",
    ],
)
def test_a_question_of_the_moment_is_time_bound(question: str) -> None:
    """Tomorrow its answer is another."""
    assert is_time_bound(question)


@pytest.mark.parametrize(
    "question",
    [
        "What date is 3 days after 2024-02-27?",
        "How many days are between 2024-01-01 and 2024-02-01?",
        "What is the time complexity of quicksort?",
        "How is today's youth different from that of the sixties?",
        "What year was Rome founded?",
        "How do weather forecasts work?",
        "What is a news feed?",
    ],
)
def test_a_question_with_a_date_is_not(question: str) -> None:
    """Narrow, since what is time-bound is never cached."""
    assert not is_time_bound(question)
