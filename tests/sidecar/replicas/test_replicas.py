"""One tier's replicas: who is asked, how often, and what is held against whom."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from sidecar.errors import ProviderError, UpstreamGarbled
from sidecar.providers.breaker import BreakerConfig, State
from sidecar.providers.errors import (
    CallerAtFault,
    CallerRefused,
    KeyRefused,
    StreamBroken,
    UpstreamBusy,
    UpstreamShut,
    UpstreamTooSlow,
    UpstreamUnreachable,
)
from sidecar.replicas.drill import Drill
from sidecar.replicas.hedge import Hedge
from sidecar.replicas.relay import Told
from sidecar.replicas.retries import FLOOR
from tests.sidecar.replicas.fakes import Bench, FakeUpstream, errand, outcomes

GONE = UpstreamUnreachable("gone")
BUSY = UpstreamBusy("u", 503, None)


def busy(retry_after_s: float) -> UpstreamBusy:
    return UpstreamBusy("u", 429, None, None, retry_after_s)


async def test_who_stands_ready_is_asked_before_one_is_asked_again() -> None:
    """The second replica answers at once; nobody waits."""
    first, second = FakeUpstream(BUSY, name="a"), FakeUpstream("4", name="b")
    bench, told = Bench(first, second, retries=3), errand()
    answered = await bench.tier.ask(told)
    assert answered.upstream == "b"
    assert (bench.clock.pauses, outcomes(told)) == ([], ["a UpstreamBusy"])


async def test_a_failed_call_is_made_again_after_its_backoff() -> None:
    """Half of half a second, by the die that stands still."""
    upstream = FakeUpstream(BUSY, GONE, "4")
    bench, told = Bench(upstream, retries=2), errand()
    await bench.tier.ask(told)
    assert bench.clock.pauses == [0.25, 0.5]
    assert outcomes(told) == ["fake UpstreamBusy", "fake UpstreamUnreachable"]
    assert bench.meter.counts == {"retried made": 2}


async def test_retries_end() -> None:
    """One and two more, then its last fault is told."""
    upstream = FakeUpstream(GONE)
    with pytest.raises(UpstreamUnreachable):
        await Bench(upstream, retries=2).tier.ask(errand())
    assert len(upstream.asked) == 3


async def test_whoever_may_be_asked_sooner_is() -> None:
    """One asked for ten seconds, the other for none."""
    patient, ready = FakeUpstream(busy(10.0), name="a"), FakeUpstream(BUSY, "4", name="b")
    bench = Bench(patient, ready, retries=1)
    assert (await bench.tier.ask(errand())).upstream == "b"
    assert bench.clock.pauses == [0.25]


@pytest.mark.parametrize(
    ("wish_s", "budget_s", "pauses"),
    [
        pytest.param(3.0, 60.0, [3.25], id="heard"),
        pytest.param(3.0, 2.0, [], id="beyond-the-deadline"),
        pytest.param(300.0, 3600.0, [], id="longer-than-anybody-waits"),
    ],
)
async def test_the_upstreams_wish_is_heard_within_the_deadline(
    wish_s: float, budget_s: float, pauses: list[float]
) -> None:
    """`Retry-After`; a retry that cannot end in time is not begun."""
    bench = Bench(FakeUpstream(busy(wish_s), "4"), retries=1)
    try:
        await bench.tier.ask(errand(budget_s=budget_s))
    except UpstreamBusy:
        assert not pauses
    assert bench.clock.pauses == pauses


async def test_a_retry_that_would_end_too_late_is_not_begun() -> None:
    """Answers have taken ten seconds of late, and five are left."""
    upstream = FakeUpstream(GONE)
    bench = Bench(upstream, retries=1)
    for _ in range(20):
        bench.members[0].load.answered(10.0, 0.0, whole=True)
    with pytest.raises(UpstreamUnreachable):
        await bench.tier.ask(errand(budget_s=5.0))
    assert (len(upstream.asked), bench.meter.counts) == (1, {"retried time": 1})


@pytest.mark.parametrize(
    "fault",
    [CallerAtFault("u", 400, None), CallerRefused("u", 401, None), KeyRefused("u", 401)],
)
async def test_a_refusal_is_not_asked_for_twice(fault: ProviderError) -> None:
    """Neither the request's own fault nor a key's mends itself."""
    upstream = FakeUpstream(fault)
    with pytest.raises(type(fault)):
        await Bench(upstream, retries=3).tier.ask(errand())
    assert len(upstream.asked) == 1


async def test_in_a_storm_the_upstream_sees_its_budget_and_no_more() -> None:
    """1,000 requests that all fail, three retries each: a tenth more calls, and the floor."""
    upstream = FakeUpstream(BUSY)
    bench = Bench(upstream, retries=3, breaker=BreakerConfig(enabled=False))
    for _ in range(1_000):
        with pytest.raises(UpstreamBusy):
            await bench.tier.ask(errand())
    waited_s = sum(bench.clock.pauses)
    assert 1_000 < len(upstream.asked) <= 1_000 * 1.1 + FLOOR + waited_s / 10
    assert bench.meter.counts["retried budget"] > 800


async def test_another_tiers_call_to_the_same_upstream_is_a_further_call_too() -> None:
    """What failed below is asked again above: from the same budget, or an outage is tripled."""
    upstream = FakeUpstream(BUSY)
    bench = Bench(upstream, breaker=BreakerConfig(enabled=False))
    for _ in range(100):
        told = errand()
        for _tier in range(3):
            with pytest.raises(ProviderError):
                await bench.tier.ask(told)
    assert len(upstream.asked) <= 100 * 1.1 + FLOOR


async def test_an_open_breaker_is_passed_over_and_told() -> None:
    """Nobody calls it, the next one answers, and the attempts say why."""
    first, second = FakeUpstream(BUSY, name="a"), FakeUpstream("4", name="b")
    bench = Bench(first, second, breaker=BreakerConfig(run=2))
    for _ in range(5):
        await bench.tier.ask(told := errand())
    assert len(first.asked) == 2
    assert outcomes(told) == ["a UpstreamShut"]


async def test_where_all_are_shut_the_caller_hears_when_to_come_again() -> None:
    """503 with the seconds until the next trial."""
    bench = Bench(FakeUpstream(BUSY), breaker=BreakerConfig(run=1, open_s=5.0))
    with pytest.raises(UpstreamBusy):
        await bench.tier.ask(errand())
    with pytest.raises(UpstreamShut) as caught:
        await bench.tier.ask(errand())
    assert (caught.value.status, caught.value.retry_after_s) == (503, 5.0)


async def test_one_forbidden_prompt_does_not_shut_the_upstream_to_others() -> None:
    """A 403 may be a filter's word on one request: it counts as one failure."""
    first = FakeUpstream(KeyRefused("a", 403), name="a")
    bench = Bench(first, FakeUpstream("4", name="b"))
    await bench.tier.ask(errand())
    assert bench.members[0].breaker.state(bench.clock()) is State.CLOSED


