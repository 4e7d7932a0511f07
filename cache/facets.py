"""One question in, its parts out: words, numbers, names, negations, what it asks for.

The encoder finds what is about the same; it hardly sees a number, a name, a "not" or who does what
to whom. So each question is taken apart once, when it is kept or asked, and `guard` compares pairs
by their parts. The vocabulary is English.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Final

from cache.lexicon import (
    ASKS,
    MONTHS,
    NEGATIONS,
    OPERATIONS,
    POLES,
    SAME,
    SCALES,
    SMALL_NUMBERS,
    STOP_WORDS,
    UNITS,
)

_MONTH: Final = "(" + "|".join(f"{month}|{month[:3]}" for month in MONTHS) + r")\b\.?"
_DATES: Final = (
    (
        re.compile(rf"\b(\d{{1,2}})(?:st|nd|rd|th)? (?:of )?{_MONTH},? (\d{{4}})\b", re.IGNORECASE),
        (3, 2, 1),
    ),
    (
        re.compile(rf"\b{_MONTH} (\d{{1,2}})(?:st|nd|rd|th)?,? (\d{{4}})\b", re.IGNORECASE),
        (3, 1, 2),
    ),
)
_DIGIT: Final = re.compile(r"\d")
_THOUSANDS: Final = re.compile(r"(?<=\d),(?=\d{3}\b)")
_QUOTED: Final = re.compile(r"\"([^\"]{1,200})\"|`([^`]{1,200})`|(?<!\w)'([^']{2,200})'(?!\w)")
_TOKEN: Final = re.compile(
    r"\d{4}-\d\d-\d\d"  # a date
    r"|\d+(?:\.\d+)?(?:st|nd|rd|th)?(?![\w])"  # a number
    r"|\d+(?:\.\d+)?(?=(?:mm|cm|km|m|kg|g|lb|lbs|oz|ml|l|ft|mi|k|%)\b)"  # a number on its unit
    r"|[A-Za-z]*\d[\w.-]*\w|\w+(?:[_.:]+\w+)+"  # an id, a name in code
    r"|[^\W\d_]+(?:['\u2019][^\W\d_]+)?"  # a word
    r"|[-+*/%$\u20ac\u00a3]"
)
_POSSESSIVES: Final = frozenset({"my", "our", "mine", "ours"})
_SYMBOLS: Final = re.compile(r"!?[<>=^&|~#@\\{}\[\]]+")
_MODALS: Final = frozenset({"should", "must", "has", "have", "had", "did", "was", "were", "will"})
_PART_END: Final = re.compile(r"[.?!]\s+(?=\w)")
_MAX_TOKENS: Final = 512
"""Chosen: twice the encoder's window in words; bounds what one pair may cost."""

_TITLE_CASE_RATIO: Final = 0.6
"""Chosen: where more of the words are capitalised, capitals mark a title and no names."""

_SIGNS: Final = frozenset("+-*/%$\u20ac\u00a3")


@dataclass(frozen=True, slots=True)
class Facets:
    """One question, taken apart.

    Attributes:
        words: Every word, in lower case, one spelling each, without its ending.
        content: Those that carry meaning.
        numbers: Numbers and dates in the order said, in one spelling.
        quantities: `number unit` pairs.
        names: Capitalised words inside a sentence.
        codes: Quoted text, ids and names in code.
        symbols: Signs that only code and formulas have, in the order said.
        poles: (axis, end) of each word that has an opposite.
        operations: Arithmetic that it asks for.
        asks: What it asks for: what, who, how_many, whether ...
        negations: How often it says no.
        modals: Of its verbs: may one, should one, did one.
        parts: How many questions or statements it makes.
        marks: How many question marks it has.
        is_personal: It speaks of what is the speaker's own.
        places: Each of `words`, once, in the order said, and where it stands first.
    """

    words: tuple[str, ...]
    content: frozenset[str]
    numbers: tuple[str, ...]
    quantities: frozenset[str]
    names: frozenset[str]
    codes: frozenset[str]
    symbols: tuple[str, ...]
    poles: frozenset[tuple[int, int]]
    operations: frozenset[str]
    asks: str
    negations: int
    modals: frozenset[str]
    parts: int
    marks: int
    is_personal: bool
    places: Mapping[str, int]


def facets(question: str) -> Facets:
    """The parts of `question`; some 50 microseconds for ten words."""
    text = _with_dates(question) if _DIGIT.search(question) else question
    tokens = _TOKEN.findall(text)[:_MAX_TOKENS]
    raw = _with_numbers([token.lower().replace("\u2019", "'") for token in tokens])
    words = tuple(_stem(word) for word in raw)
    numbers = tuple(word for word in words if word[0].isdigit() and is_number(word))
    quantities = frozenset(
        f"{number} {unit}"
        for number, unit in pairwise(words)
        if unit in UNITS and number in numbers
    )
    quoted = {next(filter(None, found)).lower() for found in _QUOTED.findall(text)}
    odd = {w for w in words if not w.isalpha() and not is_number(w) and len(w) > 1 and "'" not in w}
    return Facets(
        words=words,
        content=frozenset(w for w in words if w not in STOP_WORDS and w not in _SIGNS),
        numbers=numbers,
        quantities=quantities,
        names=_names(tokens, text),
        codes=frozenset(quoted | odd),
        symbols=tuple(_SYMBOLS.findall(text)),
        poles=frozenset(
            pole
            for pair in zip(raw, words, strict=True)
            for w in set(pair)
            for pole in POLES.get(w, ())
        ),
        operations=_operations(words) if len(numbers) > 1 else frozenset(),
        asks=_asks(raw),
        negations=sum(word in NEGATIONS or word.endswith("n't") for word in raw),
        modals=_MODALS.intersection(raw),
        parts=len(_PART_END.findall(text.strip(" .?!\n"))),
        marks=text.count("?"),
        is_personal=not _POSSESSIVES.isdisjoint(raw),
        places=_places(words),
    )


