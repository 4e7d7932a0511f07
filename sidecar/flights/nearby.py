"""Questions in flight in; the answer to one that means the same as one more question, out.

A miss whose question is near to one that is being answered right now waits for that answer instead
of paying for another, if the gates that guard a hit by meaning let the pair pass: floor, vetoes,
risk, and what was learnt of the partition and of the pair.

Rule 1: only within a group: all in which both requests must be equal (`Aim.flight_group`).
Rule 2: what is shared is the whole answer as it is kept, never a stream as it comes. Whether an
        answer may serve another question (finished, no refusal, no tool call, not invalidated) is
        known at its end alone, and words once sent cannot be taken back. Who asks the very same
        hears the stream live: it is its own question that is answered there, well or not.
Rule 3: nobody follows a follower: likeness does not pass on from pair to pair.
Rule 4: a flight that ends without such an answer is let go, and who followed asks for itself.

What is not covered: a flight that lands between a follower's look into the index and its look in
here, and whose entry the index did not hold yet. That costs one call more, in a gap of some
milliseconds; to close it, a flight would have to stay in here until the index has its entry.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import nlargest
from typing import Final, Protocol, TypeVar

from cache.entry import Candidate, Entry, Hit, Judged, Vector
from cache.errors import CacheError
from cache.rejections import Question
from cache.trust import Trust
from sidecar.deadline import Deadline
from sidecar.errors import DeadlineExceeded, EncoderError
from sidecar.flights.coalesce import Flight
from sidecar.ledger import FlightGroup, Ledger

T = TypeVar("T")

MAX_COMPARED: Final = 64
"""Chosen: flights of one group that may be followed by meaning; further ones by their key alone.
Measured: comparing one vector with 64 takes 58 us of the event loop (median of 500)."""

MAX_JUDGED: Final = 3
"""Chosen: the nearest; a pair takes some 160 us of the encoder's thread, as long as a miss has."""

MIN_SIMILARITY: Final = 0.6
"""Chosen: less near, and no judgement is worth its time. Of the 13 ways to ask for one sum in
`tests/integration/test_nearby.py` and its like, the least near that the gates let pass has 0.77."""

MAX_ROUNDS: Final = 3
"""Chosen: looks; those after the first see only flights that began while others were judged."""


class Owner(Protocol):
    """The thread that judges pairs beside its other work."""

    async def run(self, work: Callable[[], T]) -> T:
        """Raises EncoderError."""
        ...


