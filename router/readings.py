"""One request's question and answers in, their readings out; each is read once.

An answer is weighed when it comes and again beside every later one, and reading it takes most of a
judgement's time; the question is weighed before the first and again with each.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from router.features import question_row
from router.signals import Asked, Reading, question_signals, read_answer, read_question

Row = NDArray[np.float32]


class Readings:
    """What was read of one request so far. Owned by its climb; nobody else looks."""

    __slots__ = ("_asked", "_read", "_row")

    def __init__(self) -> None:
        self._row: Row | None = None
        self._asked: Asked | None = None
        self._read: dict[int, tuple[str, Reading]] = {}

    def question(self, text: str, vector: Row) -> Row:
        """The question's row; text and vector are the request's, and always the same."""
        if self._row is None:
            self._row = question_row(vector, question_signals(text))
        return self._row

    def of(self, question: str, answers: Sequence[tuple[int, str, int]]) -> tuple[Reading, ...]:
        """The readings of `answers`, in their order: place, text and completion tokens of each.

        The question is the request's, and always the same. Of a place that was asked again, so that
        its text is another, the new answer is read.
        """
        if self._asked is None:
            self._asked = read_question(question)
        for place, text, tokens_out in answers:
            if place not in self._read or self._read[place][0] != text:
                self._read[place] = text, read_answer(self._asked, text, tokens_out)
        return tuple(self._read[place][1] for place, _, _ in answers)
