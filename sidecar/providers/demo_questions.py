"""A question's text in; what it means and its right answer out, for the families that are known.

Rule 1: a family's phrasing is a row of one of the four tables, over `demo_text.plain`.
Rule 2: the whole text must match. What is not understood is None, and never half understood.
"""

from __future__ import annotations

from typing import Final

from sidecar.providers import demo_calendar, demo_measures, demo_numbers, demo_stories
from sidecar.providers.demo_arithmetic import find_expression
from sidecar.providers.demo_text import plain
from sidecar.providers.demo_values import Question, numeric

MAX_QUESTION_CHARACTERS: Final = 400
"""Chosen: the longest phrasing known is half of it; it bounds what the patterns are tried on."""

HARDEST: Final = 4

_FAMILIES: Final = (
    *demo_calendar.FAMILIES,
    *demo_measures.FAMILIES,
    *demo_numbers.FAMILIES,
    *demo_stories.FAMILIES,
)


def understand(text: str) -> Question | None:
    """The question that `text` asks, or None if no family knows it.

    `understand("What is the sum of seven and 12?").value == "19"`
    """
    if len(text) > MAX_QUESTION_CHARACTERS:
        return None
    said = plain(text)
    for pattern, make in _FAMILIES:
        found = pattern.fullmatch(said)
        question = make(found) if found else None
        if question is not None:
            return question
    return _arithmetic(said)


def _arithmetic(said: str) -> Question | None:
    expression = find_expression(said)
    if expression is None:
        return None
    # One step is easy; a second one is already the third grade of four.
    by_steps = 1 if expression.steps == 1 else min(HARDEST, expression.steps + 1)
    difficulty = max(by_steps, 2 if expression.is_hard else 1)
    return numeric(expression.shown[1:-1], expression.value, difficulty)
