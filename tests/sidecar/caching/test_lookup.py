"""Lookup: a hit, or a miss in time; never an error."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import TypeVar

import numpy as np
import pytest

from cache.entry import Candidate, Entry, Found, Hit, Miss, MissReason
from cache.errors import CacheError
from cache.key import Keys
from cache.policy import Permit
from cache.rejections import Question
from cache.stores.memory import MemoryStore
from cache.trust import Trust
from sidecar.caching.lookup import Lookup, LookupConfig
from sidecar.deadline import Deadline
from sidecar.encoder.encoding import Encoding
from sidecar.errors import EncoderError
from sidecar.stopwatch import Stopwatch

T = TypeVar("T")

VECTOR = np.array([1.0, 0.0], dtype=np.float32)
KEYS = Keys(fingerprint=b"f" * 20, partition=b"p" * 20)
PARTITION = KEYS.partition or b""
PERMIT = Permit(read=True, write=True, semantic=True)
FAR_AT = 4e9

ENTRY = Entry(
    entry_id=7,
    fingerprint=b"g" * 20,
    partition=KEYS.partition,
    question="q",
    vector=VECTOR,
    body=b"{}",
    tier="small",
    model="m",
    tokens_in=1,
    tokens_out=1,
    cost_usd=Decimal(0),
    created_at=0.0,
    expires_at=FAR_AT,
)


class FakeEncoder:
    """Encodes everything to VECTOR, or fails, or never answers."""

    def __init__(self, *, fails: bool = False, hangs: bool = False, cut: bool = False) -> None:
        self._fails = fails
        self._hangs = hangs
        self._cut = cut

    async def encode(self, text: str, then: Callable[[Encoding], T], scope: bytes = b"") -> T:
        if self._fails:
            raise EncoderError("no session")
        if self._hangs:
            await asyncio.Event().wait()
        return then(
            Encoding(vector=VECTOR, tokens=3, truncated=self._cut, queue_ms=0.0, encode_ms=1.0)
        )


class FakeIndex:
    """Finds the same whatever is asked, and counts how often it was asked."""

    def __init__(self, found: Found | CacheError) -> None:
        self.asked = 0
        self._found = found

    def find(
        self,
        partition: bytes,
        question: str,
        vector: object,
        *,
        now_at: float,
        min_similarity: float | None = None,
    ) -> Found:
        self.asked += 1
        if isinstance(self._found, CacheError):
            raise self._found
        return self._found


NOTHING = Found((), MissReason.EMPTY)
BOTH = Found((Candidate(99, 0.99, 0.0), Candidate(7, 0.97, 0.01)), None)


class FakeBelow:
    """A disk that holds nothing."""

    ticket = 0

    async def find_below(self, fingerprint: bytes) -> Entry | None:
        return None

    def rise(self, entry: Entry, uses: int = 1, *, ticket: int) -> Entry | None:
        return None

    def is_void(self, entry: Entry) -> bool:
        return False


async def look(
    encoder: FakeEncoder,
    index: FakeIndex,
    *,
    permit: Permit = PERMIT,
    budget_s: float = 60.0,
    serves: bool = True,
    trust: Trust | None = None,
) -> Hit | Miss:
    store = MemoryStore(10**6)
    store.put(ENTRY)
    lookup = Lookup(
        store=store,
        below=FakeBelow(),
        encoder=encoder,
        index=index,
        config=LookupConfig(budget_s=budget_s),
        trust=trust or Trust(bound=0.02, risk_limit=0.05),
        serves_by_meaning=serves,
    )
    return await lookup.by_meaning(
        KEYS,
        "q",
        permit,
        min_similarity=None,
        deadline=Deadline.after_s(60.0),
        watch=Stopwatch(),
    )


async def test_the_best_candidate_still_kept_is_served() -> None:
    """The index may point to what memory let go; the next one is tried."""
    hit = await look(FakeEncoder(), FakeIndex(BOTH))
    assert isinstance(hit, Hit)
    assert (hit.entry.entry_id, hit.similarity, hit.risk) == (7, 0.97, 0.01)


async def test_what_is_gone_from_memory_is_a_miss() -> None:
    """Never served from a pointer."""
    miss = await look(FakeEncoder(), FakeIndex(Found((Candidate(99, 0.99, 0.0),), None)))
    assert isinstance(miss, Miss)
    assert miss.reason is MissReason.GONE


async def test_a_broken_index_is_a_miss() -> None:
    """The cache may lose a saving, never an answer."""
    miss = await look(FakeEncoder(), FakeIndex(CacheError("torn")))
    assert isinstance(miss, Miss)
    assert miss.reason is MissReason.FAULT


@pytest.mark.parametrize(
    ("encoder", "budget_s", "reason"),
    [
        pytest.param(FakeEncoder(fails=True), 60.0, MissReason.FAULT, id="encoder-fails"),
        pytest.param(FakeEncoder(hangs=True), 1e-6, MissReason.OVER_BUDGET, id="encoder-hangs"),
    ],
)
async def test_without_a_vector_it_is_a_miss(
    encoder: FakeEncoder, budget_s: float, reason: MissReason
) -> None:
    """No vector, no hit, and no error either."""
    miss = await look(encoder, FakeIndex(BOTH), budget_s=budget_s)
    assert isinstance(miss, Miss)
    assert (miss.reason, miss.vector) == (reason, None)


async def test_a_question_that_was_cut_is_never_compared() -> None:
    """Half a question's vector would stand for the whole; the router may still use it."""
    index = FakeIndex(BOTH)
    miss = await look(FakeEncoder(cut=True), index)
    assert isinstance(miss, Miss)
    assert (miss.reason, index.asked) == (MissReason.NO_MEANING, 0)
    assert miss.vector is not None


