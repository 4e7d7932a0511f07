"""Generated calculations in, how often two that the guard calls one calculation are not, out."""

from __future__ import annotations

from itertools import combinations
from typing import Final

from cache.facets import facets
from cache.guard import compare
from train.similarity.coverage import upper_bound

_SAYINGS: Final = {
    "plus": (
        "What is {a} plus {b}?",
        "{a} + {b}",
        "sum of {a} and {b}",
        "How much is {A} plus {B}?",
    ),
    "minus": (
        "What is {a} minus {b}?",
        "{a} - {b}",
        "subtract {b} from {a}",
        "compute {A} minus {B}",
    ),
    "times": (
        "What is {a} times {b}?",
        "{a} * {b}",
        "multiply {a} by {b}",
        "Work out {A} times {B}.",
    ),
    "divided": (
        "What is {a} divided by {b}?",
        "{a} / {b}",
        "divide {a} by {b}",
        "{A} divided by {B}",
    ),
    "to miles": (
        "convert {a} km to miles",
        "How many miles are in {a} kilometers?",
        "{A} km in miles",
    ),
    "to km": (
        "convert {a} miles to km",
        "How many kilometres are in {a} miles?",
        "{A} miles in km",
    ),
}
_WORDS: Final = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven")


def restated_bound() -> float:
    """Upper bound of the share of wrong pairs among generated calculations called restated.

    The pairs that agree by construction are right, all others wrong; every two of one pool of
    sayings over small numbers are compared.
    """
    pool = [
        ((saying, a, b if "to" not in saying else 0), facets(_said(text, a, b)))
        for saying, texts in _SAYINGS.items()
        for text in texts
        for a in (2, 3, 5, 11)
        for b in (2, 4, 7)
    ]
    wrong = hits = 0
    for (truth, one), (other_truth, other) in combinations(pool, 2):
        if compare(one, other).is_restated:
            hits += 1
            wrong += _meaning(*truth) != _meaning(*other_truth)
    return round(upper_bound(wrong, hits), 6)


def _said(text: str, a: int, b: int) -> str:
    return text.format(a=a, b=b, A=_WORDS[a - 2], B=_WORDS[b - 2])


def _meaning(saying: str, a: int, b: int) -> tuple[str, int, int]:
    low, high = sorted((a, b))
    return (saying, low, high) if saying in {"plus", "times"} else (saying, a, b)
