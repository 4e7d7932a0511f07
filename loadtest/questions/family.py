"""What a kind of question is, to whoever knows its right answer without asking.

Rule 1: `draw` and `vary` give parameters in canonical order, so that two different tuples of one
family never ask the same. Rule 2: `vary` gives a look-alike: close in words, another answer wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from random import Random
from typing import Any, Final

Params = tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One kind of question.

    Attributes:
        name: Unique among the families.
        draw: New parameters.
        vary: Parameters of a look-alike of the given ones.
        answer: The right value, as a text would write it.
        phrasings: The question in several wordings, all of the same meaning.
    """

    name: str
    draw: Callable[[Random], Params]
    vary: Callable[[Params, Random], Params]
    answer: Callable[[Params], str]
    phrasings: Callable[[Params], tuple[str, ...]]


_WORDS: Final = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    *("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen"),
    *("eighteen", "nineteen"),
)
_TENS: Final = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def in_words(number: int) -> str:
    """`in_words(42) == "forty-two"`; digits from 100 on."""
    if number < len(_WORDS):
        return _WORDS[number]
    tens, ones = divmod(number, 10)
    if tens >= len(_WORDS) // 2:
        return str(number)
    return _TENS[tens - 2] + (f"-{_WORDS[ones]}" if ones else "")


def plain(value: Decimal | int) -> str:
    """Two decimal places at most, rounded half up, no zeros at the end."""
    rounded = Decimal(value).quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)
    text = format(rounded, "f")
    return text.rstrip("0").rstrip(".")


def shifted(number: int, rng: Random) -> int:
    """Another number near to it, never smaller."""
    return number + rng.randint(1, 9)
