"""The second look: the verifier is asked where there is doubt, and its silence is a no."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.entry import MissReason
from cache.errors import RiskModelError
from cache.facets import facets
from cache.guard import compare
from cache.look import Opinion, SecondLook
from cache.risk import NEAR_RATIO, VERDICT, RiskModel
from cache.verifier import LARGEST, clipped

CHEAP = RiskModel.load()
BOUND = 0.05
VERIFIED = replace(
    CHEAP,
    names=(*CHEAP.names, VERDICT),
    weights=(*CHEAP.weights, -1.0),
    doubt=0.5,
    verifier="fake",
)


@dataclass
class FakeVerifier:
    """Says what it is told to, and counts."""

    says: float | None = 4.0
    digest: str = "fake"
    asked: list[tuple[str, str]] = field(default_factory=list)

    def verdict(self, kept: str, asked: str) -> float | None:
        self.asked.append((kept, asked))
        return self.says


def looked(
    verifier: FakeVerifier | None,
    similarity: float,
    kept: str = "How do I bake bread?",
    asked: str = "How can I bake a bread?",
) -> Opinion:
    look = SecondLook(CHEAP, BOUND, VERIFIED if verifier else None, verifier)
    comparison = compare(facets(kept), facets(asked))
    first = look.first(similarity, comparison)
    return look.second(kept, asked, similarity, comparison, first)


def test_a_verdict_moves_the_risk() -> None:
    """Down where it is yes, up where it is no; and it is told."""
    yes, no = looked(FakeVerifier(4.0), 0.93), looked(FakeVerifier(-4.0), 0.93)
    assert yes.risk < no.risk
    assert (yes.reason, yes.verdict) == (None, 4.0)
    assert (no.reason, no.verdict) == (MissReason.RISKY, -4.0)


def test_no_verdict_is_a_no() -> None:
    """However near the two lie."""
    opinion = looked(FakeVerifier(None), 0.99)
    assert opinion.reason is MissReason.RISKY
    assert "verdict" in opinion.detail


def test_what_the_cheap_stage_forbids_costs_no_verdict() -> None:
    """A veto, and a risk beyond doubt."""
    verifier = FakeVerifier()
    assert looked(verifier, 0.5).reason is MissReason.RISKY
    vetoed = looked(verifier, 0.99, "Convert 3 miles to km", "Convert 5 miles to km")
    assert vetoed.reason is MissReason.VETO
    assert not verifier.asked


@given(similarity=st.floats(0.7, 1.0), says=st.floats(-8.0, 8.0), is_nearest=st.booleans())
def test_no_verdict_is_asked_for_that_could_change_nothing(
    *, similarity: float, says: float, is_nearest: bool
) -> None:
    """Whatever it would say: what may be served is the same, and of the nearest what is near."""
    verifier, weak = FakeVerifier(says), replace(VERIFIED, weights=(*CHEAP.weights, -0.2))
    look = SecondLook(CHEAP, BOUND, weak, verifier)
    assert look.limit is not None
    comparison = compare(facets("How do I bake bread?"), facets("How can I bake a bread?"))
    first = look.first(similarity, comparison)
    told = look.second("a", "b", similarity, comparison, first, is_nearest=is_nearest)
    if not first.is_doubtful:
        assert told == first
        return
    asked = weak.risk(similarity, comparison, clipped(says))
    assert (told.reason is None) == (asked <= look.limit)
    if verifier.asked:
        assert told.risk == asked
    elif is_nearest:
        assert min(told.risk, asked) > look.limit * NEAR_RATIO


def test_where_no_verdict_could_help_none_is_asked_for() -> None:
    """The least risk that one could leave is above the limit, and is told."""
    verifier, weak = FakeVerifier(8.0), replace(VERIFIED, weights=(*CHEAP.weights, -0.01))
    look = SecondLook(CHEAP, BOUND, weak, verifier)
    comparison = compare(facets("How do I bake bread?"), facets("How can I bake a bread?"))
    first = look.first(0.9, comparison)
    told = look.second("a", "b", 0.9, comparison, first)
    assert (first.is_doubtful, told.reason, verifier.asked) == (True, MissReason.RISKY, [])
    assert told.risk == weak.risk(0.9, comparison, LARGEST)


def test_one_calculation_said_twice_needs_no_verdict() -> None:
    """Its parts tell it, and the verifier has not learnt sums."""
    verifier = FakeVerifier(None)
    opinion = looked(verifier, 0.8, "What is 12 plus 7?", "How much is twelve plus seven?")
    assert opinion.risk == CHEAP.restated_risk
    assert not verifier.asked


def test_without_a_verifier_the_cheap_risk_decides() -> None:
    """As it did before there was one."""
    assert looked(None, 0.97).reason is None
    assert looked(None, 0.6).reason is MissReason.RISKY
    assert SecondLook(CHEAP, 0.0001).limit is None


def test_a_model_of_another_verifier_is_refused() -> None:
    """Verdicts of two networks do not mean the same."""
    with pytest.raises(RiskModelError):
        SecondLook(CHEAP, BOUND, VERIFIED, FakeVerifier(digest="other"))
    with pytest.raises(RiskModelError):
        SecondLook(CHEAP, BOUND, None, FakeVerifier())


def test_a_bound_that_nothing_holds_serves_nothing() -> None:
    """And says so."""
    look = SecondLook(CHEAP, 0.0001)
    comparison = compare(facets("a b c"), facets("a b c"))
    assert look.first(1.0, comparison).reason is MissReason.RISKY
