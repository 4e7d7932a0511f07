"""What a question means and what its right answer is, as every family of the demo gives it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

Kind = Literal["number", "weekday", "date", "truth", "list"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What was asked.

    Attributes:
        meaning: The question in one canonical form, readable; two texts share it if and only if
            they ask the same.
        value: Its right answer as it is written in a text.
        kind: What sort of value that is, which decides what a plausible mistake looks like.
        difficulty: 1 (one easy step) to 4 (many steps).
    """

    meaning: str
    value: str
    kind: Kind
    difficulty: int


Family = tuple[re.Pattern[str], Callable[[re.Match[str]], Question | None]]
"""A phrasing, and what a text that wholly matches it asks; None if it makes no sense after all."""


def families(
    *rows: tuple[str, Callable[[re.Match[str]], Question | None]],
) -> tuple[Family, ...]:
    """The rows with their patterns compiled."""
    return tuple((re.compile(pattern), make) for pattern, make in rows)


def numeric(meaning: str, value: Fraction | int, difficulty: int) -> Question:
    """A question whose answer is a number."""
    return Question(
        meaning=meaning, value=shown(Fraction(value)), kind="number", difficulty=difficulty
    )


def shown(value: Fraction) -> str:
    """Whole numbers plainly, others rounded half up (away from zero) to two places.

    `shown(Fraction(5, 8)) == "0.63"`
    """
    hundredths = math.floor(abs(value) * 100 + Fraction(1, 2))
    whole, rest = divmod(hundredths, 100)
    sign = "-" if value < 0 and hundredths else ""
    places = f".{rest:02d}".rstrip("0") if rest else ""
    return f"{sign}{whole}{places}"
