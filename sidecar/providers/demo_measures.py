"""Questions on units and percentages."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final

from sidecar.providers.demo_values import Question, families, numeric, shown

# Source: the international yard and pound agreement of 1959, exact; the rest is SI's own.
_LENGTH: Final = {
    "millimetre": "1/1000",
    "centimetre": "1/100",
    "metre": "1",
    "kilometre": "1000",
    "inch": "0.0254",
    "foot": "0.3048",
    "yard": "0.9144",
    "mile": "1609.344",
}
_MASS: Final = {"gram": "1", "kilogram": "1000", "pound": "453.59237", "ounce": "28.349523125"}
_TIME: Final = {"second": "1", "minute": "60", "hour": "3600", "day": "86400", "week": "604800"}
_VOLUME: Final = {"millilitre": "1", "litre": "1000"}
_SCALES: Final = tuple(
    {unit: Fraction(size) for unit, size in scale.items()}
    for scale in (_LENGTH, _MASS, _TIME, _VOLUME)
)
_IMPERIAL: Final = frozenset({"inch", "foot", "yard", "mile", "pound", "ounce"})
_ALIASES: Final = {
    "mm": "millimetre",
    "cm": "centimetre",
    "m": "metre",
    "km": "kilometre",
    "g": "gram",
    "kg": "kilogram",
    "lb": "pound",
    "lbs": "pound",
    "oz": "ounce",
    "ft": "foot",
    "feet": "foot",
    "inches": "inch",
    "ml": "millilitre",
    "l": "litre",
}


def _unit(said: str) -> str:
    british = said.replace("meter", "metre").replace("liter", "litre")
    return _ALIASES.get(british, british.removesuffix("s"))


def _conversion(found: re.Match[str]) -> Question | None:
    amount, source, wanted = Fraction(found["n"]), _unit(found["u"]), _unit(found["v"])
    for scale in _SCALES:
        if source in scale and wanted in scale and source != wanted:
            difficulty = 2 if {source, wanted} & _IMPERIAL else 1
            value = amount * scale[source] / scale[wanted]
            return numeric(f"{shown(amount)} {source} in {wanted}", value, difficulty)
    return None


def _temperature(found: re.Match[str]) -> Question | None:
    amount, source, wanted = Fraction(found["n"]), found["u"][0], found["v"][0]
    if source == wanted:
        return None
    value = amount * 9 / 5 + 32 if wanted == "f" else (amount - 32) * 5 / 9
    return numeric(f"{shown(amount)} degrees {source.upper()} in {wanted.upper()}", value, 2)


def _percentage(found: re.Match[str]) -> Question:
    share, whole = Fraction(found["n"]), Fraction(found["m"])
    difficulty = 2 if share % 10 else 1
    return numeric(f"{shown(share)}% of {shown(whole)}", share * whole / 100, difficulty)


def _raised(found: re.Match[str]) -> Question:
    whole, share = Fraction(found["n"]), Fraction(found["m"])
    return numeric(f"{shown(whole)} + {shown(share)}%", whole * (100 + share) / 100, 2)


def _lowered(found: re.Match[str]) -> Question:
    whole, share = Fraction(found["n"]), Fraction(found["m"])
    return numeric(f"{shown(whole)} - {shown(share)}%", whole * (100 - share) / 100, 2)


def _share(found: re.Match[str]) -> Question | None:
    part, whole = Fraction(found["n"]), Fraction(found["m"])
    if whole == 0:
        return None
    return numeric(f"{shown(part)} as % of {shown(whole)}", 100 * part / whole, 2)


_N: Final = r"(?P<n>-?\d{1,9}(?:\.\d{1,6})?)"
_M: Final = r"(?P<m>-?\d{1,9}(?:\.\d{1,6})?)"
_U: Final = r"(?P<u>[a-z]{1,12})"
_V: Final = r"(?P<v>[a-z]{1,12})"
_SCALE: Final = "celsius|fahrenheit"
_FROM: Final = rf"(?:degrees? )?(?P<u>{_SCALE})"
_TO: Final = rf"(?:to|in|into|as) (?:degrees? )?(?P<v>{_SCALE})"

FAMILIES: Final = families(
    (rf"(?:convert |express )?{_N} {_FROM} {_TO}", _temperature),
    (rf"(?:convert |express )?{_N} ?{_U} (?:to|in|into|as) {_V}", _conversion),
    (rf"how many {_V} (?:are )?(?:there )?(?:in|make(?: up)?) {_N} ?{_U}", _conversion),
    (rf"{_N} ?{_U} (?:is|are) how many {_V}", _conversion),
    (rf"{_N} percent of {_M}", _percentage),
    (rf"(?:take )?{_N} percent (?:from|out of) {_M}", _percentage),
    (rf"increase {_N} by {_M} percent", _raised),
    (rf"{_N} increased by {_M} percent", _raised),
    (rf"(?:decrease|reduce) {_N} by {_M} percent", _lowered),
    (rf"{_N} (?:decreased|reduced) by {_M} percent", _lowered),
    (rf"(?:what|which) percent(?:age)? of {_M} is {_N}", _share),
    (rf"{_N} is (?:what|which) percent(?:age)? of {_M}", _share),
    (rf"{_N} as a percentage of {_M}", _share),
)
