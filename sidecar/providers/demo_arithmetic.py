"""Arithmetic in plain words or signs in, one parsed expression with its exact value out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

_NUMBER: Final = r"(-?\d{1,12}(?:\.\d{1,6})?)"
_TOKENS: Final = re.compile(r"\d{1,12}(?:\.\d{1,6})?|[-+*/()]")
_MAX_TOKENS: Final = 40
"""Chosen: no question here needs more; it bounds the descent's depth and the values' size."""

_BY_HEART: Final = 12
"""Chosen: the tables that are learnt by heart end there; a larger product has to be worked out."""

_PHRASES: Final = tuple(
    (re.compile(pattern), made)
    for pattern, made in (
        (rf"(?:sum|total) of {_NUMBER} and {_NUMBER}", r"\1 + \2"),
        (rf"add {_NUMBER} (?:and|to) {_NUMBER}", r"\1 + \2"),
        (rf"{_NUMBER} added to {_NUMBER}", r"\2 + \1"),
        (rf"{_NUMBER} more than {_NUMBER}", r"\2 + \1"),
        (rf"subtract {_NUMBER} from {_NUMBER}", r"\2 - \1"),
        (rf"{_NUMBER} (?:subtracted|taken away) from {_NUMBER}", r"\2 - \1"),
        (rf"take {_NUMBER} away from {_NUMBER}", r"\2 - \1"),
        (rf"{_NUMBER} less than {_NUMBER}", r"\2 - \1"),
        (rf"product of {_NUMBER} and {_NUMBER}", r"\1 * \2"),
        (rf"multiply {_NUMBER} (?:by|and|with) {_NUMBER}", r"\1 * \2"),
        (rf"(?:twice|double) {_NUMBER}", r"2 * \1"),
        (rf"{_NUMBER} squared", r"\1 * \1"),
        (rf"(?:half of|halve) {_NUMBER}", r"\1 / 2"),
        (rf"divide {_NUMBER} by {_NUMBER}", r"\1 / \2"),
        (rf"quotient of {_NUMBER} and {_NUMBER}", r"\1 / \2"),
    )
)
_SIGNS: Final = (
    (re.compile(r"\bplus\b"), "+"),
    (re.compile(r"\bminus\b"), "-"),
    (re.compile(r"\b(?:times|multiplied by)\b|(?<=[\d)]) ?x ?(?=[\d(])"), "*"),
    (re.compile(r"\bdivided by\b"), "/"),
)
_CHAIN: Final = re.compile(
    rf"(?:start(?:ing)? (?:with|from|at)|take) {_NUMBER}(?:,| and| then) (.+)"
)
_LINK: Final = re.compile(
    r"(?:and |then |, )*(?:(add|plus|subtract|minus|take away)"
    r"|(multiply|divide)(?: it| that| the result)? by) (\d{1,12})(?:,? |,|$)"
)
_LINK_SIGNS: Final = {
    "add": "+",
    "plus": "+",
    "subtract": "-",
    "minus": "-",
    "take away": "-",
    "multiply": "*",
    "divide": "/",
}


@dataclass(frozen=True, slots=True)
class Expression:
    """A value and how it came about.

    Attributes:
        value: Exact.
        shown: Fully in parentheses; the operands of + and * in one order, whoever was said first.
        steps: Operations in it.
        is_hard: It multiplies two numbers of two digits, or a division does not come out even.
    """

    value: Fraction
    shown: str
    steps: int = 0
    is_hard: bool = False


def find_expression(text: str) -> Expression | None:
    """The expression that the whole of `text` (see `demo_text.plain`) is, or None.

    `find_expression("start with 2, add 3, then multiply by 4").value == 20`
    """
    said = text
    for pattern, made in _PHRASES:
        said = pattern.sub(made, said) if pattern.fullmatch(said) else said
    difference = re.fullmatch(rf"difference (?:between|of) {_NUMBER} and {_NUMBER}", said)
    if difference:
        larger, smaller = sorted(difference.groups(), key=Fraction, reverse=True)
        said = f"{larger} - {smaller}"
    said = _unchained(said)
    for pattern, sign in _SIGNS:
        said = pattern.sub(sign, said)
    tokens = _TOKENS.findall(said)
    if "".join(tokens) != said.replace(" ", "") or not 1 < len(tokens) <= _MAX_TOKENS:
        return None
    try:
        expression = _Descent(tokens).whole()
    except (ValueError, ZeroDivisionError):
        return None
    return expression if expression.steps else None


def _unchained(said: str) -> str:
    """`_unchained("start with 2, add 3, multiply by 4") == "((2 + 3) * 4)"`."""
    chain = _CHAIN.fullmatch(said)
    if chain is None:
        return said
    made, rest = chain[1], chain[2].strip()
    while rest:
        link = _LINK.match(rest)
        if link is None:
            return said
        made = f"({made} {_LINK_SIGNS[link[1] or link[2]]} {link[3]})"
        rest = rest[link.end() :].strip()
    return made


class _Descent:
    """Recursive descent: sums of products of numbers and parentheses.

    Raises ValueError where the tokens are no expression.
    """

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens[::-1]

    def whole(self) -> Expression:
        expression = self._sum()
        if self._tokens:
            raise ValueError(self._tokens)
        return expression

    def _sum(self) -> Expression:
        left = self._product()
        while self._next_is("+-"):
            left = _joined(left, self._tokens.pop(), self._product())
        return left

    def _product(self) -> Expression:
        left = self._atom()
        while self._next_is("*/"):
            left = _joined(left, self._tokens.pop(), self._atom())
        return left

    def _atom(self) -> Expression:
        said = self._tokens.pop() if self._tokens else ""
        if said == "(":
            inner = self._sum()
            if not self._tokens or self._tokens.pop() != ")":
                raise ValueError("a parenthesis stays open")
            return inner
        if said == "-":
            inner = self._atom()
            return Expression(-inner.value, f"-{inner.shown}", inner.steps, inner.is_hard)
        return Expression(Fraction(said), said)

    def _next_is(self, signs: str) -> bool:
        return bool(self._tokens) and self._tokens[-1] in signs


def _joined(left: Expression, sign: str, right: Expression) -> Expression:
    if sign in "+*":
        left, right = sorted((left, right), key=lambda part: (part.value, part.shown))
    value = {
        "+": lambda: left.value + right.value,
        "-": lambda: left.value - right.value,
        "*": lambda: left.value * right.value,
        "/": lambda: left.value / right.value,
    }[sign]()
    is_hard = (sign == "*" and min(abs(left.value), abs(right.value)) > _BY_HEART) or (
        sign == "/" and value.denominator != 1
    )
    shown = f"({left.shown} {sign} {right.shown})"
    return Expression(
        value, shown, left.steps + right.steps + 1, left.is_hard or right.is_hard or is_hard
    )
