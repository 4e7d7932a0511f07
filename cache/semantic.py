"""A question and its vector in, the kept entries that may answer it out, each with its risk.

Rule 1: neighbours are sought inside one partition; there is no search that crosses two.
Rule 2: near is not enough: a veto forbids, and the risk must lie under the limit.
Rule 3: what has expired is passed over and leaves the index when it is met.
Rule 4: a partition without entries is freed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from cache.entry import Candidate, EntryId, Found, Judged, MissReason, Vector
from cache.errors import DuplicateEntry
from cache.facets import Facets, facets
from cache.guard import Comparison, compare
from cache.index import FaissIndex, Neighbour
from cache.policy import SemanticConfig
from cache.risk import RiskModel

NO_ENTRY: Final[EntryId] = 0
"""In place of an id, of what is kept nowhere yet; the first entry ever has 1."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """Sizes, for the gauges.

    Attributes:
        entries: Kept in all partitions.
        partitions: With at least one entry.
        risk_limit: Risk up to which hits are served; None if the bound cannot be held.
    """

    entries: int
    partitions: int
    risk_limit: float | None


@dataclass(frozen=True, slots=True)
class _Kept:
    partition: bytes
    facets: Facets
    expires_at: float


class SemanticCache:
    """The semantic tier's mind. One owner thread; nothing in here takes a lock."""

    def __init__(self, *, encoder_id: str, risk: RiskModel, config: SemanticConfig) -> None:
        self.encoder_id = encoder_id
        self._risk = risk
        self._config = config
        self._limit = risk.limit(config.max_false_hit_rate)
        self._partitions: dict[bytes, FaissIndex] = {}
        self._kept: dict[EntryId, _Kept] = {}

    def find(
        self,
        partition: bytes,
        question: str,
        vector: Vector,
        *,
        now_at: float,
        min_similarity: float | None = None,
    ) -> Found:
        """The entries that may answer `question`, best first; raises CacheError.

        `min_similarity` is this caller's floor; the operator's and the model's hold beside it.
        """
        if off := self.why_off():
            return Found((), MissReason.OFF, off)
        judged = self.judge(
            partition, question, vector, now_at=now_at, min_similarity=min_similarity
        )
        return replace(_summed(judged), judged=judged, limit=self._limit)

    def why_off(self) -> str:
        """Why nothing is served by meaning, in words; empty if something may be."""
        if self._config.mode == "off":
            return "switched off"
        if self._limit is None:
            return f"no risk is shown to hold {self._config.max_false_hit_rate:g} wrong hits"
        return ""

    def judge(
        self,
        partition: bytes,
        question: str,
        vector: Vector,
        *,
        now_at: float,
        min_similarity: float | None = None,
    ) -> tuple[Judged, ...]:
        """What is thought of each near entry, the nearest first; raises CacheError."""
        neighbours = self._nearest(partition, vector, now_at)
        floor = self._floor(min_similarity)
        asked = facets(question) if neighbours else None
        return tuple(self._judged(asked, neighbour, floor) for neighbour in neighbours if asked)

    def _nearest(self, partition: bytes, vector: Vector, now_at: float) -> list[Neighbour]:
        while (index := self._partitions.get(partition)) is not None:
            neighbours = index.nearest(vector, self._config.candidates)
            old = [n for n in neighbours if self._kept[n.entry_id].expires_at <= now_at]
            if not old:
                return neighbours
            for neighbour in old:
                self.remove(neighbour.entry_id)
        return []

    def judge_pair(
        self, kept: str, asked: str, similarity: float, *, min_similarity: float | None = None
    ) -> Judged:
        """What is thought of serving `kept`'s answer for `asked`; neither need be in the index.

        The candidate's id is `NO_ENTRY`.
        """
        neighbour = Neighbour(NO_ENTRY, similarity)
        judged = self._pair(facets(kept), facets(asked), neighbour, self._floor(min_similarity))
        off = self.why_off()
        return replace(judged, reason=MissReason.OFF, detail=off) if off else judged

    def _floor(self, min_similarity: float | None) -> float:
        floors = (min_similarity, self._config.min_similarity)
        return max((floor for floor in floors if floor is not None), default=-1.0)

    def _judged(self, asked: Facets, neighbour: Neighbour, floor: float) -> Judged:
        return self._pair(self._kept[neighbour.entry_id].facets, asked, neighbour, floor)

    def _pair(self, kept: Facets, asked: Facets, neighbour: Neighbour, floor: float) -> Judged:
        comparison = compare(kept, asked)
        # Rounding may carry a cosine past 1.
        similarity = min(1.0, max(-1.0, neighbour.similarity))
        risk = self._risk.risk(similarity, comparison)
        reason, detail = self._refusal(similarity, comparison, risk, floor)
        return Judged(Candidate(neighbour.entry_id, similarity, risk), comparison, reason, detail)

    def _refusal(
        self, similarity: float, comparison: Comparison, risk: float, floor: float
    ) -> tuple[MissReason | None, str]:
        if similarity < floor:
            return MissReason.NOTHING_NEAR, f"{similarity:.3f} < {floor:.3f}"
        if comparison.veto:
            return MissReason.VETO, comparison.veto
        if self._limit is None or risk > self._limit:
            limit = "none" if self._limit is None else f"{self._limit:.3f}"
            return MissReason.RISKY, f"risk {risk:.3f} > {limit}"
        return None, ""

    def add(
        self,
        entry_id: EntryId,
        partition: bytes,
        question: str,
        vector: Vector,
        expires_at: float,
    ) -> None:
        """Let `question` be found from now on; raises CacheError."""
        if entry_id in self._kept:
            raise DuplicateEntry(entry_id)
        kept = _Kept(partition, facets(question), expires_at)
        index = self._partitions.get(partition) or FaissIndex()
        index.add(entry_id, vector)
        self._partitions[partition] = index
        self._kept[entry_id] = kept

    def remove(self, entry_id: EntryId) -> None:
        """Forget an entry; one that is not kept is no fault. Raises CacheError."""
        kept = self._kept.get(entry_id)
        if kept is None:
            return
        index = self._partitions[kept.partition]
        index.remove(entry_id)
        del self._kept[entry_id]
        if not len(index):
            del self._partitions[kept.partition]

    def statistics(self) -> Statistics:
        """Sizes as they are now."""
        return Statistics(len(self._kept), len(self._partitions), self._limit)


def _summed(judged: Sequence[Judged]) -> Found:
    """What may be served of it, the least risky first; else the nearest's refusal, for all."""
    if not judged:
        return Found((), MissReason.EMPTY)
    nearest = judged[0].candidate
    accepted = [one.candidate for one in judged if one.reason is None]
    if accepted:
        accepted.sort(key=lambda one: (one.risk, one.entry_id))
        return Found(tuple(accepted), None, nearest=nearest)
    return Found((), judged[0].reason, judged[0].detail, nearest=nearest)
