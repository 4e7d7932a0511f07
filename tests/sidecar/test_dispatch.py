"""Dispatch: who is asked, in which order, and what is left when they fail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

import pytest

from router.decision import AnswerView, Decision, Judgement, Task
from router.pricing import Price
from router.tiers import Ladder, Tier
from sidecar import answer
from sidecar.deadline import Deadline
from sidecar.dispatch import Dispatch, Job, Told
from sidecar.errors import DeadlineExceeded
from sidecar.providers.errors import (
    CallerAtFault,
    StreamBroken,
    UpstreamBusy,
    UpstreamTooSlow,
    UpstreamUnreachable,
)
from sidecar.replicas.fleet import Fleet
from sidecar.replicas.replicas import Replicas
from tests.patience import PatientDeadline
from tests.sidecar.replicas.fakes import FakeClock, FakeMeter, FakeUpstream, manner

LADDER = Ladder(
    [
        Tier(name=name, model=f"m-{name}", price=Price(out_usd_per_mtok=Decimal(price)))
        for name, price in (("small", 1), ("medium", 10), ("large", 100))
    ]
)


class FakeJudge:
    """Calls for the tiers it was given, one after the other; serves the place it was told to."""

    def __init__(self, *steps: int | None, best: int | None = None) -> None:
        self._steps = list(steps)
        self._best = best

    def judge(self, task: Task, decision: Decision, answers: Mapping[int, AnswerView]) -> Judgement:
        step = self._steps.pop(0) if self._steps else None
        best = max(answers) if self._best is None or self._best not in answers else self._best
        return Judgement(best=best, confidence=0.5, next_place=step, reason="fake")


def job(*, entry: int = 0, allowed: tuple[int, ...] = (0, 1, 2), final: bool = False) -> Job:
    task = Task(text="q", vector=None, tokens_in=1, turns=1, allowed=allowed, quality=0.5)
    return Job(
        body={"messages": [{"role": "user", "content": "q"}]},
        task=task,
        decision=Decision(entry=entry, probabilities=(), reason="policy", final=final),
        deadline=Deadline.after_s(60.0),
        headers={},
        upstreams=None,
    )


def dispatch(judge: FakeJudge, *tiers: Sequence[FakeUpstream]) -> Dispatch:
    clock = FakeClock()
    wanted = [[(upstream, "m", manner(upstream)) for upstream in tier] for tier in tiers]
    members = zip(LADDER.tiers, Fleet(clock).muster(wanted), strict=True)
    asked = [
        Replicas(
            price=tier.price,
            replicas=replicas,
            meter=FakeMeter(),
            clock=clock,
            dice=lambda: 0.5,
            pause=clock.pause,
        )
        for tier, replicas in members
    ]
    return Dispatch(ladder=LADDER, judge=judge, tiers=asked)


async def test_each_tier_is_asked_for_its_own_model() -> None:
    """Escalation asks the tier above under that tier's model id, and both are billed."""
    small, large = FakeUpstream("4"), FakeUpstream("5")
    outcome = await dispatch(FakeJudge(2, None), [small], [], [large]).climb(job(), None)
    assert (small.asked, large.asked) == (["m-small"], ["m-large"])
    assert outcome.escalations == 1
    assert outcome.cost_usd == Decimal(101)
    assert outcome.served.place == 2


async def test_the_best_answer_is_served_and_not_the_last() -> None:
    """The judgement says which of the answers held is served."""
    tiers = [[FakeUpstream("4")], [FakeUpstream("5")], [FakeUpstream("6")]]
    outcome = await dispatch(FakeJudge(1, None, best=0), *tiers).climb(job(), None)
    assert outcome.served.place == 0


async def test_within_a_tier_the_next_upstream_is_asked() -> None:
    """Fallback: the second upstream answers where the first is busy."""
    busy = FakeUpstream(UpstreamBusy("fake", 503, None))
    outcome = await dispatch(FakeJudge(), [busy, FakeUpstream("4")], [], []).climb(job(), None)
    assert [attempt.outcome for attempt in outcome.attempts] == ["UpstreamBusy", "answered"]
    assert outcome.escalations == 0


