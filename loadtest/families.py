"""Kinds of questions whose right answer is worked out here, each in several phrasings.

This is an oracle of its own: it shares no code with whatever answers the questions.

Rule 1: `draw` and `vary` give parameters in canonical order, so that two different tuples of one
family never ask the same. Rule 2: `vary` gives a look-alike: close in words, another answer wanted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
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
_NAMES: Final = ("Anna", "Ben", "Clara", "David", "Emma", "Felix")
_THINGS: Final = ("apples", "pens", "books", "tickets", "candles", "cups")
_TEXTS: Final = (
    *("strawberry", "banana", "mississippi", "parallel", "committee", "bookkeeper"),
    *("assessment", "tomorrow", "giraffe", "elephant", "cinnamon", "successful"),
)
_WEEKDAYS: Final = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
_MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


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


def _shift(number: int, rng: Random) -> int:
    """Another number near to it, never smaller."""
    return number + rng.randint(1, 9)


def _sum() -> Family:
    return Family(
        name="sum",
        draw=lambda rng: tuple(sorted((rng.randint(2, 60), rng.randint(61, 99)))),
        vary=lambda p, rng: (p[0], _shift(p[1], rng)),
        answer=lambda p: str(p[0] + p[1]),
        phrasings=lambda p: (
            f"What is {p[0]} plus {p[1]}?",
            f"What is the sum of {p[0]} and {p[1]}?",
            f"Add {p[0]} and {p[1]}.",
            f"Please calculate {p[0]} + {p[1]}",
            f"What's {in_words(p[0])} plus {in_words(p[1])}?",
        ),
    )


def _difference() -> Family:
    return Family(
        name="difference",
        draw=lambda rng: (rng.randint(50, 99), rng.randint(2, 49)),
        vary=lambda p, rng: (_shift(p[0], rng), p[1]),
        answer=lambda p: str(p[0] - p[1]),
        phrasings=lambda p: (
            f"What is {p[0]} minus {p[1]}?",
            f"Subtract {p[1]} from {p[0]}.",
            f"How much is {p[0]} - {p[1]}?",
            f"What is the difference between {p[0]} and {p[1]}?",
        ),
    )


def _product() -> Family:
    return Family(
        name="product",
        draw=lambda rng: (rng.randint(3, 12), rng.randint(13, 40)),
        vary=lambda p, rng: (p[0], _shift(p[1], rng)),
        answer=lambda p: str(p[0] * p[1]),
        phrasings=lambda p: (
            f"What is {p[0]} times {p[1]}?",
            f"Multiply {p[0]} by {p[1]}.",
            f"What is the product of {p[0]} and {p[1]}?",
            f"Calculate {p[0]} x {p[1]}, please.",
        ),
    )


def _chain() -> Family:
    return Family(
        name="chain",
        draw=lambda rng: (
            *(rng.randint(3, 15), rng.randint(16, 30)),
            *(rng.randint(3, 9), rng.randint(2, 20)),
        ),
        vary=lambda p, rng: (p[0], p[1], p[2], _shift(p[3], rng)),
        answer=lambda p: str((p[0] + p[1]) * p[2] - p[3]),
        phrasings=lambda p: (
            f"What is ({p[0]} + {p[1]}) * {p[2]} - {p[3]}?",
            f"Start with {p[0]}, add {p[1]}, multiply by {p[2]}, then subtract {p[3]}.",
            f"Take {p[0]}, add {p[1]}, then multiply by {p[2]}, and then subtract {p[3]}. ",
            f"Compute ({p[0]} plus {p[1]}) times {p[2]} minus {p[3]}",
        ),
    )


_CONVERSIONS: Final = {
    ("kilometres", "metres"): Decimal(1000),
    ("metres", "kilometres"): Decimal("0.001"),
    ("hours", "minutes"): Decimal(60),
    ("kilograms", "grams"): Decimal(1000),
    ("litres", "millilitres"): Decimal(1000),
    ("inches", "centimetres"): Decimal("2.54"),
    ("centimetres", "inches"): 1 / Decimal("2.54"),
    ("miles", "kilometres"): Decimal("1.609344"),
    ("kilometres", "miles"): 1 / Decimal("1.609344"),
    ("weeks", "days"): Decimal(7),
}


def _conversion() -> Family:
    def vary(params: Params, rng: Random) -> Params:
        turned = (params[2], params[1])
        if turned in _CONVERSIONS:
            return (params[0], *turned)
        return (_shift(params[0], rng), *params[1:])

    return Family(
        name="conversion",
        draw=lambda rng: (rng.randint(2, 90), *rng.choice(list(_CONVERSIONS))),
        vary=vary,
        answer=lambda p: plain(p[0] * _CONVERSIONS[p[1], p[2]]),
        phrasings=lambda p: (
            f"Convert {p[0]} {p[1]} to {p[2]}.",
            f"How many {p[2]} are in {p[0]} {p[1]}?",
            f"What is {p[0]} {p[1]} in {p[2]}?",
            f"Please express {in_words(p[0])} {p[1]} in {p[2]}",
        ),
    )


def _spoken(day: date) -> str:
    return f"{day.day} {_MONTHS[day.month - 1]} {day.year}"


def _american(day: date) -> str:
    return f"{_MONTHS[day.month - 1]} {day.day}, {day.year}"


def _day(rng: Random) -> date:
    return date(2000, 1, 1) + timedelta(days=rng.randint(0, 15_000))


def _weekday() -> Family:
    return Family(
        name="weekday",
        draw=lambda rng: (_day(rng),),
        vary=lambda p, rng: (p[0] + timedelta(days=rng.randint(1, 6)),),
        answer=lambda p: _WEEKDAYS[p[0].weekday()],
        phrasings=lambda p: (
            f"What day of the week is {_american(p[0])}?",
            f"On which weekday does {_spoken(p[0])} fall?",
            f"Which weekday is {p[0]}?",
            f"Tell me the day of the week of {_spoken(p[0])}",
        ),
    )


def _date_move() -> Family:
    def answer(params: Params) -> str:
        days = timedelta(days=params[1])
        return str(params[0] + days if params[2] == "after" else params[0] - days)

    return Family(
        name="date move",
        draw=lambda rng: (_day(rng), rng.randint(5, 90), rng.choice(("after", "before"))),
        vary=lambda p, _: (p[0], p[1], "before" if p[2] == "after" else "after"),
        answer=answer,
        phrasings=lambda p: (
            f"What date is {p[1]} days {p[2]} {_spoken(p[0])}?",
            f"Which date comes {p[1]} days {p[2]} {_american(p[0])}?",
            f"What is the date {p[1]} days {p[2]} {p[0]}?",
        ),
    )


def _days_between() -> Family:
    def draw(rng: Random) -> Params:
        first = _day(rng)
        return first, first + timedelta(days=rng.randint(20, 200))

    return Family(
        name="days between",
        draw=draw,
        vary=lambda p, rng: (p[0], p[1] + timedelta(days=rng.randint(1, 9))),
        answer=lambda p: str((p[1] - p[0]).days),
        phrasings=lambda p: (
            f"How many days are there between {_spoken(p[0])} and {_spoken(p[1])}?",
            f"How many days are there from {_american(p[0])} to {_american(p[1])}?",
            f"What is the number of days between {p[0]} and {p[1]}?",
        ),
    )


def _percentage() -> Family:
    return Family(
        name="percentage",
        draw=lambda rng: (rng.randint(2, 19) * 5, rng.randint(2, 40) * 10),
        vary=lambda p, rng: (p[0], p[1] + 10 * rng.randint(1, 9)),
        answer=lambda p: plain(Decimal(p[0] * p[1]) / 100),
        phrasings=lambda p: (
            f"What is {p[0]}% of {p[1]}?",
            f"How much is {p[0]} percent of {p[1]}?",
            f"Calculate {p[0]} per cent of {p[1]}.",
        ),
    )


def _percent_change() -> Family:
    def answer(params: Params) -> str:
        share = params[2] if params[0] == "increase" else -params[2]
        return plain(Decimal(params[1] * (100 + share)) / 100)

    return Family(
        name="percent change",
        draw=lambda rng: (
            rng.choice(("increase", "decrease")),
            rng.randint(2, 40) * 10,
            rng.randint(1, 15) * 5,
        ),
        vary=lambda p, _: ("decrease" if p[0] == "increase" else "increase", p[1], p[2]),
        answer=answer,
        phrasings=lambda p: (
            f"{p[0].capitalize()} {p[1]} by {p[2]} percent.",
            f"What is {p[1]} {p[0]}d by {p[2]}%?",
            f"Please {p[0]} {p[1]} by {in_words(p[2])} percent",
        ),
    )


def _comparison() -> Family:
    other: Final = {"larger": "smaller", "smaller": "larger"}
    same: Final = {"larger": "bigger", "smaller": "lower"}
    return Family(
        name="comparison",
        draw=lambda rng: (rng.choice(list(other)), rng.randint(100, 499), rng.randint(500, 999)),
        vary=lambda p, _: (other[p[0]], p[1], p[2]),
        answer=lambda p: str(p[2] if p[0] == "larger" else p[1]),
        phrasings=lambda p: (
            f"Which is {p[0]}, {p[1]} or {p[2]}?",
            f"Which number is {same[p[0]]}: {p[2]} or {p[1]}?",
            f"What is the {p[0]} of {p[1]} and {p[2]}?",
        ),
    )


def _sorting() -> Family:
    def draw(rng: Random) -> Params:
        numbers = tuple(rng.sample(range(1, 100), rng.randint(3, 6)))
        # The order of the list is part of the wording and not of the meaning.
        return "ascending", tuple(sorted(numbers)), rng.randint(0, 10**6)

    def vary(params: Params, _: Random) -> Params:
        return "descending" if params[0] == "ascending" else "ascending", *params[1:]

    def phrasings(params: Params) -> tuple[str, ...]:
        way, numbers, order = params
        mixed = Random(order).sample(numbers, len(numbers))
        listed = ", ".join(map(str, mixed))
        ends = ("smallest", "largest") if way == "ascending" else ("largest", "smallest")
        return (
            f"Sort {listed} in {way} order.",
            f"Order the numbers {listed} from {ends[0]} to {ends[1]}.",
            f"Put {', '.join(map(str, mixed[:-1]))} and {mixed[-1]} in {way} order, please.",
        )

    return Family(
        name="sorting",
        draw=draw,
        vary=vary,
        answer=lambda p: ", ".join(map(str, p[1] if p[0] == "ascending" else p[1][::-1])),
        phrasings=phrasings,
    )


def _purchase() -> Family:
    return Family(
        name="purchase",
        draw=lambda rng: (
            *(rng.randint(2, 12), rng.choice(_THINGS)),
            *(rng.randint(2, 15), rng.choice(_NAMES)),
        ),
        vary=lambda p, rng: (_shift(p[0], rng), *p[1:]),
        answer=lambda p: str(p[0] * p[2]),
        phrasings=lambda p: (
            f"{p[3]} buys {p[0]} {p[1]} at {p[2]} dollars each. How much does {p[3]} pay in total?",
            f"If one {p[1][:-1]} costs {p[2]} dollars, how much do {p[0]} {p[1]} cost?",
            f"What is the total cost of {p[0]} {p[1]} at ${p[2]} each?",
        ),
    )


def _change() -> Family:
    return Family(
        name="change",
        draw=lambda rng: (
            *(rng.randint(2, 6), rng.choice(_THINGS)),
            *(rng.randint(2, 6), rng.choice((50, 100))),
        ),
        vary=lambda p, rng: (p[0], p[1], p[2] + rng.randint(1, 2), p[3]),
        answer=lambda p: str(p[3] - p[0] * p[2]),
        phrasings=lambda p: (
            (
                f"Emma buys {p[0]} {p[1]} at {p[2]} dollars each and pays with a ${p[3]} bill."
                " How much change does she get?"
            ),
            f"{p[0]} {p[1]} cost {p[2]} dollars each. How much change is left from ${p[3]}?",
        ),
    )


def _letters() -> Family:
    def draw(rng: Random) -> Params:
        text = rng.choice(_TEXTS)
        return text, rng.choice(sorted(set(text)))

    def vary(params: Params, rng: Random) -> Params:
        return params[0], rng.choice(sorted(set("abcdefghijklmnopqrstuvwxyz") - {params[1]}))

    return Family(
        name="letters",
        draw=draw,
        vary=vary,
        answer=lambda p: str(p[0].count(p[1])),
        phrasings=lambda p: (
            f"How many times does the letter {p[1]} appear in {p[0]}?",
            f"How many {p[1]}'s are in the word {p[0]}?",
            f"Count the letter {p[1]} in {p[0]}.",
        ),
    )


def _is_prime(number: int) -> bool:
    return all(number % factor for factor in range(2, math.isqrt(number) + 1))


def _prime() -> Family:
    return Family(
        name="prime",
        draw=lambda rng: (rng.randint(4, 400) * 2 + 1,),
        vary=lambda p, rng: (p[0] + 2 * rng.randint(1, 9),),
        answer=lambda p: "yes" if _is_prime(p[0]) else "no",
        phrasings=lambda p: (
            f"Is {p[0]} a prime number?",
            f"Is {p[0]} prime?",
            f"Tell me whether {p[0]} is prime.",
        ),
    )


def _divisor() -> Family:
    return Family(
        name="divisor",
        draw=lambda rng: tuple(sorted((rng.randint(4, 30) * 6, rng.randint(31, 60) * 6))),
        vary=lambda p, rng: (p[0], p[1] + 6 * rng.randint(1, 9)),
        answer=lambda p: str(math.gcd(*p)),
        phrasings=lambda p: (
            f"What is the greatest common divisor of {p[0]} and {p[1]}?",
            f"Find the gcd of {p[0]} and {p[1]}",
            f"What is the highest common factor of {p[1]} and {p[0]}?",
        ),
    )


FAMILIES: Final = (
    *(_sum(), _difference(), _product(), _chain(), _conversion()),
    *(_weekday(), _date_move(), _days_between(), _percentage(), _percent_change()),
    *(_comparison(), _sorting(), _purchase(), _change(), _letters(), _prime(), _divisor()),
)