async def test_without_leave_to_read_the_vector_is_made_all_the_same() -> None:
    """`no-cache` routes and keeps, and looks nothing up."""
    index = FakeIndex(BOTH)
    miss = await look(FakeEncoder(), index, permit=PERMIT._replace(read=False, reason="no-cache"))
    assert isinstance(miss, Miss)
    assert index.asked == 0
    assert miss.vector is not None


async def test_shadow_mode_tells_and_does_not_serve() -> None:
    """What would have been served can be judged before anybody is served it."""
    miss = await look(FakeEncoder(), FakeIndex(BOTH), serves=False)
    assert isinstance(miss, Miss)
    assert miss.reason is MissReason.OFF
    assert "would have been served" in miss.detail


NEAR = Candidate(7, 0.9, 0.06)
NEAR_MISS = Found((), MissReason.RISKY, "risk 0.060 > 0.050", NEAR)


def trusting() -> Trust:
    return Trust(bound=0.02, risk_limit=0.05)


async def test_a_partition_that_is_off_withholds_its_hits() -> None:
    """They are told, so that they may be checked."""
    trust = trusting()
    for _ in range(4):
        trust.checked(PARTITION, 7, is_right=False)
    miss = await look(FakeEncoder(), FakeIndex(BOTH), trust=trust)
    assert isinstance(miss, Miss)
    assert miss.reason is MissReason.OFF
    assert miss.withheld is not None
    assert miss.withheld.entry is ENTRY


async def test_a_rejected_pair_is_a_veto_and_nothing_to_check() -> None:
    """What is known need not be asked again."""
    trust = trusting()
    trust.reject(PARTITION, Question("q", VECTOR), Question("q", VECTOR))
    miss = await look(FakeEncoder(), FakeIndex(BOTH), trust=trust)
    assert isinstance(miss, Miss)
    assert (miss.reason, miss.detail) == (MissReason.VETO, "rejected before")
    assert miss.withheld is None


async def test_a_near_miss_is_told_and_once_promoted_served() -> None:
    """The risk alone kept it back, and not by much; one further off is not told."""
    trust = trusting()
    miss = await look(FakeEncoder(), FakeIndex(NEAR_MISS), trust=trust)
    assert isinstance(miss, Miss)
    assert (miss.reason, miss.detail) == (MissReason.RISKY, "risk 0.060 > 0.050")
    assert miss.withheld is not None
    trust.promote(7, "q")
    assert isinstance(await look(FakeEncoder(), FakeIndex(NEAR_MISS), trust=trust), Hit)
    shadow = await look(FakeEncoder(), FakeIndex(NEAR_MISS), trust=trust, serves=False)
    assert isinstance(shadow, Miss)
    far = replace(NEAR_MISS, nearest=replace(NEAR, risk=0.2))
    miss = await look(FakeEncoder(), FakeIndex(far), trust=trust)
    assert isinstance(miss, Miss)
    assert miss.withheld is None
