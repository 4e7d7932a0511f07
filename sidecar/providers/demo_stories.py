"""Small word problems: buying, change, giving away, travelling, sharing."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final

from sidecar.providers.demo_values import Question, families, numeric, shown


def _thing(found: re.Match[str]) -> str:
    return found["thing"].removesuffix("s")


def _price(found: re.Match[str]) -> Question:
    count, price = int(found["n"]), Fraction(found["p"])
    return numeric(f"price of {count} {_thing(found)} at {shown(price)}", count * price, 1)


def _change(found: re.Match[str]) -> Question:
    count, price, paid = int(found["n"]), Fraction(found["p"]), Fraction(found["q"])
    meaning = f"change from {shown(paid)} for {count} {_thing(found)} at {shown(price)}"
    return numeric(meaning, paid - count * price, 3)


def _left(found: re.Match[str]) -> Question:
    held, given = int(found["n"]), int(found["m"])
    return numeric(f"{held} {_thing(found)} and {given} away", held - given, 1)


def _gained(found: re.Match[str]) -> Question:
    held, more = int(found["n"]), int(found["m"])
    return numeric(f"{held} {_thing(found)} and {more} more", held + more, 1)


def _journey(found: re.Match[str]) -> Question:
    speed, hours = int(found["n"]), Fraction(found["m"])
    return numeric(f"{shown(hours)} hours at {speed} km/h", speed * hours, 1)


def _each(found: re.Match[str]) -> Question | None:
    count, people = int(found["n"]), int(found["m"])
    if people == 0:
        return None
    return numeric(f"{count} {_thing(found)} among {people}", Fraction(count, people), 2)


_N: Final = r"(?P<n>\d{1,9})"
_M: Final = r"(?P<m>\d{1,9})"
_HOURS: Final = r"(?P<m>\d{1,4}(?:\.\d{1,2})?) hours"
_P: Final = r"\$?(?P<p>\d{1,9}(?:\.\d{1,2})?)(?: dollars?)?"
_Q: Final = r"(?:a )?\$?(?P<q>\d{1,9}(?:\.\d{1,2})?)(?: dollars?)?(?: bill| note)?"
_WHO: Final = "[a-z]{1,12}"
_THING: Final = "(?P<thing>[a-z]{1,16})"
_PEOPLE: Final = "(?:children|people|friends)"
_SPEED: Final = rf"{_N} (?:km|kilometres|kilometers) (?:per|an) hour"
_BUYS: Final = rf"{_WHO} buys {_N} {_THING} (?:at|for) {_P} each"
_HAS: Final = rf"{_WHO} (?:has|had) {_N} {_THING}"
_REST: Final = rf"how many (?:[a-z]+ )?(?:are left|does {_WHO} (?:still )?have(?: left)?)"
_NOW: Final = rf"how many (?:[a-z]+ )?does {_WHO} have(?: now| altogether)?"
_FAR: Final = "how far does it (?:go|get|travel)"
_EACH: Final = "how many does each(?: of them| one)? get"

FAMILIES: Final = families(
    (
        rf"{_BUYS}[.,]? (?:and )?how much does {_WHO} (?:have to )?pay(?: in total| altogether)?",
        _price,
    ),
    (rf"if (?:1|a|an) [a-z]{{1,16}} costs {_P}, (?:what|how much) do {_N} {_THING} cost", _price),
    (rf"(?:total )?(?:price|cost) of {_N} {_THING} at {_P} each", _price),
    (
        rf"{_BUYS} and pays with {_Q}[.,]? how much change (?:does|will) {_WHO} get(?: back)?",
        _change,
    ),
    (rf"{_N} {_THING} cost {_P} each[.,] how much change is (?:there|left) from {_Q}", _change),
    (rf"{_HAS} and gives {_M} to {_WHO}[.,] {_REST}", _left),
    (rf"{_HAS} and (?:gives away|loses) {_M}[.,] {_REST}", _left),
    (rf"{_HAS} and (?:gets|finds|buys) {_M} more[.,] {_NOW}", _gained),
    (
        rf"a (?:train|car|bus) (?:travels|drives|goes) (?:at )?{_SPEED} for {_HOURS}[.,] {_FAR}",
        _journey,
    ),
    (rf"how far does a (?:train|car|bus) (?:go|get|travel) in {_HOURS} at {_SPEED}", _journey),
    (rf"{_N} {_THING} are shared equally (?:among|between) {_M} {_PEOPLE}[.,] {_EACH}", _each),
    (rf"(?:if )?{_M} {_PEOPLE} share {_N} {_THING} equally[.,] {_EACH}", _each),
)
