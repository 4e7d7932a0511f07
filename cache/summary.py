"""Standings in, what an operator is told of them out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from heapq import nlargest
from typing import Final

from cache.evidence import Estimate
from cache.standing import PartitionReport, Standing, State

MAX_WATCHED: Final = 40
MAX_BUSIEST: Final = 10
"""Chosen: partitions in a report. An interval takes a quarter of a millisecond, on the event loop;
and more is no page that a person reads."""

Known = tuple[bytes, Standing]
"""A partition and its standing."""


@dataclass(frozen=True, slots=True)
class TrustReport:
    """All that was learnt, for whoever looks.

    Attributes:
        estimate: Share of wrong hits over all checked ones, as counted.
        right: Hits checked and right.
        wrong: Hits checked and wrong.
        partitions: How many are tracked, by state.
        rejections: Pairs remembered.
        watched: Those tight or off, the worst first, at most forty.
        busiest: The others with the most checks and hits, at most ten.
    """

    estimate: Estimate
    right: int
    wrong: int
    partitions: dict[State, int]
    rejections: int
    watched: tuple[PartitionReport, ...]
    busiest: tuple[PartitionReport, ...]


def worst(known: Iterable[Known]) -> tuple[PartitionReport, ...]:
    """Those that are not open, those off before those tight."""
    watched = (one for one in known if one[1].state is not State.OPEN)
    return _told(nlargest(MAX_WATCHED, watched, key=_badness))


def busiest(known: Iterable[Known]) -> tuple[PartitionReport, ...]:
    """The open ones with the most evidence."""
    others = (one for one in known if one[1].state is State.OPEN)
    return _told(nlargest(MAX_BUSIEST, others, key=_evidence))


def _badness(one: Known) -> tuple[bool, float]:
    return one[1].state is State.OFF, one[1].mean


def _evidence(one: Known) -> tuple[int, int]:
    return one[1].right + one[1].wrong, one[1].hits


def _told(some: Iterable[Known]) -> tuple[PartitionReport, ...]:
    return tuple(standing.report(partition) for partition, standing in some)
