"""Signals and vectors in, the rows of numbers that the classifier weighs out.

A row's columns are named by the state it belongs to: the question's own come first, then each held
answer's, smallest tier first, then each pair's. So a state's row extends that of no answer at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from router.signals import (
    ANSWER_SIGNALS,
    PAIR_SIGNALS,
    QUESTION_SIGNALS,
    Reading,
    pair_signals,
)

Row = NDArray[np.float32]


def question_row(vector: Row, signals: Sequence[float]) -> Row:
    """(dim + 20,) float32: the vector, then the question's signals."""
    return np.concatenate([vector, np.asarray(signals, np.float32)])


def answers_row(readings: Sequence[Reading]) -> Row:
    """The answers' columns for readings in rising order of tier; (0,) float32 without any."""
    numbers = [number for reading in readings for number in reading.signals]
    for lower, upper in combinations(readings, 2):
        numbers.extend(pair_signals(lower, upper))
    return np.asarray(numbers, np.float32)


def answers_width(held: int) -> int:
    """Columns of `answers_row` for that many readings."""
    return held * len(ANSWER_SIGNALS) + held * (held - 1) // 2 * len(PAIR_SIGNALS)


def folded_row(row: Row, held: int) -> Row:
    """`row` once, and once more for each pair of answers: as it is where they agree, else zeros.

    (width x (1 + pairs),) float32, for `row` (width,) or, row by row, for (n, width). A linear
    head over it weighs everything anew where two answers come to the same, which is what most
    depends on.
    """
    pairs = held * (held - 1) // 2
    first = row.shape[-1] - pairs * len(PAIR_SIGNALS)
    agree = [row[..., first + pair * len(PAIR_SIGNALS), None] for pair in range(pairs)]
    return np.concatenate([row, *(row * same for same in agree)], axis=-1)


def names() -> dict[str, list[str]]:
    """The columns by family, as an artifact's manifest tells them: another make is refused."""
    return {
        "question": list(QUESTION_SIGNALS),
        "answer": list(ANSWER_SIGNALS),
        "pair": list(PAIR_SIGNALS),
    }
