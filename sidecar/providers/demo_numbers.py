"""Questions on what a list's order is, what divides a number, and what letters a word has."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Final

from sidecar.providers.demo_values import Question, families, numeric, shown

_MAX_PRIME: Final = 10**8
"""Chosen: trial division up to its root takes 10,000 steps at most."""

_GLANCE: Final = 4
"""Chosen: as many numbers as one orders at a glance; a longer list counts as harder."""

_BY_HEART: Final = 100
"""Chosen: the primes below it are commonly known; a larger number has to be tried."""


def _listed(found: re.Match[str]) -> list[Fraction]:
    return sorted(Fraction(number) for number in re.findall(r"-?\d+", found["list"]))


def _joined(numbers: list[Fraction]) -> str:
    return ", ".join(map(shown, numbers))


def _largest(found: re.Match[str]) -> Question:
    numbers = _listed(found)
    return numeric(f"largest of {_joined(numbers)}", numbers[-1], 1)


def _smallest(found: re.Match[str]) -> Question:
    numbers = _listed(found)
    return numeric(f"smallest of {_joined(numbers)}", numbers[0], 1)


def _rising(found: re.Match[str]) -> Question:
    numbers = _listed(found)
    return _ordered(f"{_joined(numbers)} in rising order", numbers)


def _falling(found: re.Match[str]) -> Question:
    numbers = _listed(found)
    return _ordered(f"{_joined(numbers)} in falling order", numbers[::-1])


def _ordered(meaning: str, numbers: list[Fraction]) -> Question:
    difficulty = 2 if len(numbers) <= _GLANCE else 3
    return Question(meaning=meaning, value=_joined(numbers), kind="list", difficulty=difficulty)


def _letter(found: re.Match[str]) -> Question:
    letter, word = found["letter"], found["word"]
    return numeric(f"letters {letter} in {word}", word.count(letter), 3)


def _length(found: re.Match[str]) -> Question:
    return numeric(f"letters in {found['word']}", len(found["word"]), 2)


def _prime(found: re.Match[str]) -> Question | None:
    number = int(found["n"])
    if number > _MAX_PRIME:
        return None
    is_prime = number > 1 and all(number % factor for factor in range(2, math.isqrt(number) + 1))
    return Question(
        meaning=f"is {number} prime",
        value="yes" if is_prime else "no",
        kind="truth",
        difficulty=2 if number < _BY_HEART else 3,
    )


def _gcd(found: re.Match[str]) -> Question:
    first, second = sorted((int(found["n"]), int(found["m"])))
    return numeric(f"gcd of {first} and {second}", math.gcd(first, second), 2)


def _lcm(found: re.Match[str]) -> Question:
    first, second = sorted((int(found["n"]), int(found["m"])))
    return numeric(f"lcm of {first} and {second}", math.lcm(first, second), 3)


_N: Final = r"(?P<n>\d{1,9})"
_M: Final = r"(?P<m>\d{1,9})"
_AND: Final = r"(?:, and |, or |, | and | or )"
_LIST: Final = rf"(?P<list>-?\d{{1,9}}(?:{_AND}-?\d{{1,9}}){{1,11}})"
_THESE: Final = rf"(?: number)? (?:of|among|out of|in)(?: the numbers)? {_LIST}"
_LARGE: Final = "(?:larger|bigger|greater|higher|largest|biggest|greatest|highest)"
_SMALL: Final = "(?:smaller|lower|smallest|lowest|least)"
_WHICH: Final = "which(?: number)? is (?:the )?"
_SORT: Final = rf"(?:sort|order|arrange|put|list)(?: the)?(?: numbers)?:? {_LIST},?"
_RISING: Final = (
    rf"(?:(?:in |into )?(?:ascending|increasing|rising)(?: order)?|from {_SMALL} to {_LARGE})"
)
_FALLING: Final = (
    rf"(?:(?:in |into )?(?:descending|decreasing|falling)(?: order)?|from {_LARGE} to {_SMALL})"
)
_OF_LETTER: Final = r"['\"]?(?P<letter>[a-z])['\"]?"
_IN_WORD: Final = r"in (?:the )?(?:word )?['\"]?(?P<word>[a-z]{1,30})['\"]?"
_HOW_OFTEN: Final = "how (?:many times|often) (?:does|is)"
_APPEAR: Final = "(?:appear|occur|used|come up)"
_WORD: Final = r"(?:the )?(?:word )?['\"]?(?P<word>[a-z]{1,30})['\"]?"
_GCD: Final = "(?:gcd|greatest common (?:divisor|factor)|highest common factor)"

FAMILIES: Final = families(
    (rf"{_WHICH}{_LARGE}[,:]? {_LIST}", _largest),
    (rf"{_LARGE}{_THESE}", _largest),
    (rf"which of {_LIST} is (?:the )?{_LARGE}", _largest),
    (rf"{_WHICH}{_SMALL}[,:]? {_LIST}", _smallest),
    (rf"{_SMALL}{_THESE}", _smallest),
    (rf"which of {_LIST} is (?:the )?{_SMALL}", _smallest),
    (rf"{_SORT} {_RISING}", _rising),
    (rf"{_SORT} {_FALLING}", _falling),
    (rf"{_HOW_OFTEN} (?:the )?(?:letter )?{_OF_LETTER} {_APPEAR} {_IN_WORD}", _letter),
    (rf"how many {_OF_LETTER}(?:'?s)? (?:are )?(?:there )?{_IN_WORD}", _letter),
    (rf"(?:count|number of)(?: the)?(?: letters?)? {_OF_LETTER}(?:'?s)? {_IN_WORD}", _letter),
    (rf"how many letters (?:does|has|are there in|are in) {_WORD}(?: have| got)?", _length),
    (rf"(?:length of|number of letters in) {_WORD}", _length),
    (rf"is {_N} (?:a )?prime(?: number)?", _prime),
    (rf"(?:check )?(?:whether|if) {_N} is (?:a )?prime(?: number)?", _prime),
    (rf"{_GCD} of {_N} and {_M}", _gcd),
    (rf"(?:lcm|(?:least|lowest) common multiple) of {_N} and {_M}", _lcm),
)
