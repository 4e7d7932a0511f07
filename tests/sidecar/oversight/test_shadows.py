"""Shadow asks: who is asked again, what is logged of it, and that nothing unpaid is asked."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from decimal import Decimal

import orjson
import pytest

from router.decision import Decision
from router.pricing import Price
from router.tiers import Ladder, Tier
from sidecar.admission.tenants import Caller
from sidecar.chat import parse
from sidecar.deadline import Deadline
from sidecar.ledger import Aim, Inquiry, Ledger
from sidecar.options import parse_options
from sidecar.outcome import Attempt, Outcome
from sidecar.oversight.asking import Asking
from sidecar.oversight.budget import Budget
from sidecar.oversight.shadows import MAX_BODY_BYTES, MAX_WAITING, Shadows
from sidecar.providers.errors import UpstreamUnreachable
from sidecar.stopwatch import Stopwatch
from sidecar.targets import Target
from sidecar.traffic.record import Record, ShadowRecord
from tests.sidecar.caching.test_lookup import KEYS, PERMIT
from tests.sidecar.oversight.test_checks import FakeDispatch, body_of

LADDER = Ladder(
    [
        Tier(name=name, model=name, price=Price(in_usd_per_mtok=Decimal(1)))
        for name in ("small", "large")
    ]
)
DECISION = Decision(entry=0, probabilities=(), reason="policy")


class FakeMeter:
    """Counts."""

    def __init__(self) -> None:
        self.fates: list[str] = []
        self.cost_usd = Decimal(0)

    def shadowed(self, fate: str, cost_usd: Decimal) -> None:
        self.fates.append(fate)
        self.cost_usd += cost_usd


class Scene:
    """Shadow asks, and whoever hears of them."""

    def __init__(
        self,
        *said: str | Exception,
        usd_per_hour: float = 1.0,
        judge: str = "",
        dice: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.meter, self.records, self.labels = FakeMeter(), list[Record](), list[float]()
        self.dispatch = FakeDispatch({"q": list(said)})
        self.asking = Asking(ladder=LADDER, dispatch=self.dispatch, judge=judge)
        self.shadows = Shadows(
            budget=Budget(usd_per_hour, lambda: 0.0),
            is_busy=lambda: False,
            dice=dice,
            log=self,
            meter=self.meter,
            labelled=lambda *told: self.labels.append(told[-1]),
            logger=logging.getLogger("test"),
            clock=lambda: 7.0,
        )

    def put(self, record: Record) -> None:
        self.records.append(record)

    def answered(
        self,
        served: str = "It is 19.",
        *,
        is_pinned: bool = False,
        place: int = 0,
        question: str = "q",
        share: float = 1.0,
        **headers: str,
    ) -> None:
        """A climb ended, and the answer of the tier at `place` was served."""
        body = {"model": "auto", "messages": [{"role": "user", "content": question}]}
        inquiry = Inquiry(
            request_id="r",
            received_at=time.time(),
            request=parse(orjson.dumps(body)),
            options=parse_options({k.replace("_", "-"): v for k, v in headers.items()}),
            caller=Caller(tenant="t"),
            deadline=Deadline.after_s(1.0),
            watch=Stopwatch(),
        )
        aim = Aim(
            target=Target(allowed=(0, 1), is_pinned=is_pinned),
            quality=0.5,
            permit=PERMIT,
            keys=KEYS,
            epoch=0,
        )
        attempt = Attempt(
            place=place, upstream="u", outcome="answered", latency_ms=1.0, body=body_of(served)
        )
        outcome = Outcome(served=attempt, attempts=(attempt,), decision=DECISION, judgement=None)
        self.shadows.answered(Ledger(inquiry=inquiry, aim=aim), outcome, self.asking, share)

    async def settled(self) -> None:
        self.shadows.start()
        await self.shadows.settled()
        await self.shadows.close()


@pytest.mark.parametrize(
    ("fresh", "fate", "label"),
    [
        pytest.param("19", "same", 1.0, id="the same"),
        pytest.param("It is 20.", "different", 0.0, id="another number"),
        pytest.param("Nineteen, or so they say.", "different", 0.0, id="no number at all"),
    ],
)
async def test_the_next_tier_labels_the_answer(fresh: str, fate: str, label: float) -> None:
    """What it said is logged beside the request, and whoever compares arms hears the label."""
    scene = Scene(fresh)
    scene.answered()
    await scene.settled()
    assert scene.meter.fates == [fate]
    assert scene.labels == [label]
    assert scene.records == [
        ShadowRecord(
            request_id="r",
            at=7.0,
            tenant="t",
            tier="large",
            answer=fresh,
            cost_usd="0.01",
            propensity=1.0,
            label=label,
            by="agreement",
        )
    ]


async def test_what_reading_cannot_tell_is_no_label() -> None:
    """Without a judge; what was said is logged all the same."""
    scene = Scene("Because of the wind, mostly.")
    scene.answered("The wind is the reason.")
    await scene.settled()
    assert (scene.meter.fates, scene.labels) == (["unsure"], [])
    (record,) = scene.records
    assert isinstance(record, ShadowRecord)
    assert record.label is None


@pytest.mark.parametrize(
    "why",
    [
        pytest.param({"is_pinned": True}, id="pinned"),
        pytest.param({"x_sidecar_bypass": "1"}, id="bypassed"),
        pytest.param({"cache_control": "no-store"}, id="not to be kept"),
        pytest.param({"place": 1}, id="the top tier answered"),
        pytest.param({"share": 0.0}, id="switched off"),
    ],
)
async def test_some_are_never_asked_again(why: dict[str, object]) -> None:
    """Nobody upstream hears of them a second time."""
    scene = Scene()
    scene.answered(**why)  # type: ignore[arg-type] # as each case says
    await scene.settled()
    assert scene.dispatch.asked == []
    assert scene.meter.fates == []


async def test_a_spent_budget_ends_it() -> None:
    """What was begun is finished; the next one is told and not asked."""
    scene = Scene("19", "19", usd_per_hour=0.005)
    scene.answered()
    scene.answered()
    await scene.settled()
    assert scene.meter.fates == ["same", "over_budget"]
    assert scene.meter.cost_usd == Decimal("0.01")


async def test_a_queue_that_is_full_drops_what_comes() -> None:
    """And so it does with what is too long; both are counted."""
    scene = Scene()
    for _ in range(MAX_WAITING + 1):
        scene.answered()
    assert scene.meter.fates == ["dropped"]
    other = Scene()
    other.answered(question="q" * MAX_BODY_BYTES)
    assert other.meter.fates == ["dropped"]


async def test_a_tier_that_fails_is_no_label() -> None:
    """Its silence says nothing of the answer served."""
    scene = Scene(UpstreamUnreachable("down"))
    scene.answered()
    await scene.settled()
    assert (scene.meter.fates, scene.records, scene.labels) == (["failed"], [], [])


async def test_the_share_is_drawn() -> None:
    """A draw above it leaves the request alone."""
    scene = Scene(dice=lambda: 0.3)
    scene.answered(share=0.2)
    await scene.settled()
    assert scene.dispatch.asked == []
