"""Two answers in; the same, different, or not to be told by reading them this closely, out.

What the closest reader would settle is settled here: the same words, the same final answer, another
number, a yes against a no. All else is left to whoever reads for meaning.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import Final

SHORT_WORDS: Final = 12
"""Chosen: an answer of so few words is its number and a unit; a longer one says more than that."""

_WORD: Final = re.compile(r"[^\W_]+(?:[.,'][^\W_]+)*")
_NUMBER: Final = re.compile(r"(?<![\w.])-?\d+(?:,\d{3})*(?:\.\d+)?")
_FINAL: Final = re.compile(
    r"(?:####|\\boxed\{|\banswer\s*(?:is|:|=)+)\s*\**\s*([^\n}]+?)\s*(?:[.*}]*\s*)(?:\n|\}|$)",
    re.IGNORECASE,
)
_POLES: Final = {"yes": True, "true": True, "correct": True, "no": False, "false": False}


class Sameness(Enum):
    """Whether two answers say the same."""

    SAME = "same"
    DIFFERENT = "different"
    UNSURE = "unsure"


def compare(left: str, right: str) -> Sameness:
    """`compare("12 plus 7 is 19.", "19") is Sameness.SAME`."""
    ours, theirs = words(left), words(right)
    if ours == theirs:
        return Sameness.SAME
    if not ours or not theirs:
        return Sameness.DIFFERENT
    finals = _final(left), _final(right)
    if finals[0] and finals[1]:
        return Sameness.SAME if finals[0] == finals[1] else _by_number(*map(" ".join, finals))
    poles = _POLES.get(ours[0]), _POLES.get(theirs[0])
    if None not in poles and poles[0] != poles[1]:
        return Sameness.DIFFERENT
    return _by_number(left, right)


def _by_number(left: str, right: str) -> Sameness:
    """The last number is taken for the result; others may be its workings, told or left out."""
    ours, theirs = numbers(left), numbers(right)
    if not ours and not theirs:
        return Sameness.UNSURE
    if not ours or not theirs or ours[-1] != theirs[-1]:
        return Sameness.DIFFERENT
    if not (set(ours) <= set(theirs) or set(theirs) <= set(ours)):
        return Sameness.DIFFERENT
    is_bare = min(len(words(left)), len(words(right))) == 1
    return Sameness.SAME if is_bare else Sameness.UNSURE


def contradicts(answer: str, correct: str) -> bool:
    """`answer` is not what somebody says is right; False where that cannot be told by reading."""
    said, right = words(answer), words(correct)
    if not right or _holds(said, right) or _holds(right, said):
        return False
    verdict = compare(answer, correct)
    is_short = len(right) <= SHORT_WORDS and not numbers(correct)
    return verdict is Sameness.DIFFERENT or (verdict is Sameness.UNSURE and is_short)


def _holds(whole: list[str], part: list[str]) -> bool:
    return f" {' '.join(part)} " in f" {' '.join(whole)} "


def words(text: str) -> list[str]:
    """The text's words in lower case, without what sets them in type."""
    return _WORD.findall(text.casefold())


def numbers(text: str) -> list[Decimal]:
    """The text's numbers, in order: `numbers("1,200.50 of 7") == [Decimal("1200.50"), 7]`."""
    found = (one.group().replace(",", "") for one in _NUMBER.finditer(text))
    return [value for value in map(_decimal, found) if value is not None]


def _decimal(digits: str) -> Decimal | None:
    try:
        return Decimal(digits)
    except InvalidOperation:
        return None


def _final(text: str) -> list[str]:
    """The words of the answer that the text itself calls final; empty if it calls none so."""
    found = _FINAL.findall(text)
    return words(found[-1]) if found else []
