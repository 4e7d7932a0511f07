"""Trust: a bad partition is found out and shut, a good one is left alone, and both may change."""

from __future__ import annotations

import numpy as np
import pytest

from cache import trust as trust_module
from cache.entry import Candidate, MissReason
from cache.rejections import Question
from cache.standing import Change, Standing, State
from cache.trust import Refusal, Trust

HERE, THERE = b"p" * 20, b"q" * 20
NEAR = Candidate(1, 0.95, 0.03)
BOUND, LIMIT = 0.02, 0.05


def question(seed: int) -> Question:
    drawn = np.random.default_rng(seed).normal(size=8).astype(np.float32)
    return Question("what is it", drawn / np.linalg.norm(drawn))


ASKED, KEPT = question(1), question(2)


def fresh() -> Trust:
    return Trust(bound=BOUND, risk_limit=LIMIT)


def refused(trust: Trust, candidate: Candidate = NEAR, partition: bytes = HERE) -> Refusal | None:
    return trust.refusal(partition, candidate, ASKED, KEPT)


def test_what_is_not_known_is_trusted() -> None:
    """The calibrated risk alone decides until there is evidence."""
    assert refused(fresh()) is None


def test_a_partition_tightens_then_shuts() -> None:
    """Two wrong of two tighten it, four shut it; each step is told once."""
    trust = fresh()
    steps = [trust.checked(HERE, 1, is_right=False) for _ in range(4)]
    assert steps == [
        None,
        Change(State.OPEN, State.TIGHT),
        None,
        Change(State.TIGHT, State.OFF),
    ]
    refusal = refused(trust)
    assert refusal is not None
    assert refusal.reason is MissReason.OFF
    assert refused(trust, partition=THERE) is None


def test_a_tight_partition_serves_half_the_risk() -> None:
    """And an entry that stood its checks may be served where its like may not."""
    trust = fresh()
    for _ in range(2):
        trust.checked(HERE, 9, is_right=False)
    refusal = refused(trust)
    assert refusal is not None
    assert refusal.reason is MissReason.RISKY
    assert refused(trust, Candidate(1, 0.95, 0.02)) is None
    for _ in range(3):
        trust.stood(1)
    assert refused(trust) is None  # 0.03 * 10 / 13 = 0.023 <= 0.025


def test_bad_labels_alone_shut_a_partition() -> None:
    """Where every hit is called bad, a handful is enough."""
    trust, hits = fresh(), 0
    while trust.state(HERE) is not State.OFF:
        trust.served(HERE, 0.01)
        trust.bad(HERE)
        hits += 1
    assert hits <= 6


def test_a_few_complaints_among_many_hits_do_not() -> None:
    """One in two hundred is less than what the operator bears."""
    trust = fresh()
    for number in range(20_000):
        trust.served(HERE, 0.01)
        if number % 200 == 0:
            trust.bad(HERE)
    assert trust.state(HERE) is State.OPEN


@pytest.mark.parametrize("seed", range(20))
def test_a_clean_stream_is_never_shut(seed: int) -> None:
    """At half the bound; that it might be tight for a while is the price of watching."""
    trust, dice = fresh(), np.random.default_rng(seed)
    for _ in range(2_000):
        trust.checked(HERE, 1, is_right=dice.random() >= BOUND / 2)
        assert trust.state(HERE) is not State.OFF


def test_probation_leads_back() -> None:
    """Eighty right checks of hits withheld show the bound again."""
    trust = fresh()
    for _ in range(4):
        trust.checked(HERE, 1, is_right=False)
    needed = 0
    while trust.state(HERE) is State.OFF:
        trust.checked(HERE, 1, is_right=True)
        needed += 1
    assert needed == 80
    assert trust.state(HERE) is State.OPEN
    assert (trust.right, trust.wrong) == (0, 4)  # probation was not served, and is not counted


def test_a_near_miss_is_served_once_it_was_right() -> None:
    """The very pair; or any pair of an entry that stood often enough."""
    trust, near = fresh(), Candidate(1, 0.9, 0.06)
    assert trust.is_near(near)
    assert not trust.is_near(NEAR)
    assert not trust.is_near(Candidate(1, 0.5, 0.2))
    assert not trust.is_promoted(near, "q")
    trust.promote(1, "q")
    assert trust.is_promoted(near, "q")
    assert not trust.is_promoted(near, "other")
    for _ in range(2):
        trust.stood(1)
    assert trust.is_promoted(near, "other")  # 0.06 * 10 / 12 = 0.05


def test_a_rejected_pair_is_vetoed_in_its_partition() -> None:
    """Whatever its risk, and nowhere else."""
    trust = fresh()
    trust.reject(HERE, ASKED, KEPT)
    assert refused(trust) == Refusal(MissReason.VETO, "rejected before")
    assert refused(trust, partition=THERE) is None


def test_memory_is_bounded() -> None:
    """Partitions, entries and pairs: what was not used longest leaves."""
    trust = fresh()
    for number in range(trust_module.MAX_PARTITIONS + 10):
        trust.served(number.to_bytes(20), 0.01)
    for number in range(trust_module.MAX_ENTRIES + 10):
        trust.stood(number)
        trust.promote(number, "q")
    report = trust.report()
    assert sum(report.partitions.values()) == trust_module.MAX_PARTITIONS
    assert len(trust._entries) == trust_module.MAX_ENTRIES
    assert not trust.is_promoted(Candidate(0, 0.9, 0.06), "q")


def test_the_report_names_who_is_watched() -> None:
    """Those off first; an open one is not in it."""
    trust = fresh()
    trust.served(b"o" * 20, 0.01)
    for partition, wrong in ((HERE, 2), (THERE, 4)):
        for _ in range(wrong):
            trust.checked(partition, 1, is_right=False)
    report = trust.report()
    assert [one.state for one in report.watched] == [State.OFF, State.TIGHT]
    assert report.partitions == {State.OPEN: 1, State.TIGHT: 1, State.OFF: 1}
    assert (report.right, report.wrong) == (0, 6)
    assert report.estimate.value == 1.0


def test_old_evidence_gives_way() -> None:
    """Counts are halved at a bound, so that the estimate follows the traffic."""
    standing = Standing(BOUND)
    for _ in range(10_000):
        standing.checked(is_right=True)
    assert standing.right <= 2_000
    for _ in range(60):
        standing.checked(is_right=True)
        standing.checked(is_right=False)
    assert standing.state is State.OFF
