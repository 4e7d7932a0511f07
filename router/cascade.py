"""One request's climb up the ladder, without I/O: say what happened, hear what to do next.

Rule 1: each way from an event to a step is a row of `Cascade.after`, and is nowhere else.
Rule 2: this file knows no model, no vendor and no clock; a tier is its place on the ladder.
Rule 3: no tier is asked twice. An answer once held is never lost: the climb ends in SERVE.
Rule 4: escalation only rises. Only a *failed* tier may send the request down, and only when
        nothing above is left and nothing is held: a smaller model's answer beats an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from typing import NamedTuple


class Event(Enum):
    """What became of the call to the current tier."""

    CONFIDENT = auto()  # answered, and no further tier pays
    DOUBTFUL = auto()  # answered, and the tier named beside it pays
    FAILED = auto()  # every upstream of the tier failed


class Do(Enum):
    """What the dispatcher does next."""

    ASK = auto()
    SERVE = auto()
    GIVE_UP = auto()


class Step(NamedTuple):
    """What to do, and at which place if that is ASK."""

    do: Do
    place: int | None = None


class Cascade:
    """One climb. Ask `entry` first; after each call, ask `after`.

    Args:
        entry: The decision's place.
        allowed: Places that may be asked, rising, `entry` among them.
    """

    def __init__(self, *, entry: int, allowed: Sequence[int]) -> None:
        assert entry in allowed, "the decision must lie among the allowed tiers"  # noqa: S101 - a bug of ours
        self.place = entry
        self._untried = [place for place in allowed if place != entry]
        self._holds_answer = False

    def after(self, event: Event, better: int | None = None) -> Step:
        """The next step; `better` is the place that a DOUBTFUL answer calls for."""
        match event:
            case Event.CONFIDENT:
                return Step(Do.SERVE)
            case Event.DOUBTFUL:
                self._holds_answer = True
                may_rise = better in self._untried and better is not None and better > self.place
                return self._ask(better) if may_rise and better is not None else Step(Do.SERVE)
            case Event.FAILED:
                above = [place for place in self._untried if place > self.place]
                if above:
                    return self._ask(above[0])
                if self._holds_answer:
                    return Step(Do.SERVE)
                return self._ask(self._untried[-1]) if self._untried else Step(Do.GIVE_UP)

    def _ask(self, place: int) -> Step:
        self._untried.remove(place)
        self.place = place
        return Step(Do.ASK, place)
