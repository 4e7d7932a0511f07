"""What holds of a tier's replicas whatever their upstreams do, and whoever leaves when."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.errors import ProviderError, UpstreamGarbled
from sidecar.providers.breaker import BreakerConfig
from sidecar.providers.errors import (
    CallerAtFault,
    KeyRefused,
    UpstreamBusy,
    UpstreamTooSlow,
    UpstreamUnreachable,
)
from sidecar.replicas.hedge import Hedge
from sidecar.replicas.retries import FLOOR, FLOOR_PER_S
from tests.sidecar.replicas.fakes import Bench, FakeUpstream, errand

SAYS = st.sampled_from(
    [
        "4",
        None,
        UpstreamUnreachable("gone"),
        UpstreamTooSlow("slow"),
        UpstreamGarbled("odd"),
        UpstreamBusy("u", 500, None),
        UpstreamBusy("u", 429, None, None, 2.0),
        KeyRefused("u", 401),
        CallerAtFault("u", 400, None),
    ]
)
BREAKER = BreakerConfig(run=2, open_s=5.0, max_open_s=10.0, key_open_s=10.0)


@settings(max_examples=60, deadline=None)
@given(
    scripts=st.lists(st.lists(SAYS, min_size=1, max_size=6), min_size=1, max_size=3),
    retries=st.integers(0, 3),
    steps=st.lists(st.tuples(st.booleans(), st.floats(0.0, 8.0)), min_size=1, max_size=12),
    hedge=st.sampled_from([None, Hedge(seconds=0.0)]),
)
async def test_every_call_is_accounted_for_and_nothing_is_left_behind(
    scripts: list[list[str | ProviderError | None]],
    retries: int,
    steps: list[tuple[bool, float]],
    hedge: Hedge | None,
) -> None:
    """Callers leave or stay: each call is one attempt, no trial is lost, the budget holds."""
    upstreams = [FakeUpstream(*says, name=f"u{n}") for n, says in enumerate(scripts)]
    bench = Bench(*upstreams, retries=retries, breaker=BREAKER, hedge=hedge)
    asked = 0
    for leaves, passes_s in steps:
        told = errand(budget_s=0.02)
        task = asyncio.create_task(bench.tier.ask(told))
        if leaves:
            await asyncio.sleep(0)
            task.cancel()
        await asyncio.wait([task])
        if not leaves:
            answered = 1 if task.exception() is None else 0
            made = sum(attempt.was_made for attempt in told.attempts) + answered
            assert made == sum(len(each.asked) for each in upstreams) - asked
            assert made <= len(upstreams) * (1 + retries)
        asked = sum(len(each.asked) for each in upstreams)
        bench.clock.now_s += passes_s
    assert [member.load.in_flight for member in bench.members] == [0] * len(upstreams)
    longest_s = max(BREAKER.max_open_s, BREAKER.key_open_s)
    assert all(m.breaker.may_admit(bench.clock() + longest_s) for m in bench.members)
    spent_s = bench.clock() - 1_000.0
    extra = FLOOR + FLOOR_PER_S * spent_s + 0.1 * len(steps)
    assert asked <= len(upstreams) * (len(steps) + extra)
