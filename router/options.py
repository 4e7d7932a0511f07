"""A question's options in, how an answer's working bears on the one that it chose out.

An answer that works out one thing and then picks the letter of another is seldom right.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final

from router.working import first_number, nearest

_OPTION = re.compile(r"^\(?([A-Z])[.):]\s", re.MULTILINE)
_TERM = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]{2,}")
FEWEST: Final = 2
"""Chosen: a choice needs two."""
NO_CHOICE: Final = (-1.0, 0.0, 0.0, 0.0, 1.0, 1.0)
"""What `Options.choice` says of an answer that chose none of them: as far as can be from any."""


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its letter in lower case, its terms, and the first number in it, if any."""

    letter: str
    terms: frozenset[str]
    number: float | None


@dataclass(frozen=True, slots=True)
class Options:
    """What a question offers to choose from; none if it offers nothing.

    Attributes:
        stem: The question without them.
        all: In the order of the question.
    """

    stem: str
    all: tuple[Option, ...]

    def find(self, letter: str) -> Option | None:
        """The option of that letter; None if there is none."""
        return next((option for option in self.all if option.letter == letter), None)

    def choice(self, letter: str, body: frozenset[str], reached: list[float]) -> tuple[float, ...]:
        """Six numbers on the option that was chosen.

        Its place; the share of its terms that stand in `body`, and of the best other's; the share
        of options that are numbers; and how far the numbers `reached` are from its own number and
        from the nearest other's (log10 of the relative distance, from -4 to 1).
        """
        chosen = self.find(letter)
        if chosen is None:
            return NO_CHOICE
        others = [option for option in self.all if option is not chosen]
        told = [option.number for option in others if option.number is not None]
        return (
            float(ord(letter) - ord("a")),
            share(chosen.terms, body),
            max((share(option.terms, body) for option in others), default=0.0),
            sum(option.number is not None for option in self.all) / len(self.all),
            1.0 if chosen.number is None else _far(nearest(reached, chosen.number)),
            min((_far(nearest(reached, number)) for number in told), default=1.0),
        )


def share(terms: frozenset[str], body: frozenset[str]) -> float:
    """How many of `terms` stand in `body`, from 0 to 1; 0 without any."""
    return len(terms & body) / max(1, len(terms))


def terms_of(text: str) -> frozenset[str]:
    """Its distinct words and numbers, in lower case."""
    return frozenset(_TERM.findall(text.lower()))


def options_of(question: str) -> Options:
    """The options of `question`, each read."""
    stem, told = split_options(question)
    every = (Option(letter, terms_of(text), first_number(text)) for letter, text in told)
    return Options(stem, tuple(every))


def stem_of(question: str) -> tuple[str, int]:
    """The question without its options, and how many it has."""
    starts = [match.start() for match in _OPTION.finditer(question)]
    if len(starts) < FEWEST:
        return question, 0
    return question[: starts[0]], len(starts)


def split_options(question: str) -> tuple[str, list[tuple[str, str]]]:
    """The question without its options, and the letter and the text of each."""
    starts = list(_OPTION.finditer(question))
    if len(starts) < FEWEST:
        return question, []
    ends = [*(match.start() for match in starts[1:]), len(question)]
    told = [
        (match.group(1).lower(), question[match.end() : end])
        for match, end in zip(starts, ends, strict=True)
    ]
    return question[: starts[0].start()], told


def _far(distance: float) -> float:
    return min(1.0, math.log10(distance + 1e-4))
