"""Two questions that lie near each other in, what tells them apart out.

The encoder finds what is about the same; it hardly sees a number, a name, a "not" or who does what
to whom. So each question is taken apart once, when it is kept or asked, and a pair is compared by
its parts: a few differences forbid a hit outright (a veto, with a word for it), the rest are
numbers for the risk model, in the order of `NAMES`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Final

from cache.lexicon import (
    ASKS,
    COMMUTATIVE,
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

NAMES: Final = (
    "overlap",
    "contained",
    "unmatched",
    "bigrams",
    "same_content",
    "same_words",
    "order",
    "length",
    "number",
    "name",
    "names_both",
    "code",
    "negation",
    "pole",
    "ask",
    "person",
    "first_word",
    "short",
    "modal",
    "parts",
)
"""Names of `Comparison.values`, in order."""

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

_PREFIX: Final = 5
"""Chosen: two words that share so many letters are taken for forms of one."""

_SHORT_WORDS: Final = 3
"""Chosen: with fewer words of content, one word is most of the meaning."""


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
        is_personal: It speaks of what is the speaker's own.
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
    is_personal: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """What tells two questions apart.

    Attributes:
        veto: The word for a difference that forbids a hit; empty if there is none.
        values: The risk model's inputs, named by `NAMES`.
        is_restated: One calculation or conversion, said twice: nothing is left over in either.
    """

    veto: str
    values: tuple[float, ...]
    is_restated: bool = False


def facets(question: str) -> Facets:
    """The parts of `question`; some 50 microseconds for ten words."""
    text = _THOUSANDS.sub("", question)
    for pattern, order in _DATES:
        text = pattern.sub(partial(_iso, order), text)
    tokens = _TOKEN.findall(text)[:_MAX_TOKENS]
    raw = _with_numbers([token.lower().replace("\u2019", "'") for token in tokens])
    words = tuple(_stem(word) for word in raw)
    numbers = tuple(word for word in words if word[0].isdigit() and _is_number(word))
    quantities = frozenset(
        f"{number} {unit}"
        for number, unit in pairwise(words)
        if unit in UNITS and number in numbers
    )
    quoted = {next(filter(None, found)).lower() for found in _QUOTED.findall(text)}
    odd = {
        w for w in words if not w.isalpha() and not _is_number(w) and len(w) > 1 and "'" not in w
    }
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
        is_personal=not _POSSESSIVES.isdisjoint(raw),
    )


def compare(one: Facets, other: Facets) -> Comparison:
    """What tells `one` from `other`; the same either way round."""
    shared = one.content & other.content
    alone = _unmatched(one.content - shared, other.content - shared)
    size = max(1, len(one.content) + len(other.content))
    smaller = max(1, min(len(one.content), len(other.content)))
    names = (len(one.names - set(other.words)), len(other.names - set(one.words)))
    poles = _opposed(one.poles, other.poles)
    values = (
        1.0 - sum(alone) / size,
        1.0 - min(alone) / smaller,
        min(sum(alone), 8) / 8,
        _bigrams(one.words, other.words),
        float(not sum(alone)),
        float(one.words == other.words),
        _order(one.words, other.words, shared),
        abs(len(one.words) - len(other.words)) / max(len(one.words), len(other.words), 1),
        float(Counter(one.numbers) != Counter(other.numbers)),
        min(sum(names), 3) / 3,
        float(min(names) > 0),
        float(one.codes != other.codes),
        float((one.negations - other.negations) % 2),
        float(poles),
        float(one.asks != other.asks),
        float(one.is_personal != other.is_personal),
        float(one.words[:1] != other.words[:1]),
        float(smaller < _SHORT_WORDS),
        float(one.modals != other.modals),
        float(one.parts != other.parts),
    )
    veto = _veto(one, other, names=names, poles=poles, overlap=values[0])
    return Comparison(veto, values, not veto and _is_restated(one, other))


def _is_restated(one: Facets, other: Facets) -> bool:
    """`What is 12 plus 7?` and `How much is twelve plus seven?`; one step only.

    The encoder finds such a pair less alike (.82) than `12 plus 7` and `12 plus 8`. Longer
    expressions are left to the model: what is grouped with what is not seen here.
    """
    said, other_said = one.content - _FRAME, other.content - _FRAME
    is_whole = all(word in UNITS or word in OPERATIONS or _is_number(word) for word in said)
    is_one_step = len(one.numbers) == len(one.operations) + 1 and len(one.operations) <= 1
    return (
        said == other_said
        and is_whole
        and is_one_step
        and bool(one.operations or one.quantities)
        and Counter(one.numbers) == Counter(other.numbers)
        and one.quantities == other.quantities
        and one.poles == other.poles
        and one.negations == other.negations == 0
        and _turning(one) == _turning(other)
    )


def _turning(of: Facets) -> frozenset[str]:
    return _REVERSING.intersection(of.words)


def _veto(
    one: Facets, other: Facets, *, names: tuple[int, int], poles: bool, overlap: float
) -> str:
    """The word for what forbids a hit. Measured: docs/cache.md, "What a veto costs"."""
    numbers, other_numbers = Counter(one.numbers), Counter(other.numbers)
    computes = one.operations | other.operations
    lacks = (bool(numbers - other_numbers), bool(other_numbers - numbers))
    checks = (
        (all(lacks) or (any(lacks) and bool(computes)), "number"),
        (one.quantities != other.quantities and bool(one.quantities and other.quantities), "unit"),
        (one.operations != other.operations, "operation"),
        (
            bool(computes - COMMUTATIVE)
            and (one.numbers != other.numbers or _turning(one) != _turning(other)),
            "number order",
        ),
        (min(names) > 0, "name"),
        ((one.negations - other.negations) % 2 == 1 and overlap >= _SAME_BUT_FOR_NOT, "negation"),
        (poles, "opposite"),
        (bool(one.codes - other.codes) and bool(other.codes - one.codes), "id"),
        (one.symbols != other.symbols, "symbol"),
        (_is_turned(one, other), "direction"),
        (one.asks != other.asks and {one.asks, other.asks} <= _ASKS_APART, "asks"),
    )
    return next((word for applies, word in checks if applies), "")


_SIGNS: Final = frozenset("+-*/%$\u20ac\u00a3")
_REVERSING: Final = frozenset({"from", "than", "into"})
"""`7 from 12`, `7 less than 12`, `4 into 12`: the second number comes first."""

_FRAME: Final = frozenset(
    {
        "convert",
        "calculate",
        "compute",
        "work",
        "out",
        "find",
        "result",
        "value",
        "equal",
        "equals",
        "answer",
        "express",
    }
)
"""Words that ask for a calculation and are no part of it, as `_stem` leaves them."""

_DIRECTIONS: Final = ("from", "to", "into", "before", "after", "than", "by")

_SAME_BUT_FOR_NOT: Final = 0.75
"""Measured: below it a "not" tells a story (`it isn't working`) more often than it turns a question
round: of banking's pairs that differ in one, 62 of 80 are served by the same answer."""


