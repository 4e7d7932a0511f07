"""Words that a second look at two questions knows: numbers, units, opposites, question words.

Tables only, all our own. English; a question in another tongue has fewer facets and so a higher
risk, never a wrong one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final


def _words(text: str) -> list[str]:
    return text.split()


def _groups(*lines: str) -> Mapping[str, str]:
    """`_groups("kilometre km kilometer")["km"] == "kilometre"`: each word to its line's first."""
    return {word: line.split()[0] for line in lines for word in line.split()}


_ONES: Final = _words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
    " fifteen sixteen seventeen eighteen nineteen"
)
_TENS: Final = _words("twenty thirty forty fifty sixty seventy eighty ninety")
SMALL_NUMBERS: Final[Mapping[str, int]] = {
    **{word: value for value, word in enumerate(_ONES)},
    **{word: 10 * value for value, word in enumerate(_TENS, start=2)},
    "dozen": 12,
}
SCALES: Final[Mapping[str, int]] = {"hundred": 100, "thousand": 1_000, "million": 1_000_000}

MONTHS: Final = _words(
    "january february march april may june july august september october november december"
)

SAME: Final = _groups(
    # units
    "millimetre mm millimeter",
    "centimetre cm centimeter",
    "metre m meter",
    "kilometre km kilometer kms",
    "inch inches",
    "foot ft feet",
    "yard yd",
    "mile mi",
    "gram g gm",
    "kilogram kg kilo kgs",
    "pound lb lbs",
    "ounce oz",
    "litre l liter",
    "millilitre ml milliliter",
    "celsius c centigrade",
    "fahrenheit f",
    "percent %",
    "dollar $ usd buck",
    "euro € eur",
    "sterling £ gbp",
    # operations
    "plus + added sum add total",
    "minus - subtracted subtract less difference",
    "times * multiplied multiply product x",
    "divided / divide quotient over",
    # words that one writes for the other
    "buy purchase",
    "big large",
    "method way",
    "picture photo image pic",
    "movie film",
    "phone mobile cellphone smartphone",
    "start begin",
    "fix repair resolve solve",
    "remove delete erase",
    "quick fast",
    "reset recover",
    "learn study",
    "make create",
    "get obtain receive",
    "stop prevent avoid",
    "error issue problem",
    "application app apps",
    "happen occur",
    "kid child children",
    "improve better enhance",
    "university college",
    "difference differ different distinction",
)
"""Spelling of a word to the one that stands for it."""

UNITS: Final = frozenset(
    _words(
        "millimetre centimetre metre kilometre inch foot yard mile gram kilogram pound ounce litre"
        " millilitre celsius fahrenheit percent dollar euro sterling second minute hour"
        " day week month"
        " year"
    )
)
OPERATIONS: Final = frozenset({"plus", "minus", "times", "divided"})
COMMUTATIVE: Final = frozenset({"plus", "times"})

NEGATIONS: Final = frozenset(
    _words(
        "not no never without cannot cant dont doesnt didnt isnt wont wouldnt shouldnt"
        " couldnt arent"
        " wasnt werent havent hasnt neither nor none nobody nothing unable except n't"
    )
)

_AXES: Final = (
    (
        "max maximum highest largest biggest best greatest",
        "min minimum least lowest smallest worst lower bottom",
    ),
    (
        "increase increasing raise rise",
        "decrease decreasing reduce lower lose drop down fall cut",
    ),
    ("before until prior", "after since following"),
    ("buy", "sell selling sold"),
    ("plus", "minus"),
    ("times", "divided"),
    ("enable enabled activate", "disable disabled deactivate"),
    ("open opening", "close closing closed"),
    ("remove uninstall", "plus install insert"),
    ("encrypt encode", "decrypt decode"),
    ("import", "export"),
    ("upload", "download"),
    ("advantage pro benefit", "disadvantage con drawback"),
    ("eligible", "ineligible"),
    ("legal", "illegal"),
    ("safe", "unsafe dangerous"),
    ("hot warm", "cold"),
    ("early earlier earliest", "late later latest"),
    ("first", "last"),
    ("old older oldest", "new newer newest young younger"),
    ("more", "fewer"),
    ("long longer longest", "short shorter shortest"),
    ("lend", "borrow"),
    ("deposit", "withdraw withdrawal"),
    ("credit", "debit"),
    ("win", "lose"),
    ("allow permit accept", "forbid refuse reject deny block"),
    ("lock", "unlock"),
    ("male man men boy husband", "female woman women girl wife"),
    ("input", "output"),
    ("north", "south"),
    ("east", "west"),
    ("arrival arrive", "departure depart leave"),
    ("odd", "even"),
    ("include including", "exclude excluding"),
    ("send", "get"),
    ("introvert", "extrovert"),
    ("ascending", "descending"),
    ("left", "right"),
    ("yes", "no"),
)
POLES: Final[Mapping[str, tuple[tuple[int, int], ...]]] = {
    word: tuple(
        (axis, pole)
        for axis, sides in enumerate(_AXES)
        for pole, side in enumerate(sides)
        if word in side.split()
    )
    for sides in _AXES
    for side in sides
    for word in side.split()
}
"""A word to the axes it stands on and the end of each."""

STOP_WORDS: Final = frozenset(
    _words(
        "a an the is are was were be been being am do does did doing have has had having"
        " i me my mine"
        " we us our you your he him his she her it its they them their this that these those there"
        " here of in on at to for from by with about as into and or but if so than then"
        " too very just"
        " can could will would shall should may might must please what which who whom"
        " whose when where"
        " why how many much tell give know want need like let get some any also really"
        " would s t d ll"
        " re ve m"
    )
)

ASKS: Final = _groups(
    "what which whats",
    "who whom whose",
    "when",
    "where",
    "why",
    "how",
    "whether is are was were do does did can could will would should has have am may",
)
"""First word of a question to what it asks for; `how many` and the like are told apart later."""
