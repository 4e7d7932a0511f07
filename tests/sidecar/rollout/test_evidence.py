"""Evidence: which requests and whose words count for an arm."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from router.decision import Decision
from router.release import State
from sidecar.admission.tenants import Caller
from sidecar.chat import parse
from sidecar.deadline import Deadline
from sidecar.ledger import Inquiry, Ledger
from sidecar.options import parse_options
from sidecar.rollout.evidence import Evidence
from sidecar.stopwatch import Stopwatch
from sidecar.traffic.record import FeedbackRecord, Source

CANARY = State(serving="a", candidate="b", share=0.1)


def closed(request_id: str, *, status: int = 200, **decided: Any) -> Ledger:
    """A request of the tenant `t`."""
    inquiry = Inquiry(
        request_id=request_id,
        received_at=0.0,
        request=parse(b'{"model":"auto","messages":[{"role":"user","content":"q"}]}'),
        options=parse_options({}),
        caller=Caller(tenant="t"),
        deadline=Deadline.after_s(60.0),
        watch=Stopwatch(),
    )
    facts: dict[str, Any] = {
        "entry": 0,
        "probabilities": (),
        "reason": "policy",
        "version": "b",
    } | decided
    return Ledger(inquiry=inquiry, decision=Decision(**facts), status=status)


def said(score: float | None, *, tenant: str = "t", source: Source = "") -> FeedbackRecord:
    return FeedbackRecord(request_id="r", at=0.0, tenant=tenant, score=score, source=source)


@pytest.mark.parametrize(
    ("state", "decided", "requests"),
    [
        pytest.param(CANARY, {}, 1, id="decided by an arm"),
        pytest.param(State(serving="a"), {}, 0, id="no trial"),
        pytest.param(CANARY, {"reason": "only_one"}, 0, id="nothing to decide"),
    ],
)
def test_what_an_arm_decided_in_a_trial_counts(
    state: State, decided: dict[str, Any], requests: int
) -> None:
    """A failure of everybody's is an error of the arm's, a caller's own is none."""
    evidence = Evidence()
    assert evidence.add(closed("r", **decided), Decimal(1), state) is bool(requests)
    assert evidence.told("b")["requests"] == requests
    evidence.add(closed("s", status=502, **decided), Decimal(0), state)
    evidence.add(closed("u", status=499, **decided), Decimal(0), state)
    assert evidence.of("b").errors.total == requests
    evidence.begin_anew()
    assert evidence.told("b")["requests"] == 0


def test_a_rival_is_counted_where_it_was_asked_and_not_heeded() -> None:
    """It has failed, or would have begun elsewhere, or there; requests are its own in shadow."""
    evidence, shadow = Evidence(), State(serving="a", candidate="b")
    for number, rival_entry in enumerate((None, 1, 0)):
        ledger = closed(str(number), version="a", rival="b", rival_entry=rival_entry)
        assert evidence.add(ledger, Decimal(0), shadow)
    rival = evidence.of("b")
    assert (rival.faults, rival.requests, rival.differs) == (1, 2, 1)
    assert evidence.of("a").requests == 3


def test_the_surest_word_counts_and_of_equals_the_last() -> None:
    """Another tier's gives way to the caller's, and that to a reviewer's; a stranger has none."""
    evidence = Evidence()
    evidence.add(closed("r"), Decimal(0), CANARY)
    quality = evidence.of("b").quality
    assert not evidence.scored(said(1.0, tenant="other"))
    assert not evidence.scored(said(None))
    assert not evidence.labelled("unknown", "t", 1.0)
    assert evidence.labelled("r", "t", 0.5)
    assert evidence.scored(said(0.25))
    assert not evidence.labelled("r", "t", 1.0)
    assert evidence.scored(said(0.0, source="review"))
    assert not evidence.scored(said(1.0))
    assert evidence.scored(said(1.0, source="review"))
    assert (quality.count, quality.total) == (1, 1.0)