def _places(words: Sequence[str]) -> Mapping[str, int]:
    """`_places(["a", "b", "a"]) == {"a": 0, "b": 1}`."""
    first = zip(reversed(words), reversed(range(len(words))), strict=True)
    return {**dict.fromkeys(words, 0), **dict(first)}


def is_number(word: str) -> bool:
    """`word` is a number or a date, as `Facets` spells them."""
    return word.replace(".", "", 1).replace("-", "").isdigit()


def _with_dates(question: str) -> str:
    """The question with its numbers whole and its dates in one spelling."""
    text = _THOUSANDS.sub("", question)
    for pattern, order in _DATES:
        text = pattern.sub(partial(_iso, order), text)
    return text


def _iso(order: tuple[int, int, int], found: re.Match[str]) -> str:
    year, month, day = (found[place] for place in order)
    number = next(i for i, name in enumerate(MONTHS, 1) if name.startswith(month[:3].lower()))
    return f"{year}-{number:02d}-{int(day):02d}"


def _with_numbers(tokens: Sequence[str]) -> list[str]:
    """`_with_numbers(["two", "hundred", "and", "five", "km"]) == ["205", "km"]`."""
    made: list[str] = []
    run: list[str] = []
    for place, token in enumerate([*tokens, ""]):
        if token in SMALL_NUMBERS or (run and token in SCALES):
            run.append(token)
            continue
        follows = tokens[place + 1] if place + 1 < len(tokens) else ""
        if (
            run
            and token in {"and", "-"}
            and run[-1] in {*SCALES, *_TENS}
            and (follows in SMALL_NUMBERS)
        ):
            continue
        if run:
            made.append(_value(run) if run != ["one"] else "one")
            run = []
        if token:
            made.append(token)
    return made


_TENS: Final = frozenset(word for word, value in SMALL_NUMBERS.items() if value % 10 == 0)


def _value(run: Sequence[str]) -> str:
    total = held = 0
    for word in run:
        if word == "hundred":
            held = max(held, 1) * 100
        elif word in SCALES:
            total, held = total + max(held, 1) * SCALES[word], 0
        else:
            held += SMALL_NUMBERS[word]
    return str(total + held)


_MIN_STEM: Final = 4
_ENDS: Final = frozenset("sgd")
"""Of the endings that are taken off; most words end otherwise."""


def _stem(word: str) -> str:
    """One spelling, without a plural's or a verb's ending; crude on purpose."""
    if word in SAME:
        return SAME[word]
    if word[0].isdigit():
        bare = word.rstrip("stndrh") if word[-1] in "thd" else word
        return bare.rstrip("0").rstrip(".") if "." in bare and is_number(bare) else bare
    word = word.removesuffix("'s")
    if word[-1:] not in _ENDS:
        return SAME.get(word, word)
    for ending, instead in (("ies", "y"), ("sses", "ss"), ("ing", ""), ("ed", ""), ("s", "")):
        if word.endswith(ending) and not word.endswith("ss"):
            if len(word) - len(ending) + len(instead) >= _MIN_STEM - (ending == "s"):
                word = word.removesuffix(ending) + instead
            break
    return SAME.get(word, word)


def _operations(words: Sequence[str]) -> frozenset[str]:
    """Signs and words of arithmetic that stand beside a number, or ask for a result by name."""
    padded = ("", *words, "")
    found = set()
    for before, word, after in zip(padded, words, padded[2:], strict=False):
        if word in OPERATIONS:
            beside = (is_number(before), is_number(after))
            if any(beside) or after == "of":
                found.add(word)
    return frozenset(found)


def _names(tokens: Sequence[str], text: str) -> frozenset[str]:
    words = [token for token in tokens if token[0].isalpha()]
    capitals = [word for word in words if word[0].isupper()]
    if len(capitals) > _TITLE_CASE_RATIO * len(words):
        return frozenset()
    starts = {found[1] for found in _SENTENCE_START.finditer(text)}
    inside = (word for word in capitals if word not in starts and not word.startswith("I'"))
    return frozenset(_stem(word.lower()) for word in inside if word != "I") - STOP_WORDS


_SENTENCE_START: Final = re.compile(r"(?:^|[.?!:\n])\W*(\w+)")


def _asks(words: Sequence[str]) -> str:
    """The first word that asks; `how` with the word that says how.

    `can you tell me why` asks why: a verb counts only where nothing else asks.
    """
    asked = [(place, ASKS[word]) for place, word in enumerate(words) if word in ASKS]
    place, ask = next(((p, a) for p, a in asked if a != "whether"), (0, ""))
    if ask == "how":
        after = words[place + 1] if place + 1 < len(words) else ""
        return f"how_{after}" if after in {"many", "much", "long", "often", "far"} else "how"
    return ask or ("whether" if asked else "do")
