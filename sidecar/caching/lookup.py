"""The cache as the pipeline sees it: a question in, a hit or a miss out, in time.

Never an error: a slow encoder, a broken index, a busy thread are each a miss, so that the caller
pays for a call upstream and never with an error. Cancellation passes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypeVar

from cache.entry import Candidate, Entry, Found, Hit, Miss, MissReason, Vector
from cache.errors import CacheError
from cache.key import Keys
from cache.policy import Permit
from cache.rejections import Question
from cache.stores.memory import MemoryStore
from cache.trust import Trust
from sidecar.deadline import Deadline
from sidecar.encoder.encoding import Encoding
from sidecar.errors import EncoderError
from sidecar.stopwatch import Stopwatch

T = TypeVar("T")


class Encoder(Protocol):
    """Text to a vector, and work on that vector, in one trip to the encoder's thread."""

    async def encode(self, text: str, then: Callable[[Encoding], T], scope: bytes = b"") -> T:
        """`scope` is within which the vector may be remembered; raises EncoderError."""
        ...


class MeaningIndex(Protocol):
    """The one method of SemanticCache that is needed here."""

    def find(
        self,
        partition: bytes,
        question: str,
        vector: Vector,
        *,
        now_at: float,
        min_similarity: float | None = None,
    ) -> Found:
        """Raises CacheError."""
        ...