def _is_turned(one: Facets, other: Facets) -> bool:
    """The same words, but `to London` here and `to Paris` there."""
    if one.content != other.content:
        return False
    heads, other_heads = _heads(one), _heads(other)
    return any(head != other_heads[word] for word, head in heads.items() if word in other_heads)


def _heads(of: Facets) -> dict[str, str]:
    """The first meaningful word after each word of direction."""
    found: dict[str, str] = {}
    waiting = ""
    for word in of.words:
        if word in _DIRECTIONS:
            waiting = word
        elif waiting and word in of.content:
            found.setdefault(waiting, word)
            waiting = ""
    return found


def _is_number(word: str) -> bool:
    return word.replace(".", "", 1).replace("-", "").isdigit()


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


def _stem(word: str) -> str:
    """One spelling, without a plural's or a verb's ending; crude on purpose."""
    if word in SAME:
        return SAME[word]
    if word[0].isdigit():
        bare = word.rstrip("stndrh") if word[-1] in "thd" else word
        return bare.rstrip("0").rstrip(".") if "." in bare and _is_number(bare) else bare
    word = word.removesuffix("'s")
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
            beside = (_is_number(before), _is_number(after))
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


_ASKS_APART: Final = frozenset(
    {"who", "when", "where", "why", "how", "how_long", "how_often", "how_far"}
)
"""No two of them are asked by one answer; `what` may stand for any of them."""


def _unmatched(one: frozenset[str], other: frozenset[str]) -> tuple[int, int]:
    """How many words of each have no other form in the other."""
    if not one or not other:
        return len(one), len(other)
    heads, other_heads = ({word[:_PREFIX] for word in words} for words in (one, other))
    return (
        sum(word[:_PREFIX] not in other_heads for word in one),
        sum(word[:_PREFIX] not in heads for word in other),
    )


def _opposed(one: frozenset[tuple[int, int]], other: frozenset[tuple[int, int]]) -> bool:
    """Each says an end of one axis, and neither says the other's."""
    only, other_only = one - other, other - one
    return any((axis, 1 - pole) in other_only for axis, pole in only)


def _order(one: Sequence[str], other: Sequence[str], shared: frozenset[str]) -> float:
    """Share of neighbouring shared words that stand the other way round, in [0, 1]."""
    places = {word: place for place, word in reversed(list(enumerate(other))) if word in shared}
    order = [places[word] for word in dict.fromkeys(one) if word in places]
    if len(order) < 2:  # noqa: PLR2004 - one word has no order
        return 0.0
    return sum(a > b for a, b in pairwise(order)) / (len(order) - 1)


def _bigrams(one: Sequence[str], other: Sequence[str]) -> float:
    """Share of the pairs of neighbouring words that both say, in [0, 1]."""
    pairs, other_pairs = (set(pairwise(w)) for w in (one, other))
    union = len(pairs | other_pairs)
    return len(pairs & other_pairs) / union if union else 1.0
