"""Two questions that lie near each other in, what tells them apart out.

A few differences forbid a hit outright (a veto, with a word for it); the rest are numbers for the
risk model, in the order of `NAMES`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from cache.facets import Facets, is_number
from cache.lexicon import COMMUTATIVE, OPERATIONS, UNITS

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

_PREFIX: Final = 5
"""Chosen: two words that share so many letters are taken for forms of one."""

_SHORT_WORDS: Final = 3
"""Chosen: with fewer words of content, one word is most of the meaning."""


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


def compare(one: Facets, other: Facets) -> Comparison:
    """What tells `one`, the kept question, from `other`, the new one.

    The same either way round, but that who asks something more is not served by who asks less.
    """
    shared = one.content & other.content
    alone = _unmatched(one.content - shared, other.content - shared)
    unshared = sum(alone)
    has_same_numbers = one.numbers == other.numbers or Counter(one.numbers) == Counter(
        other.numbers
    )
    size = max(1, len(one.content) + len(other.content))
    smaller = max(1, min(len(one.content), len(other.content)))
    names = (len(one.names - other.places.keys()), len(other.names - one.places.keys()))
    poles = _opposed(one.poles, other.poles)
    values = (
        1.0 - unshared / size,
        1.0 - min(alone) / smaller,
        min(unshared, 8) / 8,
        _bigrams(one.words, other.words),
        float(not unshared),
        float(one.words == other.words),
        _order(one, other, shared),
        abs(len(one.words) - len(other.words)) / max(len(one.words), len(other.words), 1),
        float(not has_same_numbers),
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
    veto = _veto(_Pair(one, other, names, poles, overlap=values[0]))
    return Comparison(veto, values, not veto and _is_restated(one, other))


def _is_restated(one: Facets, other: Facets) -> bool:
    """`What is 12 plus 7?` and `How much is twelve plus seven?`; one step only.

    The encoder finds such a pair less alike (.82) than `12 plus 7` and `12 plus 8`. Longer
    expressions are left to the model: what is grouped with what is not seen here.
    """
    said, other_said = one.content - _FRAME, other.content - _FRAME
    is_whole = all(word in UNITS or word in OPERATIONS or is_number(word) for word in said)
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


@dataclass(frozen=True, slots=True)
class _Pair:
    """What the vetoes are asked of; `names`, `poles` and `overlap` as in `compare`."""

    one: Facets
    other: Facets
    names: tuple[int, int]
    poles: bool
    overlap: float


def _veto(pair: _Pair) -> str:
    """The word for what forbids a hit; none is asked after the first that does."""
    return next((word for applies, word in _VETOES if applies(pair)), "")


def _is_other_number(pair: _Pair) -> bool:
    one, other = pair.one, pair.other
    if one.numbers == other.numbers:
        return False
    lacks = (_has_more(one.numbers, other.numbers), _has_more(other.numbers, one.numbers))
    return all(lacks) or (any(lacks) and bool(one.operations | other.operations))


def _has_more(one: Sequence[str], other: Sequence[str]) -> bool:
    """`one` says something more often than `other`."""
    left = Counter(other)
    for word in one:
        if not left[word]:
            return True
        left[word] -= 1
    return False


def _is_other_unit(pair: _Pair) -> bool:
    one, other = pair.one.quantities, pair.other.quantities
    return one != other and bool(one and other)


def _is_other_order(pair: _Pair) -> bool:
    one, other = pair.one, pair.other
    return bool((one.operations | other.operations) - COMMUTATIVE) and (
        one.numbers != other.numbers or _turning(one) != _turning(other)
    )


def _is_negated(pair: _Pair) -> bool:
    return (
        pair.one.negations - pair.other.negations
    ) % 2 == 1 and pair.overlap >= _SAME_BUT_FOR_NOT


def _is_other_id(pair: _Pair) -> bool:
    one, other = pair.one.codes, pair.other.codes
    return bool(one - other) and bool(other - one)


def _asks_apart(pair: _Pair) -> bool:
    one, other = pair.one.asks, pair.other.asks
    return one != other and {one, other} <= _ASKS_APART


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


def _is_exchanged(one: Facets, other: Facets) -> bool:
    """`Will Rome beat Carthage?` and `Will Carthage beat Rome?`: two words in each other's place.

    Not where they are neighbours (`written already`), nor where a word says that either order
    means the same. Measured: of the 13,700 judged pairs it takes 4, and none of them served.
    """
    if len(one.words) != len(other.words) or _EVEN.intersection(one.words):
        return False
    places = [at for at, word in enumerate(one.words) if word != other.words[at]]
    if len(places) != 2 or places[1] - places[0] < 2:  # noqa: PLR2004 - two, and not neighbours
        return False
    first, last = places
    swapped = {one.words[first], one.words[last]}
    return one.words[first] == other.words[last] and swapped <= other.content & one.content


_EVEN: Final = frozenset(
    {
        "and",
        "or",
        "vs",
        "versus",
        "between",
        "difference",
        "different",
        "same",
        "similar",
        "compare",
        "comparison",
        "both",
    }
)
"""Words beside which either order says the same."""


def _asks_more(one: Facets, other: Facets) -> bool:
    """`What is X?` and `What is X? How is it made?`: the same to the word, and one question more.

    Measured: of the 13,700 judged pairs it takes 21, of which 14 were not served.
    """
    rest = other.words[len(one.words) :]
    return (
        other.words[: len(one.words)] == one.words
        and other.marks > one.marks > 0
        and len(rest) >= _SHORT_WORDS
        and bool(_FURTHER.intersection(rest))
    )


_FURTHER: Final = frozenset({"how", "what", "where", "who", "when", "which"})
"""`Why?` alone is left out: who asks what is best is mostly told why."""


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


_ASKS_APART: Final = frozenset(
    {"who", "when", "where", "why", "how", "how_long", "how_often", "how_far"}
)
"""No two of them are asked by one answer; `what` may stand for any of them."""


_VETOES: Final[tuple[tuple[Callable[[_Pair], bool], str], ...]] = (
    (_is_other_number, "number"),
    (_is_other_unit, "unit"),
    (lambda pair: pair.one.operations != pair.other.operations, "operation"),
    (_is_other_order, "number order"),
    (lambda pair: min(pair.names) > 0, "name"),
    (_is_negated, "negation"),
    (lambda pair: pair.poles, "opposite"),
    (_is_other_id, "id"),
    (lambda pair: pair.one.symbols != pair.other.symbols, "symbol"),
    (lambda pair: _is_turned(pair.one, pair.other), "direction"),
    (lambda pair: _is_exchanged(pair.one, pair.other), "roles"),
    (lambda pair: _asks_more(pair.one, pair.other), "asks more"),
    (_asks_apart, "asks"),
)
"""In the order in which they speak. Measured: docs/cache.md, "What a veto costs"."""


def _unmatched(one: frozenset[str], other: frozenset[str]) -> tuple[int, int]:
    """How many words of each have no other form in the other."""
    heads, other_heads = ([word[:_PREFIX] for word in words] for words in (one, other))
    if set(heads).isdisjoint(other_heads):
        return len(one), len(other)
    return (
        sum(head not in other_heads for head in heads),
        sum(head not in heads for head in other_heads),
    )


def _opposed(one: frozenset[tuple[int, int]], other: frozenset[tuple[int, int]]) -> bool:
    """Each says an end of one axis, and neither says the other's."""
    only, other_only = one - other, other - one
    return any((axis, 1 - pole) in other_only for axis, pole in only)


def _order(one: Facets, other: Facets, shared: frozenset[str]) -> float:
    """Share of neighbouring shared words that stand the other way round, in [0, 1]."""
    if len(shared) < 2:  # noqa: PLR2004 - one word has no order
        return 0.0
    order = [other.places[word] for word in one.places if word in shared]
    return sum(a > b for a, b in pairwise(order)) / (len(order) - 1)


def _bigrams(one: Sequence[str], other: Sequence[str]) -> float:
    """Share of the pairs of neighbouring words that both say, in [0, 1]."""
    pairs, other_pairs = (set(pairwise(words)) for words in (one, other))
    both = len(pairs & other_pairs)
    union = len(pairs) + len(other_pairs) - both
    return both / union if union else 1.0
