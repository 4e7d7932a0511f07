"""An answer's working in, its numbers and how many of its equations do not hold out.

A slip in reckoning is the commonest way in which a worked answer goes wrong, and the one that can
be seen without knowing the subject. Only plain arithmetic is tried, by a reader of our own that
knows five operations and nothing else; whatever it cannot read counts for nothing.
"""

from __future__ import annotations

import math
import re
from itertools import islice
from typing import Final, NamedTuple

MAX_EQUATIONS: Final = 24
"""Chosen: a worked answer of a page has fewer; a table of sums does not keep the judgement busy."""
MAX_NUMBERS: Final = 12
"""Chosen: the last numbers before the conclusion are what it was drawn from."""
MOST: Final = 1e30
"""Chosen: beyond it nothing that a text means is reckoned with."""
SLACK: Final = 0.02
"""Chosen: models round as they go; two parts in a hundred apart is a slip and not rounding."""
MAX_POWER: Final = 64.0
"""Chosen: larger powers leave the range of numbers that any text works with."""

_SPELLINGS: Final = (
    (re.compile(r"\\(?:times|cdot)|[×·⋅]"), "*"),  # noqa: RUF001 - the signs that models write
    (re.compile(r"÷|\\div"), "/"),
    (re.compile(r"[−–]"), "-"),  # noqa: RUF001 - as above
    (re.compile(r"\\[dt]?frac\{([^{}]{1,40})\}\{([^{}]{1,40})\}"), r"((\1)/(\2))"),
    (re.compile(r"\^\{([^{}]{1,12})\}"), r"^(\1)"),
    (re.compile(r"\\(?:left|right|[,;!()\[\]])|\$|,(?=\d{3}(?!\d))"), ""),
)
_EQUATION = re.compile(
    r"([0-9(][0-9.()+\-*/^ ]{1,60}[0-9)])\s*(?:=|\\approx|≈)\s*(-?[0-9]+(?:\.[0-9]+)?)"
    r"(?!\.?[0-9]|\s*[*/^(+\-])"
)
_EQUALS: Final = ("=", "\\approx", "≈")
"""The signs of `_EQUATION`: most answers have none, and six patterns need not be tried on them."""
_OPERATOR = re.compile(r"[0-9)]\s*[+\-*/^]")
_OPEN, _CLOSE, _MINUS = "()-"
_TOKEN = re.compile(r"\d+(?:\.\d+)?|[-+*/^()]")
_NUMBER = re.compile(
    r"(?<![\w.])(-?\d[\d,]{0,20}(?:\.\d{1,20})?)"
    r"(?:\s*(?:\\times|×|\*)\s*10\s*\^?\s*\{?\s*([-−]?\d{1,2})\}?)?"  # noqa: RUF001 - as above
)


class Equations(NamedTuple):
    """What came of an answer's equations.

    Attributes:
        tried: How many could be.
        off: How many do not hold.
        worst: The largest relative error among those, at most 10.
    """

    tried: int
    off: int
    worst: float


_NO_EQUATIONS: Final = Equations(0, 0, 0.0)


def numbers(text: str) -> list[float]:
    """Every number in `text`, in order: `numbers("2.5 * 10^-3 of 1,200") == [0.0025, 1200.0]`."""
    return [_number(match) for match in _NUMBER.finditer(text)]


def first_number(text: str) -> float | None:
    """The first of `numbers`; None if there is none."""
    match = _NUMBER.search(text)
    return None if match is None else _number(match)


def _number(match: re.Match[str]) -> float:
    power = int((match.group(2) or "0").replace("−", "-"))  # noqa: RUF001 - as above
    return max(-MOST, min(MOST, float(match.group(1).replace(",", "")) * 10.0**power))


def nearest(found: list[float], wanted: float) -> float:
    """The smallest relative distance of `found` to `wanted`, at most 5; 5 without any."""
    scale = max(abs(wanted), 1e-9)
    return min((abs(value - wanted) / scale for value in found), default=5.0) if found else 5.0


def equations(text: str) -> Equations:
    """The plain sums in `text`, tried: `equations("3 * 4 = 12, 5 + 2 = 8").off == 1`."""
    if not any(sign in text for sign in _EQUALS):
        return _NO_EQUATIONS
    for pattern, spelling in _SPELLINGS:
        text = pattern.sub(spelling, text)
    count, off, worst = 0, 0, 0.0
    for match in islice(_EQUATION.finditer(text), MAX_EQUATIONS):
        left, right = match.groups()
        value = _value(left) if _OPERATOR.search(left) else None
        if value is None:
            continue
        count += 1
        told = float(right)
        gap = abs(value - told)
        error = gap / max(abs(value), abs(told), 1e-9)
        rounding = 0.51 * 10.0 ** -len(right.partition(".")[2])
        if gap > rounding and error > SLACK:
            off += 1
            worst = max(worst, min(error, 10.0))
    return Equations(count, off, worst)


def _value(expression: str) -> float | None:
    """What it comes to; None if it cannot be read or leaves the range."""
    tokens = _TOKEN.findall(expression)
    try:
        value, rest = _sum([*reversed(tokens)])
    except (ValueError, IndexError, ZeroDivisionError, OverflowError):
        return None
    return value if not rest and math.isfinite(value) and abs(value) < MOST else None


def _sum(rest: list[str]) -> tuple[float, list[str]]:
    """Terms added up; `rest` holds the tokens in reverse, and what is left of them comes back."""
    value, rest = _product(rest)
    while rest and rest[-1] in "+-":
        sign = 1.0 if rest.pop() == "+" else -1.0
        term, rest = _product(rest)
        value += sign * term
    return value, rest


def _product(rest: list[str]) -> tuple[float, list[str]]:
    value, rest = _power(rest)
    while rest and rest[-1] in "*/(":
        operator = rest.pop() if rest[-1] != "(" else "*"
        factor, rest = _power(rest)
        value = value * factor if operator == "*" else value / factor
    return value, rest


def _power(rest: list[str]) -> tuple[float, list[str]]:
    base, rest = _atom(rest)
    if rest and rest[-1] == "^":
        rest.pop()
        exponent, rest = _atom(rest)
        if abs(exponent) > MAX_POWER or (base < 0.0 and exponent != int(exponent)):
            raise ValueError
        base = base**exponent
    return base, rest


def _atom(rest: list[str]) -> tuple[float, list[str]]:
    token = rest.pop()
    if token == _MINUS:
        value, rest = _atom(rest)
        return -value, rest
    if token != _OPEN:
        return float(token), rest
    value, rest = _sum(rest)
    if rest.pop() != _CLOSE:
        raise ValueError
    return value, rest
