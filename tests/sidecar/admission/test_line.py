"""The line: nobody lost, nobody twice, tenants in turns, batch behind and never for ever."""

from __future__ import annotations

from asyncio import Future
from collections import Counter
from typing import Any, get_args

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sidecar.admission.line import BATCH_EVERY, Line, Waiter
from sidecar.options import Priority


class NeverTold(Future[str]):
    """A verdict that nobody awaits: the line tells nobody anything."""

    def __init__(self) -> None:
        """Needs no loop."""


def waiter(tenant: str, priority: Priority = "interactive") -> Waiter:
    return Waiter(tenant, priority, None, NeverTold())


def anybody(_: Waiter) -> bool:
    return True


MOST = 6


class LineMachine(RuleBasedStateMachine):
    """Against the plain set of those who wait."""

    def __init__(self) -> None:
        super().__init__()
        self.line = Line(MOST)
        self.waiting: list[Waiter] = []
        self.kept_back: Counter[Priority] = Counter()

    @rule(tenant=st.sampled_from("abc"), priority=st.sampled_from(get_args(Priority)))
    def join(self, tenant: str, priority: Priority) -> None:
        """Who goes so that another may stand is one who stood, or the newcomer himself."""
        newcomer = waiter(tenant, priority)
        gone = self.line.join(newcomer)
        if gone is None:
            assert len(self.waiting) < MOST
        elif gone is not newcomer:
            assert gone.priority == "batch" or newcomer.priority == gone.priority == "interactive"
            self.waiting.remove(gone)
        if gone is not newcomer:
            self.waiting.append(newcomer)

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """Whoever leaves is gone; whoever left before may leave again."""
        gone = data.draw(st.sampled_from(self.waiting)) if self.waiting else waiter("d")
        self.line.leave(gone)
        self.line.leave(gone)
        self.waiting = [each for each in self.waiting if each is not gone]

    @rule(barred=st.sets(st.sampled_from("abc")))
    def next(self, barred: set[str]) -> None:
        """The first of a tenant that may go; if nobody goes, nobody could."""
        chosen = self.line.next(lambda each: each.tenant not in barred)
        able = [each for each in self.waiting if each.tenant not in barred]
        if chosen is None:
            assert not able
            return
        own = [e for e in able if (e.tenant, e.priority) == (chosen.tenant, chosen.priority)]
        assert own[0] is chosen
        self.waiting.remove(chosen)

    @invariant()
    def counts(self) -> None:
        """As many wait as should, in each lane."""
        lanes = Counter(each.priority for each in self.waiting)
        assert len(self.line) == len(self.waiting) <= MOST
        assert [self.line.length(p) for p in get_args(Priority)] == [
            lanes[p] for p in get_args(Priority)
        ]


LineMachine.TestCase.settings = settings(max_examples=150, deadline=None)
test_line_against_a_list = LineMachine.TestCase


def order(line: Line) -> list[Waiter]:
    """All who wait, as their turns come."""
    turns: list[Waiter] = []
    while (chosen := line.next(anybody)) is not None:
        turns.append(chosen)
    return turns


def test_a_flood_costs_another_tenant_one_turn() -> None:
    """Tenants take turns, and each one's own requests keep their order."""
    line = Line(100)
    flood, quiet = [waiter("flood") for _ in range(20)], [waiter("quiet") for _ in range(2)]
    for each in [*flood, *quiet]:
        line.join(each)
    turns = order(line)
    assert [turns.index(each) for each in quiet] == [1, 3]
    assert [each for each in turns if each.tenant == "flood"] == flood


def test_batch_gets_one_turn_of_eight() -> None:
    """It waits behind interactive, and never for ever."""
    line = Line(100)
    for _ in range(30):
        line.join(waiter("a"))
        line.join(waiter("b", "batch"))
    turns = [each.priority for each in order(line)][: 3 * BATCH_EVERY]
    assert turns == (["interactive"] * (BATCH_EVERY - 1) + ["batch"]) * 3


def test_batch_goes_at_once_where_no_interactive_may() -> None:
    """A tenant at its limit holds nobody else up."""
    line = Line(9)
    line.join(waiter("full"))
    batch = waiter("other", "batch")
    line.join(batch)
    assert line.next(lambda each: each.tenant != "full") is batch


def test_a_full_line_makes_room_for_interactive_out_of_batch() -> None:
    """The latest batch request of the tenant with the most goes first."""
    line = Line(3)
    kept, many = waiter("one", "batch"), [waiter("many", "batch") for _ in range(2)]
    for each in [kept, *many]:
        line.join(each)
    assert line.join(waiter("x")) is many[1]
    assert line.join(waiter("x", "batch")) is not None


def test_a_full_line_makes_room_for_the_tenant_with_fewer() -> None:
    """A flood cannot keep another tenant out of the line, nor two even ones push each other."""
    line = Line(4)
    flood = [waiter("flood") for _ in range(4)]
    for each in flood:
        line.join(each)
    assert line.join(waiter("quiet")) is flood[3]
    assert line.join(waiter("quiet")) is flood[2]
    again = waiter("quiet")
    assert line.join(again) is again


@pytest.mark.parametrize("priority", get_args(Priority))
def test_a_line_of_none_refuses_everybody(priority: Any) -> None:
    """`max_queued = 0` lets nobody wait."""
    alone = waiter("a", priority)
    assert Line(0).join(alone) is alone