async def test_a_dead_tier_sends_the_request_up_and_then_down() -> None:
    """An answer of any tier beats an error."""
    dead = UpstreamUnreachable("gone")
    tiers = [[FakeUpstream("4")], [FakeUpstream(dead)], [FakeUpstream(dead)]]
    outcome = await dispatch(FakeJudge(), *tiers).climb(job(entry=1), None)
    assert outcome.served.place == 0


async def test_when_all_fail_the_first_fault_is_told() -> None:
    """The caller hears what the tier he was sent to said."""
    first = UpstreamBusy("fake", 429, {"error": {"message": "slow down"}})
    tiers = [
        [FakeUpstream(first)],
        [FakeUpstream(UpstreamUnreachable("gone"))],
        [FakeUpstream(first)],
    ]
    with pytest.raises(UpstreamBusy):
        await dispatch(FakeJudge(), *tiers).climb(job(), None)


async def test_the_callers_own_mistake_is_not_multiplied() -> None:
    """A 400 is every upstream's answer: nobody else is asked."""
    wrong = FakeUpstream(CallerAtFault("fake", 400, None))
    other = FakeUpstream("4")
    with pytest.raises(CallerAtFault):
        await dispatch(FakeJudge(), [wrong, other], [other], [other]).climb(job(), None)
    assert other.asked == []


async def test_an_answer_held_beats_a_tier_above_that_fails() -> None:
    """A doubtful answer is served when the tier that should better it is down."""
    tiers = [[FakeUpstream("4")], [FakeUpstream(UpstreamBusy("fake", 500, None))], []]
    outcome = await dispatch(FakeJudge(1), *tiers).climb(job(allowed=(0, 1)), None)
    assert outcome.served.place == 0


async def test_a_final_decision_is_relayed_as_it_comes() -> None:
    """Chunks go out while the upstream speaks, and make up the same answer."""
    told: list[Told] = []
    outcome = await dispatch(FakeJudge(), [FakeUpstream("four")], [], []).climb(
        job(final=True), told.extend
    )
    assert told
    assert outcome.judgement is None
    assert answer.text(outcome.served.body or {}) == "four"


async def test_a_doubtful_decision_is_held_back() -> None:
    """Words once sent cannot be taken back, so nothing is sent before the judgement."""
    told: list[Told] = []
    await dispatch(FakeJudge(), [FakeUpstream("four")], [], []).climb(job(), told.extend)
    assert told == []


async def test_a_stream_that_breaks_early_moves_on() -> None:
    """Before the first word another tier may still answer."""
    told: list[Told] = []
    tiers = [[FakeUpstream("four", breaks_after=0)], [FakeUpstream("five")], []]
    outcome = await dispatch(FakeJudge(), *tiers).climb(job(final=True), told.extend)
    assert outcome.served.place == 1


async def test_a_stream_that_breaks_late_is_broken() -> None:
    """After the first word nothing may follow but the error."""
    other = FakeUpstream("five")
    with pytest.raises(StreamBroken):
        await dispatch(
            FakeJudge(), [FakeUpstream("four", breaks_after=2), other], [other], []
        ).climb(job(final=True), lambda _: None)
    assert other.asked == []


async def test_out_of_time_before_any_answer_is_a_deadline() -> None:
    """Nothing is asked once the caller's time is over."""
    late = Job(
        body=job().body,
        task=job().task,
        decision=job().decision,
        deadline=Deadline.after_s(0.0),
        headers={},
        upstreams=None,
    )
    upstream = FakeUpstream("4")
    with pytest.raises(DeadlineExceeded):
        await dispatch(FakeJudge(), [upstream], [], []).climb(late, None)
    assert upstream.asked == []


async def test_an_upstream_that_hangs_is_left_at_the_deadline() -> None:
    """No upstream may keep a caller longer than he allowed."""
    short = Job(
        body=job().body,
        task=job(allowed=(0,)).task,
        decision=job().decision,
        deadline=PatientDeadline.after_s(0.01),
        headers={},
        upstreams=None,
    )
    with pytest.raises(UpstreamTooSlow):
        await dispatch(FakeJudge(), [FakeUpstream(None)], [], []).climb(short, None)
