"""Readings: each answer of a request is read once, however often it is weighed."""

from __future__ import annotations

import numpy as np

from router.features import question_row
from router.readings import Readings
from router.signals import question_signals

QUESTION = "Which?\nA. one\nB. two"
FIRST = (0, "The answer is (A).", 5)
SECOND = (1, "The answer is (B).", 5)


def test_an_answer_is_read_once() -> None:
    """Beside a later one it is the very reading that it was alone."""
    readings = Readings()
    (alone,) = readings.of(QUESTION, [FIRST])
    again, other = readings.of(QUESTION, [FIRST, SECOND])
    assert again is alone
    assert (again.conclusion, other.conclusion) == ("a", "b")
    assert other.asked is alone.asked


def test_an_answer_that_was_mended_is_read_anew() -> None:
    """A tier that was asked once more has said something else."""
    readings = Readings()
    readings.of(QUESTION, [FIRST])
    (mended,) = readings.of(QUESTION, [(0, "The answer is (B).", 5)])
    assert mended.conclusion == "b"


def test_a_question_is_read_once() -> None:
    """What was made of it for the decision is there when its answers are judged."""
    readings, vector = Readings(), np.ones(3, np.float32)
    row = readings.question(QUESTION, vector)
    assert row.tolist() == question_row(vector, question_signals(QUESTION)).tolist()
    assert readings.question(QUESTION, vector) is row
