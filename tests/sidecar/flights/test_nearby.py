"""Nearby: few are compared, fewer judged, nobody waits for long, and nothing of it is a fault."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar, cast

import numpy as np
import pytest

from cache.entry import Candidate, Judged, MissReason
from cache.errors import CacheError
from cache.guard import Comparison
from cache.rejections import Question
from cache.semantic import NO_ENTRY
from cache.standing import NOBODY
from cache.trust import Trust
from sidecar.deadline import Deadline
from sidecar.dispatch import Publish
from sidecar.errors import EncoderError
from sidecar.flights.coalesce import Coalesce, Flight
from sidecar.flights.nearby import MAX_COMPARED, MAX_JUDGED, Nearby, Underway
from sidecar.ledger import FlightGroup, Ledger
from sidecar.outcome import Outcome
from sidecar.overrides.override import UNRULED

T = TypeVar("T")
GROUP = FlightGroup(b"p" * 20, 0, (0, 1), 0.5, UNRULED)


@dataclass(slots=True, eq=False)
class FakeOwner:
    """Does the work at once; may fail, and may have something happen first."""

    fault: Exception | None = None
    first: Callable[[], None] = lambda: None

    async def run(self, work: Callable[[], T]) -> T:
        self.first()
        if self.fault is not None:
            raise self.fault
        for _ in range(3):  # as many turns of the loop as a flight needs to land
            await asyncio.sleep(0)
        return work()


@dataclass(slots=True, eq=False)
class FakeJudge:
    """Lets a pair pass if the kept question is among `good`; the longer it is, the riskier."""

    good: set[str] = field(default_factory=set)
    judged: list[str] = field(default_factory=list)

    def judge_pair(
        self, kept: str, asked: str, similarity: float, *, min_similarity: float | None = None
    ) -> Judged:
        self.judged.append(kept)
        reason = None if kept in self.good else MissReason.RISKY
        candidate = Candidate(NO_ENTRY, similarity, len(kept) / 100)
        return Judged(candidate, cast(Comparison, None), reason, "")


@dataclass(slots=True, eq=False)
class World:
    """A registry of flights that never land by themselves."""

    owner: FakeOwner = field(default_factory=FakeOwner)
    judge: FakeJudge = field(default_factory=FakeJudge)
    trust: Trust = field(default_factory=lambda: Trust(bound=0.02, risk_limit=1.0))
    coalesce: Coalesce = field(default_factory=Coalesce)
    is_on: bool = True
    nearby: Nearby = field(init=False)
    ends: list[asyncio.Future[Outcome]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.nearby = Nearby(
            owner=self.owner, judge=self.judge, trust=self.trust, budget_s=5.0, is_on=self.is_on
        )

    def fly(self, text: str, turn: float = 0.0, group: FlightGroup = GROUP) -> Flight:
        """One more flight, `turn` radians away from the question asked."""
        end: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.ends.append(end)

        async def climb(_publish: Publish) -> Outcome:
            return await end

        flight, _ = self.coalesce.join(None, climb)
        question = Question(text, vector(turn))
        self.nearby.add(group, Underway(flight, question, cast(Ledger, None)))
        return flight

    async def found(self, group: FlightGroup = GROUP, within_s: float = 60.0) -> str | None:
        """The question of the flight that would be followed."""
        company = await self.nearby.find(
            group,
            Question("asked", vector(0.0)),
            min_similarity=None,
            deadline=Deadline.after_s(within_s),
        )
        return company.underway.question.text if company is not None else None


def answered(end: asyncio.Future[Outcome]) -> None:
    end.set_result(cast(Outcome, None))


def failed(end: asyncio.Future[Outcome]) -> None:
    end.set_exception(CacheError("x"))


def vector(turn: float) -> Any:
    return np.array([np.cos(turn), np.sin(turn)], dtype=np.float32)


async def test_the_least_risky_that_may_be_followed_is() -> None:
    """Nearest is not best."""
    world = World(judge=FakeJudge(good={"long one", "short"}))
    world.fly("bad", 0.1), world.fly("long one", 0.2), world.fly("short", 0.3)
    assert await world.found() == "short"
    assert world.judge.judged == ["bad", "long one", "short"]
    await world.coalesce.close()


async def test_what_lies_far_is_not_judged() -> None:
    """Nor is another group."""
    world = World(judge=FakeJudge(good={"far", "other"}))
    world.fly("far", 1.2), world.fly("other", 0.0, GROUP._replace(epoch=1))
    assert await world.found() is None
    assert not world.judge.judged
    await world.coalesce.close()


async def test_the_work_is_bounded_however_many_fly() -> None:
    """So many are compared, and so few of them judged."""
    world = World()
    for number in range(MAX_COMPARED + 10):
        world.fly(str(number), number / 1000)
    assert len(world.nearby) == MAX_COMPARED
    assert await world.found() is None
    assert world.judge.judged == [str(n) for n in range(MAX_JUDGED)]
    await world.coalesce.close()


async def test_a_flight_that_begins_meanwhile_is_seen() -> None:
    """It may be the one to follow, though it was not there when the others went to be judged."""
    world = World(judge=FakeJudge(good={"late"}))
    world.fly("early")
    begun: list[Flight] = []
    world.owner.first = lambda: begun.append(world.fly("late")) if not begun else None
    assert await world.found() == "late"
    await world.coalesce.close()


async def test_what_landed_is_followed_if_it_was_answered_while_judged() -> None:
    """Its answer stands; one that failed gives none."""
    for end, followed in ((answered, "one"), (failed, None)):
        world = World(judge=FakeJudge(good={"one"}))
        flight = world.fly("one")
        world.owner.first = partial(end, world.ends[0])
        assert await world.found() == followed
        assert flight.is_done
        assert len(world.nearby) == 0


@pytest.mark.parametrize("fault", [EncoderError("full"), CacheError("torn")])
async def test_a_fault_of_the_judgement_lets_nobody_follow(fault: Exception) -> None:
    """It costs a saving and no answer."""
    world = World(owner=FakeOwner(fault=fault), judge=FakeJudge(good={"one"}))
    world.fly("one")
    assert await world.found() is None
    await world.coalesce.close()


async def test_whose_time_is_up_waits_for_no_judgement() -> None:
    """He asks, and dispatch tells him so."""
    world = World(judge=FakeJudge(good={"one"}))
    world.fly("one")
    assert await world.found(within_s=0.0) is None
    await world.coalesce.close()


async def test_switched_off_it_knows_of_no_flight() -> None:
    """Shadow mode and off."""
    world = World(is_on=False)
    world.fly("one")
    assert len(world.nearby) == 0
    await world.coalesce.close()


async def test_a_partition_that_is_off_is_followed_by_nobody() -> None:
    """What was learnt of its hits holds in flight too."""
    world = World(judge=FakeJudge(good={"one"}))
    world.fly("one")
    for _ in range(50):
        world.trust.checked(GROUP.partition, 1, is_right=False, owner=NOBODY)
    assert await world.found() is None
    await world.coalesce.close()