class Below(Protocol):
    """What the keeper knows of entries that memory does not hold, or not for long."""

    @property
    def ticket(self) -> int:
        """To be drawn before the disk is read."""
        ...

    async def find_below(self, fingerprint: bytes) -> Entry | None:
        """The entry that the disk alone keeps, expired or not."""
        ...

    def rise(self, entry: Entry, uses: int = 1, *, ticket: int) -> Entry | None:
        """What was read from disk with `ticket`, now in memory too; None if it may not serve."""
        ...

    def is_void(self, entry: Entry) -> bool:
        """Memory holds it, and it was invalidated."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LookupConfig:
    """How long a look-up may take.

    Attributes:
        budget_s: How long a caller may be kept waiting for a vector and its neighbours.

    Raises:
        ValueError: The budget is not positive.
    """

    # Chosen: a text that fills the window takes 20 ms on one thread of an older core, so that a
    # burst of twenty still routes by its vectors; a model's answer takes seconds.
    budget_s: float = 0.5

    def __post_init__(self) -> None:
        if self.budget_s <= 0:
            raise ValueError(f"budget_s must be positive, is {self.budget_s}")


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """What is being looked up, once it has a vector."""

    partition: bytes
    question: str
    vector: Vector
    max_age_s: float | None
    now_at: float
    ticket: int


class Lookup:
    """Exact first, on the loop; then by meaning, on the encoder's thread."""

    def __init__(
        self,
        *,
        store: MemoryStore,
        below: Below,
        encoder: Encoder,
        index: MeaningIndex,
        config: LookupConfig,
        trust: Trust,
        serves_by_meaning: bool = True,
    ) -> None:
        """`serves_by_meaning` is False in shadow mode: what would be served is told, no more."""
        self._store = store
        self._below = below
        self._encoder = encoder
        self._index = index
        self._config = config
        self._trust = trust
        self._serves_by_meaning = serves_by_meaning

    def exact(self, keys: Keys, permit: Permit, now_at: float) -> Hit | None:
        """The entry kept under this very fingerprint."""
        if not permit.read:
            return None
        return self._hit(self._store.get(keys.fingerprint, now_at, permit.max_age_s))

    def stale(self, keys: Keys, permit: Permit, now_at: float, stale_s: float) -> Hit | None:
        """The entry kept under this very fingerprint, expired for no longer than `stale_s`."""
        if not permit.read or stale_s <= 0.0:
            return None
        return self._hit(self._store.get(keys.fingerprint, now_at, permit.max_age_s, stale_s))

    def _hit(self, entry: Entry | None) -> Hit | None:
        return None if entry is None or self._below.is_void(entry) else Hit("exact", entry)

    async def on_disk(self, keys: Keys, permit: Permit) -> Hit | None:
        """The entry that the disk alone keeps under this very fingerprint; memory has it now.

        One that has expired is there for `stale` to be found.
        """
        if not permit.read:
            return None
        entry = await self._below.find_below(keys.fingerprint)
        is_fit = entry is not None and _is_fit(entry, time.time(), permit.max_age_s)
        return Hit("exact", entry, store="disk") if entry is not None and is_fit else None

    async def by_meaning(
        self,
        keys: Keys,
        question: str,
        permit: Permit,
        *,
        min_similarity: float | None,
        deadline: Deadline,
        watch: Stopwatch,
    ) -> Hit | Miss:
        """The entry kept for a question that means the same; else a miss that carries the vector.

        Takes at most the configured budget, or what is left until `deadline` if that is less.
        """
        now_at, ticket = time.time(), self._below.ticket
        partition = keys.partition if permit.read and permit.semantic else None

        def search(encoding: Encoding) -> tuple[Encoding, Found | None, float]:
            begun_s = time.perf_counter()
            found = None
            if partition is not None and not encoding.truncated:
                found = self._index.find(
                    partition,
                    question,
                    encoding.vector,
                    now_at=now_at,
                    min_similarity=min_similarity,
                )
            return encoding, found, (time.perf_counter() - begun_s) * 1e3

        try:
            async with asyncio.timeout(min(self._config.budget_s, deadline.remaining_s())):
                # Over budget, the thread is not interrupted; its result is dropped.
                encoding, found, search_ms = await self._encoder.encode(
                    question, search, partition or b""
                )
        except TimeoutError:
            return Miss(MissReason.OVER_BUDGET)
        except (CacheError, EncoderError) as fault:
            return Miss(MissReason.FAULT, detail=type(fault).__name__)
        watch.add("encode", encoding.encode_ms)
        watch.add("queue", encoding.queue_ms)
        watch.add("search", search_ms)
        if encoding.truncated:
            detail = "longer than the encoder's window"
            return Miss(MissReason.NO_MEANING, detail=detail, vector=encoding.vector)
        if found is None:
            return Miss(MissReason.NOT_CACHEABLE, detail=permit.reason, vector=encoding.vector)
        assert partition is not None  # noqa: S101 - something was found in it
        asked = _Asked(partition, question, encoding.vector, permit.max_age_s, now_at, ticket)
        return self._settle(found, asked)

    def _settle(self, found: Found, asked: _Asked) -> Hit | Miss:
        nearest = found.nearest.similarity if found.nearest is not None else None
        missed = Miss(MissReason.GONE, vector=asked.vector, nearest=nearest, found=found)
        if not found.accepted:
            assert found.reason is not None  # noqa: S101 - Found says why it is empty
            missed = replace(missed, reason=found.reason, detail=found.detail)
        refused: Miss | None = None
        for candidate in found.accepted or self._near(found):
            looked = self._judged(candidate, found, asked, missed)
            if isinstance(looked, Hit):
                return looked
            if looked is not missed:
                refused = refused or looked  # the best candidate's refusal speaks for all
        return refused or missed

    def _near(self, found: Found) -> tuple[Candidate, ...]:
        """The nearest, where its risk alone, and not by much, kept it from being served."""
        nearest = found.nearest if found.reason is MissReason.RISKY else None
        return (nearest,) if nearest is not None and self._trust.is_near(nearest) else ()

    def _entry(
        self, candidate: Candidate, asked: _Asked
    ) -> tuple[Entry | None, Literal["memory", "disk"]]:
        """The candidate as it is kept now, and where; what only the disk held is in memory then."""
        entry = self._store.get_by_id(candidate.entry_id, asked.now_at, asked.max_age_s)
        if entry is not None:
            return (None if self._below.is_void(entry) else entry), "memory"
        read = candidate.below
        if read is None or not _is_fit(read, asked.now_at, asked.max_age_s):
            return None, "disk"
        return self._below.rise(read, ticket=asked.ticket), "disk"

    def _judged(
        self, candidate: Candidate, found: Found, asked: _Asked, missed: Miss
    ) -> Hit | Miss:
        """The hit, or `missed` with the reason for which the candidate is not served."""
        entry, store = self._entry(candidate, asked)
        if entry is None:
            return missed
        hit = Hit(
            "semantic", entry, candidate.similarity, candidate.risk, asked.vector, found, store
        )
        refusal = self._trust.refusal(
            asked.partition,
            candidate,
            Question(asked.question, asked.vector),
            Question(entry.question, entry.vector) if entry.vector is not None else None,
        )
        if refusal is not None:
            is_known = refusal.reason is MissReason.VETO  # nothing is left to check
            return replace(
                missed,
                reason=refusal.reason,
                detail=refusal.detail,
                withheld=None if is_known else hit,
            )
        if not found.accepted and not self._trust.is_promoted(candidate, asked.question):
            return replace(missed, withheld=hit)
        if not self._serves_by_meaning:
            detail = f"shadow: entry {entry.entry_id} would have been served"
            return replace(missed, reason=MissReason.OFF, detail=detail, withheld=hit)
        return hit


def _is_fit(entry: Entry, now_at: float, max_age_s: float | None) -> bool:
    """As in MemoryStore.get."""
    is_young = max_age_s is None or now_at - entry.created_at < max_age_s
    return entry.expires_at > now_at and is_young
