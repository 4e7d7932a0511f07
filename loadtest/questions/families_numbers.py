"""Questions on numbers alone."""

from __future__ import annotations

import math
from decimal import Decimal
from random import Random
from typing import Final

from loadtest.questions.family import Family, Params, in_words, plain, shifted


def _sum() -> Family:
    return Family(
        name="sum",
        draw=lambda rng: tuple(sorted((rng.randint(2, 60), rng.randint(61, 99)))),
        vary=lambda p, rng: (p[0], shifted(p[1], rng)),
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
        vary=lambda p, rng: (shifted(p[0], rng), p[1]),
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
        vary=lambda p, rng: (p[0], shifted(p[1], rng)),
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
        vary=lambda p, rng: (p[0], p[1], p[2], shifted(p[3], rng)),
        answer=lambda p: str((p[0] + p[1]) * p[2] - p[3]),
        phrasings=lambda p: (
            f"What is ({p[0]} + {p[1]}) * {p[2]} - {p[3]}?",
            f"Start with {p[0]}, add {p[1]}, multiply by {p[2]}, then subtract {p[3]}.",
            f"Take {p[0]}, add {p[1]}, then multiply by {p[2]}, and then subtract {p[3]}. ",
            f"Compute ({p[0]} plus {p[1]}) times {p[2]} minus {p[3]}",
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
    _sum(),
    _difference(),
    _product(),
    _chain(),
    _percentage(),
    _percent_change(),
    _comparison(),
    _sorting(),
    _prime(),
    _divisor(),
)
