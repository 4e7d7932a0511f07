"""Trace: one look-up told in full, and never more than a header holds."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.entry import Candidate, Found, Hit, Judged, Miss, MissReason
from cache.facets import facets
from cache.guard import NAMES, Comparison, compare
from sidecar.accounting.trace import MAX_BYTES, MAX_NEAR, trace
from tests.sidecar.caching.test_lookup import ENTRY

KEPT, ASKED = "What is 12 plus 7?", "What is 12 plus 8?"
JUDGED = Judged(
    Candidate(7, 0.97, 0.3), compare(facets(KEPT), facets(ASKED)), MissReason.VETO, "a number"
)
FOUND = Found((), MissReason.VETO, "a number", JUDGED.candidate, (JUDGED,), 0.05)


def test_a_miss_tells_what_was_near_and_why_it_was_not_served() -> None:
    """Similarity, risk against the limit, facets, veto and reason."""
    told = json.loads(trace(Miss(MissReason.VETO, "a number", found=FOUND)))
    [near] = told.pop("near")
    assert told == {"served": None, "reason": "veto", "detail": "a number", "limit": 0.05}
    assert (near["id"], near["similarity"], near["risk"]) == (7, 0.97, 0.3)
    assert (near["refused"], near["veto"]) == ("veto", JUDGED.comparison.veto)
    assert near["veto"]
    assert set(near["facets"]) <= set(NAMES)


def test_a_hit_tells_which_and_at_what_risk() -> None:
    """The entry that went out, among those that were near."""
    told = json.loads(trace(Hit("semantic", ENTRY, 0.97, 0.01, None, FOUND)))
    assert (told["served"], told["risk"], told["limit"]) == (ENTRY.entry_id, 0.01, 0.05)


@pytest.mark.parametrize(
    "looked", [None, Miss(MissReason.OVER_BUDGET), Hit("exact", ENTRY)], ids=["none", "miss", "hit"]
)
def test_where_nothing_was_sought_nothing_is_told(looked: Hit | Miss | None) -> None:
    """An exact hit, a slow encoder."""
    assert trace(looked) == ""


@given(st.integers(0, 60), st.text(max_size=300), st.text(max_size=300))
def test_it_is_ascii_and_fits(near: int, veto: str, detail: str) -> None:
    """Whatever a question says, and however many entries are looked at; what remains is JSON."""
    comparison = Comparison(veto, tuple(1 / (1 + n) for n in range(len(NAMES))), is_restated=False)
    judged = (replace(JUDGED, comparison=comparison, detail=detail),) * near
    text = trace(Miss(MissReason.RISKY, detail, found=replace(FOUND, judged=judged)))
    assert text.isascii()
    assert "\n" not in text
    assert len(text) <= MAX_BYTES
    told = json.loads(text)
    assert len(told["near"]) == min(near, MAX_NEAR) or len(text) > MAX_BYTES / 2
