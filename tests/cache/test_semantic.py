"""SemanticCache: rules of its module, by number."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np
import pytest

from cache.entry import Entry, MissReason, Vector
from cache.errors import DuplicateEntry
from cache.look import MAX_VERDICTS, SecondLook
from cache.policy import SemanticConfig
from cache.risk import VERDICT, RiskModel
from cache.semantic import SemanticCache
from cache.verifier import LARGEST

MODEL = RiskModel.load()
QUESTION = "How do I reset my password?"
BOUND = 0.05
HERE, THERE = b"h" * 20, b"t" * 20


def vector(angle: float = 0.0) -> Vector:
    return np.array([np.cos(angle), np.sin(angle), 0.0], np.float32)


def entry(entry_id: int, partition: bytes, question: str, at: Vector, expires_at: float) -> Entry:
    return Entry(
        entry_id=entry_id,
        fingerprint=entry_id.to_bytes(20, "big"),
        partition=partition,
        question=question,
        vector=at,
        body=b"{}",
        tier="small",
        model="m",
        tokens_in=1,
        tokens_out=1,
        cost_usd=Decimal(0),
        created_at=0.0,
        expires_at=expires_at,
    )


def cache(**config: object) -> SemanticCache:
    made = SemanticConfig(**{"max_false_hit_rate": BOUND, **config})  # type: ignore[arg-type] # each test names real fields
    return SemanticCache(
        encoder_id="e", look=SecondLook(MODEL, made.max_false_hit_rate), config=made
    )


def test_no_search_crosses_partitions() -> None:
    """Rule 1: not even for the very same text at cosine 1."""
    kept = cache()
    kept.add(entry(1, HERE, QUESTION, vector(), 100.0))
    assert kept.find(THERE, QUESTION, vector(), now_at=0.0).reason is MissReason.EMPTY
    assert kept.find(HERE, QUESTION, vector(), now_at=0.0).accepted[0].entry_id == 1


def test_near_is_not_enough() -> None:
    """Rule 2: a veto and a risk above the limit refuse at cosine 1."""
    kept = cache()
    kept.add(entry(1, HERE, "What is the capital of France?", vector(), 100.0))
    veto = kept.find(HERE, "What is the capital of Spain?", vector(), now_at=0.0)
    assert (veto.accepted, veto.reason, veto.detail) == ((), MissReason.VETO, "name")
    risky = kept.find(HERE, "Bake a cake with seven eggs", vector(0.8), now_at=0.0)
    assert risky.reason is MissReason.RISKY
    assert risky.nearest is not None
    assert risky.nearest.entry_id == 1


def test_what_expired_leaves() -> None:
    """Rule 3: it is passed over, and does not hide what lies behind it."""
    kept = cache(candidates=1)
    kept.add(entry(1, HERE, QUESTION, vector(), 10.0))
    kept.add(entry(2, HERE, QUESTION, vector(0.1), 100.0))
    found = kept.find(HERE, QUESTION, vector(), now_at=10.0)
    assert [candidate.entry_id for candidate in found.accepted] == [2]
    assert kept.statistics().entries == 1


def test_an_empty_partition_is_freed() -> None:
    """Rule 4: and an id that is not kept is no fault."""
    kept = cache()
    kept.add(entry(1, HERE, QUESTION, vector(), 100.0))
    kept.remove(1)
    kept.remove(1)
    assert kept.statistics().partitions == 0
    assert kept.find(HERE, QUESTION, vector(), now_at=0.0).reason is MissReason.EMPTY


def test_the_best_comes_first_and_the_rest_follow() -> None:
    """So that the next can serve where the first is gone."""
    kept = cache()
    kept.add(entry(1, HERE, "How can I reset my password?", vector(0.05), 100.0))
    kept.add(entry(2, HERE, QUESTION, vector(), 100.0))
    found = kept.find(HERE, QUESTION, vector(), now_at=0.0)
    assert [candidate.entry_id for candidate in found.accepted] == [2, 1]
    assert found.accepted[0].risk <= found.accepted[1].risk


def test_the_strictest_floor_holds() -> None:
    """The operator's and the caller's, whichever is higher."""
    for kept, asked in ((cache(), 0.99), (cache(min_similarity=0.99), 0.5)):
        kept.add(entry(1, HERE, QUESTION, vector(), 100.0))
        found = kept.find(HERE, QUESTION, vector(0.3), now_at=0.0, min_similarity=asked)
        assert found.reason is MissReason.NOTHING_NEAR


def test_it_serves_nothing_where_no_bound_is_shown() -> None:
    """Nor when it is switched off; each says why."""
    unshown = SemanticCache(
        encoder_id="e",
        look=SecondLook(replace(MODEL, points=()), 0.02),
        config=SemanticConfig(),
    )
    for kept in (unshown, cache(mode="off"), cache(max_false_hit_rate=0.0001)):
        kept.add(entry(1, HERE, QUESTION, vector(), 100.0))
        found = kept.find(HERE, QUESTION, vector(), now_at=0.0)
        assert found.reason is MissReason.OFF
        assert found.detail


def test_an_id_is_taken_once() -> None:
    """In whatever partition."""
    kept = cache()
    kept.add(entry(1, HERE, QUESTION, vector(), 100.0))
    with pytest.raises(DuplicateEntry):
        kept.add(entry(1, THERE, QUESTION, vector(), 100.0))


@dataclass
class Counting:
    """Says the same of every pair, and counts how often it is asked."""

    says: float
    digest: str = "counting"
    asked: int = 0

    def verdict(self, kept: str, asked: str) -> float | None:
        assert kept != asked
        self.asked += 1
        return self.says


@pytest.mark.parametrize(("says", "times"), [(-LARGEST, MAX_VERDICTS), (LARGEST, 1)])
def test_of_many_doubtful_ones_few_are_looked_at_twice(says: float, times: int) -> None:
    """Those of least risk, and no more once one may be served."""
    verified = replace(
        MODEL,
        names=(*MODEL.names, VERDICT),
        weights=(*MODEL.weights, -5.0),
        doubt=1.0,
        verifier="counting",
    )
    verifier = Counting(says)
    look = SecondLook(MODEL, BOUND, verified, verifier)
    tier = SemanticCache(encoder_id="e", look=look, config=SemanticConfig())
    for number in range(1, 6):
        question = f"how do i plant a fig tree {'x' * number}"
        tier.add(entry(number, HERE, question, vector(number / 10), 100.0))
    found = tier.judge(HERE, "how can i plant a fig tree", vector(), now_at=0.0)
    assert verifier.asked == times
    assert sum(one.verdict is not None for one in found) == times
    assert sum(one.reason is None for one in found) == (says > 0)