class PairJudge(Protocol):
    """The one method of SemanticCache that is needed here."""

    def judge_pair(
        self, kept: str, asked: str, similarity: float, *, min_similarity: float | None = None
    ) -> Judged:
        """Raises CacheError."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Underway:
    """One flight that may be followed by meaning.

    Attributes:
        flight: It.
        question: Which it answers.
        ledger: Its leader's; holds the answer as it is kept, once it landed.
    """

    flight: Flight
    question: Question
    ledger: Ledger

    @property
    def may_be_followed(self) -> bool:
        """It is alive, and one more may listen."""
        return self.flight.has_room and not self.flight.is_done


@dataclass(frozen=True, slots=True, eq=False)
class Company:
    """A flight that may be followed by one who asks, and how alike the two questions are."""

    underway: Underway
    candidate: Candidate


class Nearby:
    """The flights that may be followed by meaning, by group. Lives on the event loop's thread."""

    def __init__(
        self, *, owner: Owner, judge: PairJudge, trust: Trust, budget_s: float, is_on: bool
    ) -> None:
        """`budget_s` is how long a judgement may take; `is_on` False lets nobody follow anybody."""
        self._budget_s = budget_s
        self._is_on = is_on
        self._owner = owner
        self._judge = judge
        self._trust = trust
        self._groups: dict[FlightGroup, list[Underway]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._groups.values()))

    def add(self, group: FlightGroup, underway: Underway) -> None:
        """Let `underway` be followed until it lands."""
        if not self._is_on or len(self._groups.get(group, ())) >= MAX_COMPARED:
            return
        self._groups.setdefault(group, []).append(underway)
        underway.flight.on_landing(lambda: self._forget(group, underway))

    def _forget(self, group: FlightGroup, underway: Underway) -> None:
        members = self._groups[group]
        members.remove(underway)
        if not members:
            del self._groups[group]

    async def find(
        self,
        group: FlightGroup,
        asked: Question,
        *,
        min_similarity: float | None,
        deadline: Deadline,
    ) -> Company | None:
        """The flight that may be followed at the least risk; None if there is none in time."""
        seen: set[Underway] = set()
        try:
            async with asyncio.timeout(min(self._budget_s, deadline.remaining_s())):
                for _ in range(MAX_ROUNDS):
                    near = self._near(group, asked.vector, seen)
                    if not near:
                        return None
                    seen.update(self._groups[group])
                    if (found := await self._best(group, asked, near, min_similarity)) is not None:
                        return found
        except (TimeoutError, CacheError, EncoderError):
            return None
        return None

    def _near(self, group: FlightGroup, vector: Vector, seen: set[Underway]) -> list[Underway]:
        flying = [
            (_similarity(one, vector), one)
            for one in self._groups.get(group, ())
            if one.may_be_followed and one not in seen
        ]
        nearest = nlargest(MAX_JUDGED, flying, key=lambda scored: scored[0])
        return [one for similarity, one in nearest if similarity >= MIN_SIMILARITY]

    async def _best(
        self,
        group: FlightGroup,
        asked: Question,
        near: Sequence[Underway],
        min_similarity: float | None,
    ) -> Company | None:
        def judged() -> list[Judged]:
            return [
                self._judge.judge_pair(
                    one.question.text,
                    asked.text,
                    _similarity(one, asked.vector),
                    min_similarity=min_similarity,
                )
                for one in near
            ]

        verdicts = await self._owner.run(judged)
        served = [
            Company(one, verdict.candidate)
            for one, verdict in zip(near, verdicts, strict=True)
            if verdict.reason is None
            # It may have landed while it was judged: its answer stands.
            and (one.may_be_followed or one.flight.is_answered)
            and self._is_trusted(group, verdict.candidate, asked, one.question)
        ]
        return min(served, key=lambda one: one.candidate.risk, default=None)

    def _is_trusted(
        self, group: FlightGroup, candidate: Candidate, asked: Question, kept: Question
    ) -> bool:
        return self._trust.refusal(group.partition, candidate, asked, kept) is None

    async def follow(
        self, group: FlightGroup, company: Company, asked: Question, ledger: Ledger
    ) -> Hit | None:
        """The answer of the flight, once it stands; None if it gave none that may be shared.

        If nobody else is left to pay for it, `ledger` is billed.

        Raises:
            DeadlineExceeded: The follower's own time ran out.
        """
        underway, inquiry = company.underway, ledger.inquiry
        with underway.flight.heard_by(ledger, leads=False), inquiry.watch.hop("upstream"):
            try:
                async with asyncio.timeout(inquiry.deadline.remaining_s()):
                    outcome = await underway.flight.landed()
            except TimeoutError as fault:
                raise DeadlineExceeded("the shared answer") from fault
        entry = underway.ledger.shareable
        # What was learnt while it flew holds too.
        is_trusted = self._is_trusted(group, company.candidate, asked, underway.question)
        if outcome is None or entry is None or not is_trusted:
            return None
        ledger.pays = underway.flight.bill(ledger)
        if ledger.pays:
            ledger.outcome, ledger.decision = outcome, outcome.decision
        return _hit(entry, company.candidate, asked)


def _similarity(underway: Underway, vector: Vector) -> float:
    return float(underway.question.vector @ vector)  # (dim,) @ (dim,)


def _hit(entry: Entry, candidate: Candidate, asked: Question) -> Hit:
    return Hit("semantic", entry, candidate.similarity, candidate.risk, asked.vector)
