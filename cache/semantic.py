"""A question and its vector in, the kept entries that may answer it out, each with its risk.

Rule 1: neighbours are sought inside one partition; there is no search that crosses two.
Rule 2: near is not enough: a veto forbids, and the risk must lie under the limit.
Rule 3: what has expired, or is kept nowhere any more, is passed over and leaves the index when it
        is met.
Rule 4: a partition without entries is freed.
Rule 5: the index finds, by rounded vectors; what is judged is the entry itself, from memory or, a
        few at a time, from disk, by its own vector and words.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import nsmallest
from typing import Final, NamedTuple, Protocol

from cache.entry import Candidate, Entry, EntryId, Found, Judged, MissReason, Vector
from cache.errors import CacheError, DuplicateEntry
from cache.facets import Facets, facets
from cache.growth import Change
from cache.guard import Comparison, compare
from cache.look import MAX_VERDICTS, Opinion, SecondLook
from cache.partitions import Partitions, VectorSource
from cache.policy import SemanticConfig

NO_ENTRY: Final[EntryId] = 0
"""In place of an id, of what is kept nowhere yet; the first entry ever has 1."""

_ROUNDS: Final = 4
"""Chosen: searches for one question, each without what the last one met and let go."""

_FACETS: Final = 1_024
"""Chosen: questions whose parts are held, 2 kB each; taking one apart again takes 45 us."""


class EntrySource(VectorSource, Protocol):
    """The disk, read by the thread that owns the index."""

    def entries(self, entry_ids: Sequence[EntryId]) -> list[Entry]:
        """Those of `entry_ids` that are kept. Raises CacheError."""
        ...


@dataclass(frozen=True, slots=True)
class Statistics:
    """Sizes, for the gauges.

    Attributes:
        entries: Vectors in all open partitions.
        partitions: Open, with at least one entry.
        index_bytes: What they take.
        risk_limit: Risk up to which hits are served; None if the bound cannot be held.
    """

    entries: int
    partitions: int
    index_bytes: int
    risk_limit: float | None


class _Near(NamedTuple):
    """An entry near to the question asked."""

    entry: Entry
    similarity: float


class _Look(NamedTuple):
    """What is thought of a candidate so far."""

    candidate: Candidate
    comparison: Comparison
    opinion: Opinion

    @property
    def judged(self) -> Judged:
        risk, reason, detail, _, verdict = self.opinion
        at = self.candidate
        candidate = Candidate(at.entry_id, at.similarity, risk, at.below)  # `replace` takes 3 us
        return Judged(candidate, self.comparison, reason, detail, verdict)


class SemanticCache:
    """The semantic tier's mind. One owner thread; nothing in here takes a lock.

    Attributes:
        partitions: Where the vectors are.
    """

    def __init__(
        self,
        *,
        encoder_id: str,
        look: SecondLook,
        config: SemanticConfig,
        source: EntrySource | None = None,
        on_wanted: Callable[[bytes], None] = lambda _: None,
    ) -> None:
        """`on_wanted` hears of partitions to be laid anew; without a `source` memory is all."""
        self.encoder_id = encoder_id
        self._look = look
        self._config = config
        self._source = source
        self._resident: dict[EntryId, Entry] = {}  # what memory holds: the same objects
        self._unwritten: dict[EntryId, Entry] = {}  # of it, what may not be on disk yet
        self._facets: OrderedDict[EntryId, Facets] = OrderedDict()
        self.partitions = Partitions(
            source=source,
            max_bytes=config.max_index_bytes,
            on_wanted=on_wanted,
            unwritten=self._changes,
        )

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
        near = self._nearest(partition, vector, now_at)
        if near is None:
            return Found((), MissReason.COLD, "its entries are being read from disk")
        judged = self._judged_all(near, question, min_similarity)
        return replace(_summed(judged), judged=judged, limit=self._look.limit)

    def why_off(self) -> str:
        """Why nothing is served by meaning, in words; empty if something may be."""
        if self._config.mode == "off":
            return "switched off"
        if self._look.limit is None:
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
        near = self._nearest(partition, vector, now_at)
        return self._judged_all(near or (), question, min_similarity)

    def _nearest(self, partition: bytes, vector: Vector, now_at: float) -> list[_Near] | None:
        """The nearest entries first; None while the partition is being read."""
        near: list[_Near] = []
        for _ in range(_ROUNDS):
            index = self.partitions.find(partition, len(vector))
            if index is None:
                return []
            if not index.is_open:
                return None
            found = [one.entry_id for one in index.nearest(vector, self._config.candidates)]
            near, gone = self._fetched(found, vector, now_at)
            for entry_id in gone:
                self.remove(entry_id, partition)
            if not gone:
                break
        return sorted(near, key=lambda one: (-one.similarity, one.entry.entry_id))

    def _fetched(
        self, entry_ids: Sequence[EntryId], vector: Vector, now_at: float
    ) -> tuple[list[_Near], list[EntryId]]:
        """The entries as they are kept, and the ids that are to leave the index."""
        missing = [entry_id for entry_id in entry_ids if entry_id not in self._resident]
        below: dict[EntryId, Entry] = {}
        is_read = not missing
        if missing and self._source is not None:
            try:
                below = {entry.entry_id: entry for entry in self._source.entries(missing)}
                is_read = True
            except CacheError:
                pass  # what memory holds may serve all the same
        near, gone = [], []
        for entry_id in entry_ids:
            entry = self._resident.get(entry_id) or below.get(entry_id)
            if entry is None or entry.vector is None:
                if is_read or self._source is None:
                    gone.append(entry_id)
            elif entry.expires_at <= now_at:
                gone.append(entry_id)
            else:
                near.append(_Near(entry, float(entry.vector @ vector)))
        return near, gone

    def _judged_all(
        self, near: Sequence[_Near], question: str, min_similarity: float | None
    ) -> tuple[Judged, ...]:
        floor = self._floor(min_similarity)
        asked = facets(question) if near else None
        looks = [self._glanced(asked, one, floor) for one in near if asked]
        doubtful = [at for at, look in enumerate(looks) if look.opinion.is_doubtful]
        for at in nsmallest(MAX_VERDICTS, doubtful, key=lambda at: looks[at].opinion.risk):
            entry = near[at].entry
            looks[at] = self._looked_twice(
                entry.question, question, looks[at], entry.entry_id, is_nearest=at == 0
            )
            if looks[at].opinion.reason is None:
                break  # one is enough, and the caller waits
        return tuple(look.judged for look in looks)

    def judge_pair(
        self, kept: str, asked: str, similarity: float, *, min_similarity: float | None = None
    ) -> Judged:
        """What is thought of serving `kept`'s answer for `asked`; neither need be in the index.

        The candidate's id is `NO_ENTRY`.
        """
        unkept = Candidate(NO_ENTRY, similarity, risk=1.0)
        look = self._first(facets(kept), facets(asked), unkept, self._floor(min_similarity))
        judged = self._looked_twice(kept, asked, look).judged
        off = self.why_off()
        return replace(judged, reason=MissReason.OFF, detail=off) if off else judged

    def _floor(self, min_similarity: float | None) -> float:
        floors = (min_similarity, self._config.min_similarity)
        return max((floor for floor in floors if floor is not None), default=-1.0)

    def _glanced(self, asked: Facets, near: _Near, floor: float) -> _Look:
        unjudged = Candidate(near.entry.entry_id, near.similarity, risk=1.0, below=near.entry)
        return self._first(self._facets_of(near.entry), asked, unjudged, floor)

    def _first(self, kept: Facets, asked: Facets, unjudged: Candidate, floor: float) -> _Look:
        comparison = compare(kept, asked)
        # Rounding may carry a cosine past 1.
        similarity = min(1.0, max(-1.0, unjudged.similarity))
        opinion = self._look.first(similarity, comparison)
        if similarity < floor:
            far = f"{similarity:.3f} < {floor:.3f}"
            opinion = Opinion(opinion.risk, MissReason.NOTHING_NEAR, far)
        if similarity != unjudged.similarity:
            unjudged = replace(unjudged, similarity=similarity)
        return _Look(unjudged, comparison, opinion)

    def _looked_twice(
        self,
        kept: str,
        asked: str,
        look: _Look,
        entry_id: EntryId | None = None,
        *,
        is_nearest: bool = False,
    ) -> _Look:
        similarity, comparison = look.candidate.similarity, look.comparison
        opinion = self._look.second(
            kept,
            asked,
            similarity,
            comparison,
            look.opinion,
            entry_id=entry_id,
            is_nearest=is_nearest,
        )
        return look._replace(opinion=opinion)

    def _facets_of(self, entry: Entry) -> Facets:
        kept = self._facets.pop(entry.entry_id, None) or facets(entry.question)
        self._facets[entry.entry_id] = kept
        if len(self._facets) > _FACETS:
            self._facets.popitem(last=False)
        return kept

    def add(self, entry: Entry) -> None:
        """Let `entry`, which has a meaning, be found from now on; raises CacheError."""
        assert entry.partition is not None  # noqa: S101 - as said above
        assert entry.vector is not None  # noqa: S101 - as said above
        if entry.entry_id in self._resident:
            raise DuplicateEntry(entry.entry_id)
        self.partitions.add(entry.partition, entry.entry_id, entry.vector)
        self._resident[entry.entry_id] = entry
        if self._source is not None:
            self._unwritten[entry.entry_id] = entry

    def hold(self, entry: Entry) -> None:
        """Memory holds `entry` again, which the disk kept."""
        self._resident[entry.entry_id] = entry

    def settle(self, entry_ids: Iterable[EntryId]) -> None:
        """These are on disk now."""
        for entry_id in entry_ids:
            self._unwritten.pop(entry_id, None)

    def release(self, entry_ids: Iterable[EntryId]) -> None:
        """Memory let go of these, and the disk keeps them: they are found all the same."""
        for entry_id in entry_ids:
            self._resident.pop(entry_id, None)

    def remove(self, entry_id: EntryId, partition: bytes | None = None) -> None:
        """Forget an entry; one that is not kept is no fault. Raises CacheError.

        `partition` is needed of one that memory does not hold.
        """
        entry = self._resident.pop(entry_id, None)
        self._unwritten.pop(entry_id, None)
        self._facets.pop(entry_id, None)
        where = entry.partition if entry is not None else partition
        if where is not None:
            self.partitions.remove(where, entry_id)

    def _changes(self, partition: bytes) -> Iterator[Change]:
        for entry in self._unwritten.values():
            if entry.partition == partition:
                yield Change(entry.entry_id, entry.vector)

    def statistics(self) -> Statistics:
        """Sizes as they are now."""
        held = self.partitions
        return Statistics(held.rows, len(held), held.bytes_held, self._look.limit)


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
