"""A question as somebody typed it in, the same question in plain words and digits out.

Rule 1: what is said politely, in number words or with a written date is said in one way after.
Rule 2: nothing that changes the meaning is dropped; what is left over stays, and is not understood.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Final

_UNITS: Final = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS: Final = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_SMALL: Final = {word: value for value, word in enumerate(_UNITS)} | {
    word: 10 * value for value, word in enumerate(_TENS, start=2)
}
_SCALES: Final = {"thousand": 1_000, "million": 1_000_000}

_WORD: Final = "(?:" + "|".join([*_SMALL, "hundred", *_SCALES]) + r")\b"
_AND: Final = r"(?:(?<=hundred) and |(?<=thousand) and |[ -])"
_NUMBER_WORDS: Final = re.compile(rf"\b{_WORD}(?:{_AND}{_WORD})*")

_MONTHS: Final = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
_MONTH: Final = r"(?P<month>" + "|".join(f"{m}|{m[:3]}" for m in _MONTHS) + r")\b\.?"
_DAY: Final = r"(?:the )?(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_DATES: Final = (
    re.compile(rf"\b{_DAY} (?:of )?{_MONTH},? (?P<year>\d{{4}})\b"),
    re.compile(rf"\b{_MONTH} {_DAY},? (?P<year>\d{{4}})\b"),
)

_SAME: Final = (
    (re.compile("[\u2019\u2018]"), "'"),
    (re.compile("\u00d7"), "*"),
    (re.compile("\u00f7"), "/"),
    (re.compile("[\u2212\u2013]"), "-"),
    (re.compile(r"(?<=\d),(?=\d{3}\b)"), ""),
    (re.compile(r"\bwhat'?s\b"), "what is"),
    (re.compile(r"\bwhich one\b"), "which"),
    (re.compile(r"(?<=\d) ?(?:%|per ?cent\b)"), " percent"),
    (re.compile(r"\s+"), " "),
)

_OPENINGS: Final = re.compile(
    r"(?:(?:hi|hello|hey|please|quick question|i need to know|i(?: would|'d) like to know"
    r"|do you know|(?:can|could|would) you(?: please)?|tell me|calculate|compute|work out|find"
    r"|give me|evaluate|determine|figure out|what is|what does|how much is|the result of"
    r"|the value of|the)\b[ ,:!]*)+"
)
_ENDINGS: Final = re.compile(
    r"(?:[ ,]*(?:please|equal to|equals?(?: what)?|is what|make|=|thanks|thank you)|[ ?.!]+)+$"
)


def plain(text: str) -> str:
    """`text` in lower case, with digits, ISO dates, and without its frame of politeness.

    `plain("Could you tell me what's twenty-one plus 3?") == "21 plus 3"`
    """
    said = text.lower().strip()
    for pattern, same in _SAME:
        said = pattern.sub(same, said)
    said = _NUMBER_WORDS.sub(lambda found: str(_value(found[0])), said)
    for pattern in _DATES:
        said = pattern.sub(_iso, said)
    said = _ENDINGS.sub("", said)
    opening = _OPENINGS.match(said)
    return said[opening.end() :] if opening else said


def _value(words: str) -> int:
    """`_value("two thousand three hundred and five") == 2305`."""
    total = held = 0
    for word in re.split("[ -]", words):
        if word in _SCALES:
            total, held = total + max(held, 1) * _SCALES[word], 0
        elif word == "hundred":
            held = max(held, 1) * 100
        elif word != "and":
            held += _SMALL[word]
    return total + held


def _iso(found: re.Match[str]) -> str:
    month = next(i for i, name in enumerate(_MONTHS, 1) if name.startswith(found["month"][:3]))
    try:
        return date(int(found["year"]), month, int(found["day"])).isoformat()
    except ValueError:  # the 30th of February stays as it was written
        return found[0]