async def test_a_refused_key_is_marked_and_others_answer() -> None:
    """One call finds out; nobody else meets it for minutes."""
    first = FakeUpstream(KeyRefused("a", 401), name="a")
    bench = Bench(first, FakeUpstream("4", name="b"))
    for _ in range(3):
        assert (await bench.tier.ask(errand())).upstream == "b"
    assert len(first.asked) == 1
    assert bench.members[0].breaker.retry_after_s(bench.clock()) == BreakerConfig().key_open_s


@pytest.mark.parametrize(
    ("fault", "state"),
    [
        pytest.param(CallerAtFault("u", 400, None), State.CLOSED, id="callers-fault"),
        pytest.param(CallerRefused("u", 429, None), State.CLOSED, id="callers-key"),
        pytest.param(BUSY, State.OPEN, id="busy"),
        pytest.param(UpstreamTooSlow("u"), State.OPEN, id="slow"),
        pytest.param(UpstreamGarbled("u"), State.OPEN, id="garbled"),
        pytest.param(GONE, State.OPEN, id="gone"),
    ],
)
async def test_what_callers_do_is_not_held_against_the_upstream(
    fault: ProviderError, state: State
) -> None:
    """One tenant's bad requests must not shut it to the others."""
    bench = Bench(FakeUpstream(fault), breaker=BreakerConfig(run=1))
    with pytest.raises(type(fault)):
        await bench.tier.ask(errand())
    assert bench.members[0].breaker.state(bench.clock()) is state


