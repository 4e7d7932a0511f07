"""Overseer: whom feedback moves, what is drawn for a check, and how much is held in mind."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from cache.entry import Candidate, Hit, Miss, MissReason
from cache.standing import State
from cache.trust import Trust
from router.decision import Decision
from sidecar.admission.tenants import Caller
from sidecar.chat import parse
from sidecar.deadline import Deadline
from sidecar.ledger import Aim, Inquiry, Ledger
from sidecar.options import parse_options
from sidecar.outcome import Attempt, Outcome
from sidecar.oversight.asking import Asking
from sidecar.oversight.budget import Budget
from sidecar.oversight.checks import Checks
from sidecar.oversight.findings import Findings
from sidecar.oversight.overseer import MAX_SEEN, Overseer
from sidecar.stopwatch import Stopwatch
from sidecar.targets import Target
from sidecar.traffic.record import FeedbackRecord
from tests.sidecar.caching.test_lookup import ENTRY, KEYS, PARTITION, PERMIT, VECTOR
from tests.sidecar.oversight.test_checks import (
    LADDER,
    FakeDispatch,
    FakeEncoder,
    body_of,
)

PINNED = Decision(entry=0, probabilities=(), reason="pinned")
KEPT = replace(ENTRY, body=orjson.dumps(body_of("It is 19.")))


class FakeMeter:
    """Counts."""

    def __init__(self) -> None:
        self.verdicts: list[str] = []
        self.quarantines = 0

    def verified(self, outcome: str, cost_usd: Decimal) -> None:
        self.verdicts.append(outcome)

    def quarantined(self) -> None:
        self.quarantines += 1


class Scene:
    """An overseer, and all that it moves."""

    def __init__(self, *, share: float = 0.0, dice: Callable[[], float] = lambda: 0.5) -> None:
        self.meter, self.kept = FakeMeter(), {KEPT.entry_id: KEPT}
        self.trust = Trust(bound=0.02, risk_limit=0.05)
        self.dispatch = FakeDispatch({"q": ["19"] * 9})
        logger = logging.getLogger("test")
        findings = Findings(trust=self.trust, forget=self.forget, meter=self.meter, logger=logger)
        self.checks = Checks(
            encoder=FakeEncoder(),
            budget=Budget(1.0, lambda: 0.0),
            is_busy=lambda: False,
            heard=findings.checked,
            logger=logger,
        )
        self.overseer = Overseer(
            trust=self.trust,
            findings=findings,
            checks=self.checks,
            find=self.kept.get,
            verify_share=share,
            dice=dice,
        )
        self.asking = Asking(ladder=LADDER, dispatch=self.dispatch)

    def forget(self, entry_id: int) -> bool:
        return self.kept.pop(entry_id, None) is not None

    def ledger(self, request_id: str, tenant: str = "t") -> Ledger:
        inquiry = Inquiry(
            request_id=request_id,
            received_at=0.0,
            request=parse(b'{"model":"auto","messages":[{"role":"user","content":"q"}]}'),
            options=parse_options({}),
            caller=Caller(tenant=tenant),
            deadline=Deadline.after_s(60.0),
            watch=Stopwatch(),
        )
        target = Target(allowed=(0,), is_pinned=True)
        aim = Aim(target=target, quality=1.0, permit=PERMIT, keys=KEYS, epoch=0)
        return Ledger(inquiry=inquiry, aim=aim)

    def serve(self, request_id: str, tenant: str = "t", kind: str = "semantic") -> None:
        ledger = self.ledger(request_id, tenant)
        semantic = Hit("semantic", KEPT, 0.95, 0.01, VECTOR)
        ledger.hit = semantic if kind == "semantic" else Hit("exact", KEPT)
        self.overseer.served(ledger, self.asking)

    def withhold(self, reason: MissReason, says: str) -> None:
        ledger = self.ledger("r")
        hit = Hit("semantic", KEPT, 0.9, 0.06, VECTOR)
        ledger.miss = Miss(reason, vector=VECTOR, withheld=hit)
        served = Attempt(
            place=0, upstream="u", outcome="answered", latency_ms=1.0, body=body_of(says)
        )
        decision = PINNED
        outcome = Outcome(served=served, attempts=(served,), decision=decision, judgement=None)
        self.overseer.answered(ledger, outcome, self.asking)

    async def settled(self) -> None:
        self.checks.start()
        await self.overseer.settled()
        await self.checks.close()


def said(request_id: str, tenant: str = "t", **fields: Any) -> FeedbackRecord:
    return replace(FeedbackRecord(request_id=request_id, at=0.0, tenant=tenant), **fields)


def test_a_bad_label_quarantines_and_rejects() -> None:
    """Once: the second says nothing new."""
    scene = Scene()
    scene.serve("r")
    scene.overseer.feedback(said("r", score=0.2))
    scene.overseer.feedback(said("r", score=0.2))
    assert (scene.kept, scene.meter.quarantines) == ({}, 1)
    assert scene.overseer.report().rejections == 1


def test_a_good_label_moves_nothing() -> None:
    """It cannot show that a partition is good."""
    scene = Scene()
    scene.serve("r")
    scene.overseer.feedback(said("r", score=0.5))
    scene.overseer.feedback(said("r", correct_answer="19"))
    assert scene.kept


def test_a_bad_exact_hit_is_quarantined_and_rejects_no_pair() -> None:
    """The answer was wrong, not the likeness."""
    scene = Scene()
    scene.serve("r", kind="exact")
    scene.overseer.feedback(said("r", correct_answer="20"))
    assert (scene.kept, scene.overseer.report().rejections) == ({}, 0)


def test_a_bad_answer_that_was_kept_is_not_served_again() -> None:
    """Nobody needs to meet it twice."""
    scene = Scene()
    ledger = scene.ledger("r")
    ledger.kept_id = KEPT.entry_id
    served = Attempt(place=0, upstream="u", outcome="answered", latency_ms=1.0)
    outcome = Outcome(served=served, attempts=(served,), decision=PINNED, judgement=None)
    scene.overseer.answered(ledger, outcome, scene.asking)
    scene.overseer.feedback(said("r", score=0.0))
    assert scene.kept == {}


@given(
    st.lists(
        st.tuples(st.sampled_from(["r", "s", "x"]), st.floats(0, 1), st.sampled_from(["", "20"]))
    )
)
def test_another_tenant_moves_nothing(feedback: list[tuple[str, float, str]]) -> None:
    """Whatever it says, and however often."""
    scene = Scene()
    scene.serve("r")
    scene.serve("s")
    for request_id, score, correct in feedback:
        scene.overseer.feedback(
            said(request_id, tenant="other", score=score, correct_answer=correct)
        )
    assert scene.overseer.report().rejections == 0
    assert scene.trust.state(PARTITION) is State.OPEN
    assert scene.kept


def test_requests_are_held_in_mind_for_a_while() -> None:
    """The oldest is forgotten first."""
    scene = Scene()
    for number in range(MAX_SEEN + 1):
        scene.serve(str(number))
    assert len(scene.overseer._seen) == MAX_SEEN
    scene.overseer.feedback(said("0", score=0.0))
    assert scene.kept
    scene.overseer.feedback(said("1", score=0.0))
    assert not scene.kept


def test_a_busy_tenant_pushes_out_its_own_requests() -> None:
    """Feedback of a quiet one is still heard."""
    scene = Scene()
    scene.serve("quiet", tenant="q")
    for number in range(MAX_SEEN + 1):
        scene.serve(str(number), tenant="busy")
    scene.overseer.feedback(said("quiet", tenant="q", score=0.0))
    assert not scene.kept


async def test_only_the_drawn_are_checked() -> None:
    """A draw below the share."""
    draws = iter([0.2, 0.05, 0.1, 0.0])
    scene = Scene(share=0.1, dice=lambda: next(draws))
    for _ in range(4):
        scene.serve("r")
    await scene.settled()
    assert scene.meter.verdicts == ["right"] * 2


async def test_a_tight_partition_is_looked_at_more_closely() -> None:
    """A fifth of its hits, which count for it and not for the estimate over all."""
    scene = Scene(share=0.01, dice=lambda: 0.1)
    scene.serve("r")
    for _ in range(2):
        scene.trust.checked(PARTITION, 1, is_right=False)
    assert scene.trust.state(PARTITION) is State.TIGHT
    scene.serve("r")
    await scene.settled()
    assert scene.meter.verdicts == ["right"]
    assert scene.overseer.report().right == 0
    assert scene.overseer.report().watched[0].right == 1


async def test_a_share_of_zero_checks_nothing() -> None:
    """Not what is withheld either."""
    scene = Scene(share=0.0, dice=lambda: 0.0)
    scene.serve("r")
    scene.withhold(MissReason.OFF, "19")
    scene.withhold(MissReason.RISKY, "19")
    await scene.settled()
    assert scene.meter.verdicts == []


async def test_a_near_miss_that_was_right_is_promoted() -> None:
    """By the answer that the caller got anyhow; and it is no hit, so that it counts for none."""
    scene = Scene(share=1.0, dice=lambda: 0.0)
    scene.withhold(MissReason.RISKY, "19")
    await scene.settled()
    assert scene.dispatch.asked == []
    assert scene.trust.is_promoted(Candidate(KEPT.entry_id, 0.9, 0.06), "q")
    assert scene.overseer.report().right == 0


async def test_a_withheld_hit_counts_as_one() -> None:
    """It shows what serving it would have done; nothing is quarantined, for nobody was served."""
    scene = Scene(share=1.0, dice=lambda: 0.0)
    scene.withhold(MissReason.OFF, "19")
    await scene.settled()
    assert scene.overseer.report().right == 1
