"""Questions on units, dates, shopping and words."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from random import Random
from typing import Final

from loadtest.questions.family import Family, Params, in_words, plain, shifted

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
        return (shifted(params[0], rng), *params[1:])

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


def _purchase() -> Family:
    return Family(
        name="purchase",
        draw=lambda rng: (
            *(rng.randint(2, 12), rng.choice(_THINGS)),
            *(rng.randint(2, 15), rng.choice(_NAMES)),
        ),
        vary=lambda p, rng: (shifted(p[0], rng), *p[1:]),
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


FAMILIES: Final = (
    _conversion(),
    _weekday(),
    _date_move(),
    _days_between(),
    _purchase(),
    _change(),
    _letters(),
)