@pytest.mark.parametrize("slow_s", [0.0, 30.0])
async def test_a_short_deadline_says_something_of_the_caller(slow_s: float) -> None:
    """Ten milliseconds are no upstream's fault, unless the operator says so."""
    bench = Bench(FakeUpstream(None), breaker=BreakerConfig(run=1, slow_s=slow_s))
    with pytest.raises(UpstreamTooSlow):
        await bench.tier.ask(errand(budget_s=0.01))
    is_open = bench.members[0].breaker.state(bench.clock()) is State.OPEN
    assert is_open == (slow_s == 0.0)


async def test_a_caller_who_leaves_gives_the_trial_back() -> None:
    """Half open, one call under way, and its caller goes: the next one is the trial."""
    bench = Bench(FakeUpstream(GONE, None, "4"), breaker=BreakerConfig(run=1, open_s=5.0))
    with pytest.raises(UpstreamUnreachable):
        await bench.tier.ask(errand())
    bench.clock.now_s += 5.0
    trial = asyncio.create_task(bench.tier.ask(errand()))
    await asyncio.sleep(0)
    with pytest.raises(UpstreamShut):
        await bench.tier.ask(errand())
    trial.cancel()
    await asyncio.wait([trial])
    assert bench.members[0].load.in_flight == 0
    await bench.tier.ask(errand())
    assert bench.members[0].breaker.state(bench.clock()) is State.CLOSED


async def test_a_stream_moves_on_until_its_first_words() -> None:
    """The role alone is held back: who sends no more of it is like one who did not answer."""
    told: list[Told] = []
    first = FakeUpstream("four", name="a", breaks_after=1)
    bench = Bench(first, FakeUpstream("five", name="b"))
    answered = await bench.tier.ask(errand(publish=told.extend))
    assert answered.upstream == "b"
    assert {each.voice.degraded for each in told} == {"upstream"}
    assert "four" not in str([each.chunks for each in told])


async def test_a_stream_is_never_retried_after_its_first_words() -> None:
    """They cannot be taken back; it counts against the upstream."""
    upstream, other = FakeUpstream("four", breaks_after=2), FakeUpstream("5", name="b")
    bench = Bench(upstream, other, retries=3, breaker=BreakerConfig(run=1))
    with pytest.raises(StreamBroken):
        await bench.tier.ask(errand(publish=lambda _: None))
    assert (len(upstream.asked), other.asked) == (1, [])
    assert bench.members[0].breaker.state(bench.clock()) is State.OPEN


async def test_a_stream_that_has_begun_ends_a_trial() -> None:
    """Nobody waits for the last word of a long answer to know that the upstream is back."""
    bench = Bench(FakeUpstream(GONE, "four"), breaker=BreakerConfig(run=1, open_s=5.0))
    with pytest.raises(UpstreamUnreachable):
        await bench.tier.ask(errand())
    bench.clock.now_s += 5.0
    states: list[State] = []
    breaker = bench.members[0].breaker
    await bench.tier.ask(errand(publish=lambda _: states.append(breaker.state(bench.clock()))))
    assert set(states) == {State.CLOSED}


# Hedging.

AT_ONCE = Hedge(seconds=0.001)


async def test_a_late_first_is_overtaken_and_paid_for() -> None:
    """The second answers; the first is cancelled, and its prompt was sent all the same."""
    slow, quick = FakeUpstream(None, name="a"), FakeUpstream("4", name="b")
    bench, told = Bench(slow, quick, hedge=AT_ONCE), errand()
    answered = await bench.tier.ask(told)
    assert (answered.upstream, slow.left) == ("b", 1)
    assert outcomes(told) == ["a cancelled"]
    assert told.attempts[0].cost_usd == Decimal(1)
    assert bench.meter.counts == {"hedged won": 1}
    assert [each.load.in_flight for each in bench.members] == [0, 0]


async def test_a_second_that_fails_leaves_the_first_its_chance() -> None:
    """A race is not over when one of two falls."""
    gate = asyncio.Event()

    class Late(FakeUpstream):
        async def ask(self, call: Any) -> Any:
            await gate.wait()
            return await super().ask(call)

    class Falls(FakeUpstream):
        async def ask(self, call: Any) -> Any:
            gate.set()
            return await super().ask(call)

    bench, told = Bench(Late("4", name="a"), Falls(GONE, name="b"), hedge=AT_ONCE), errand()
    assert (await bench.tier.ask(told)).upstream == "a"
    assert outcomes(told) == ["b UpstreamUnreachable"]
    assert bench.meter.counts == {"hedged lost": 1}


