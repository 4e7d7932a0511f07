"""Questions on dates: the weekday, the days between two, and the date some days away."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Final

from sidecar.providers.demo_values import Question, families, numeric

WEEKDAYS: Final = (
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
)


def _weekday(found: re.Match[str]) -> Question | None:
    day = _find_date(found["d"])
    if day is None:
        return None
    name = WEEKDAYS[day.weekday()]
    return Question(meaning=f"weekday of {day}", value=name, kind="weekday", difficulty=3)


def _days_between(found: re.Match[str]) -> Question | None:
    days = (_find_date(found["d"]), _find_date(found["e"]))
    if days[0] is None or days[1] is None:
        return None
    first, last = sorted((days[0], days[1]))
    return numeric(f"days between {first} and {last}", (last - first).days, 3)


def _later(found: re.Match[str]) -> Question | None:
    return _moved(found, "+")


def _earlier(found: re.Match[str]) -> Question | None:
    return _moved(found, "-")


def _moved(found: re.Match[str], sign: str) -> Question | None:
    day = _find_date(found["d"])
    if day is None:
        return None
    days = int(found["n"]) * (7 if found["u"].startswith("week") else 1)
    try:
        value = day + timedelta(days=days if sign == "+" else -days)
    except OverflowError:  # the calendar runs from year 1 to 9999
        return None
    meaning = f"{day} {sign} {days} days"
    return Question(meaning=meaning, value=value.isoformat(), kind="date", difficulty=2)


def _find_date(iso: str) -> date | None:
    try:
        return date.fromisoformat(iso)
    except ValueError:
        return None


_D: Final = r"(?P<d>\d{4}-\d\d-\d\d)"
_E: Final = r"(?P<e>\d{4}-\d\d-\d\d)"
_SPAN: Final = r"(?P<n>\d{1,6}) (?P<u>days?|weeks?)"
_WEEKDAY: Final = r"(?:what|which) (?:day of the week|weekday|day)"
_DATE: Final = r"(?:(?:what |which )?(?:date |day )?(?:is |comes |falls )?)"

FAMILIES: Final = families(
    (rf"{_WEEKDAY} (?:is|was|will) (?:be )?{_D}", _weekday),
    (rf"(?:on )?{_WEEKDAY} (?:does|did|will) {_D} fall(?: on)?", _weekday),
    (rf"(?:weekday|day of the week) (?:of|for|on) {_D}", _weekday),
    (rf"{_D} (?:is|was|falls on) {_WEEKDAY}", _weekday),
    (rf"how many days (?:are |lie |pass )?(?:there )?between {_D} and {_E}", _days_between),
    (rf"how many days (?:is it |are there )?from {_D} (?:to|until) {_E}", _days_between),
    (rf"(?:number of |count the )?days between {_D} and {_E}", _days_between),
    (rf"{_DATE}{_SPAN} (?:after|from) {_D}", _later),
    (rf"{_D} (?:plus|\+) {_SPAN}", _later),
    (rf"add {_SPAN} to {_D}", _later),
    (rf"{_DATE}{_SPAN} before {_D}", _earlier),
    (rf"{_D} (?:minus|-) {_SPAN}", _earlier),
    (rf"subtract {_SPAN} from {_D}", _earlier),
)