async def test_where_both_fail_both_have_been_tried() -> None:
    """The third is asked next, and neither of the two again."""
    first = FakeUpstream(None, name="a")
    bench = Bench(first, FakeUpstream(GONE, name="b"), FakeUpstream("4", name="c"), hedge=AT_ONCE)
    told = errand(budget_s=0.05)
    with pytest.raises(UpstreamTooSlow):
        await bench.tier.ask(told)
    assert bench.meter.counts["hedged failed"] == 1
    assert sorted(outcomes(told))[:2] == ["a UpstreamTooSlow", "b UpstreamUnreachable"]


async def test_a_hedge_comes_from_the_budget() -> None:
    """Of the first, whose traffic it is; where it is spent nobody is asked beside it."""
    bench = Bench(
        FakeUpstream(None, name="a"), FakeUpstream("4", name="b"), hedge=AT_ONCE, retry_ratio=0.0
    )
    for _ in range(int(FLOOR)):
        assert bench.members[0].budget.withdraw(bench.clock())
    with pytest.raises(UpstreamTooSlow):
        await bench.tier.ask(errand(budget_s=0.02))
    assert not bench.meter.counts


async def test_nobody_hedges_a_stream_or_without_a_second() -> None:
    """A stream's words cannot be thrown away."""
    told: list[Told] = []
    second = FakeUpstream("5", name="b")
    bench = Bench(FakeUpstream("4", name="a"), second, hedge=AT_ONCE)
    await bench.tier.ask(errand(publish=told.extend))
    assert second.asked == []
    await Bench(FakeUpstream("4"), hedge=AT_ONCE).tier.ask(errand())


async def test_a_caller_who_leaves_a_race_ends_both_calls() -> None:
    """Nothing goes on behind his back."""
    first, second = FakeUpstream(None, name="a"), FakeUpstream(None, name="b")
    bench = Bench(first, second, hedge=AT_ONCE)
    race = asyncio.create_task(bench.tier.ask(errand()))
    while not second.asked:
        await asyncio.sleep(0)
    race.cancel()
    await asyncio.wait([race])
    assert (first.left, second.left) == (1, 1)


@pytest.mark.parametrize("odd", ["p5", "p100", "soon", 0.0, -1.0])
def test_what_is_no_delay_is_refused(odd: Any) -> None:
    """A percentile from the middle up, or seconds."""
    with pytest.raises(ValueError, match="hedge_after"):
        Hedge.parse(odd)


def test_a_percentile_waits_for_its_numbers() -> None:
    """Nobody is hedged before twenty answers are known."""
    bench, hedge = Bench(FakeUpstream("4")), Hedge.parse("p90")
    assert hedge is not None
    assert hedge.delay_s(bench.members[0].load) is None
    for number in range(20):
        bench.members[0].load.answered(number / 10, 0.0, whole=True)
    assert hedge.delay_s(bench.members[0].load) == 1.7


# Drills.


@pytest.mark.parametrize("kind", ["upstream-down", "rate-limited", "broken-stream"])
async def test_a_drill_fails_and_is_held_against_nobody(kind: Any) -> None:
    """The other upstream answers; breaker, load and budget know nothing of it."""
    first, second = FakeUpstream("4", name="a"), FakeUpstream("5", name="b")
    bench = Bench(first, second, breaker=BreakerConfig(run=1))
    before = [each.budget.tokens(bench.clock()) for each in bench.members]
    told = errand(drill=Drill(kind=kind, upstream="a"))
    assert (await bench.tier.ask(told)).upstream == "b"
    assert first.asked == []
    assert all(each.breaker.state(bench.clock()) is State.CLOSED for each in bench.members)
    assert [each.budget.tokens(bench.clock()) for each in bench.members] == before
    assert bench.members[0].load.latency_s(bench.clock()) == 0.0


async def test_a_drilled_stream_breaks_after_its_first_words() -> None:
    """As a real one would."""
    with pytest.raises(StreamBroken):
        await Bench(FakeUpstream("four")).tier.ask(
            errand(publish=lambda _: None, drill=Drill(kind="broken-stream"))
        )


async def test_a_slow_drill_keeps_to_the_callers_deadline() -> None:
    """It delays the call, and the deadline ends it as it would a slow upstream."""
    upstream = FakeUpstream("4")
    with pytest.raises(UpstreamTooSlow):
        await Bench(upstream).tier.ask(errand(budget_s=0.01, drill=Drill(kind="slow")))
    assert upstream.asked == []
