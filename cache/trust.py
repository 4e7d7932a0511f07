"""What became of hits in; which partitions, entries and pairs may be served by meaning out.

What may not: anything in a partition that is off, what is too risky for one that is tight (see
`cache.standing`), and pairs that were rejected before. What may, its risk notwithstanding: a near
miss whose very pair was checked and right, or whose entry stood so many checks that its own risk,
drawn down by them, lies under the limit.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from typing import Final

from cache.entry import Candidate, EntryId, MissReason
from cache.evidence import Estimate, observed
from cache.rejections import Question, Rejections
from cache.standing import Change, PartitionReport, Standing, State

MAX_PARTITIONS: Final = 10_000
"""Chosen: those with a semantic hit of late; some 1.5 kB each."""

MAX_ENTRIES: Final = 20_000
"""Chosen: entries and pairs with a check of their own; some 100 bytes each."""

TIGHT_RATIO: Final = 0.5
"""Chosen: of the risk limit. The shipped table has no point that shows half the bound, so that the
step is by rule and not by proof; that it suffices or not is what the alarm goes on to watch."""

NEAR_RATIO: Final = 2.0
"""Chosen: up to twice the risk limit is a near miss, worth a check; beyond it most are wrong."""

ENTRY_PRIOR_HITS: Final = 10.0
"""Chosen: an entry's own risk halves after ten right checks; a tenth of a partition's prior, since
what makes one entry a trap for its neighbours is seen in few of them."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a hit that the risk allows is not served after all."""

    reason: MissReason
    detail: str


@dataclass(frozen=True, slots=True)
class TrustReport:
    """All that was learnt, for whoever looks.

    Attributes:
        estimate: Share of wrong hits over all checked ones, as counted.
        right: Hits checked and right.
        wrong: Hits checked and wrong.
        partitions: How many are tracked, by state.
        rejections: Pairs remembered.
        watched: Those tight or off, the worst first, at most a hundred.
    """

    estimate: Estimate
    right: int
    wrong: int
    partitions: dict[State, int]
    rejections: int
    watched: tuple[PartitionReport, ...]


@dataclass(slots=True, eq=False)
class Trust:
    """The memory of what went well and what did not. One owner; nothing in here takes a lock.

    Attributes:
        bound: Share of hits that may be wrong, in (0, 1).
        risk_limit: Risk up to which an open partition serves.
        right: Checked hits that were right, in all.
        wrong: Checked hits that were wrong, in all.
        states: How many partitions are in each state.
    """

    bound: float
    risk_limit: float
    right: int = 0
    wrong: int = 0
    states: Counter[State] = field(default_factory=Counter)
    _partitions: OrderedDict[bytes, Standing] = field(default_factory=OrderedDict)
    _entries: OrderedDict[EntryId, int] = field(default_factory=OrderedDict)
    _promoted: OrderedDict[tuple[EntryId, str], None] = field(default_factory=OrderedDict)
    _rejections: Rejections = field(default_factory=Rejections)

    @property
    def estimate(self) -> Estimate:
        """Share of wrong hits over all checked ones, probation left out, as counted."""
        return observed(self.wrong, self.right + self.wrong)

    def state(self, partition: bytes) -> State:
        """Of one partition; open if nothing is known of it."""
        standing = self._partitions.get(partition)
        return standing.state if standing is not None else State.OPEN

    def refusal(
        self, partition: bytes, candidate: Candidate, asked: Question, kept: Question | None
    ) -> Refusal | None:
        """Why `candidate`, whose risk lies under the limit, is not served; None if it may be."""
        match self.state(partition):
            case State.OFF:
                return Refusal(MissReason.OFF, "too many hits of this partition were wrong")
            case State.TIGHT:
                limit = self.risk_limit * TIGHT_RATIO
                if (risk := self.entry_risk(candidate)) > limit:
                    return Refusal(MissReason.RISKY, f"risk {risk:.3f} > {limit:.3f}, tightened")
        if kept is not None and self._rejections.holds(partition, asked, kept):
            return Refusal(MissReason.VETO, "rejected before")
        return None

    def entry_risk(self, candidate: Candidate) -> float:
        """The candidate's risk, less for every check that its entry stood."""
        right = self._entries.get(candidate.entry_id, 0)
        return candidate.risk * ENTRY_PRIOR_HITS / (ENTRY_PRIOR_HITS + right)

    def is_near(self, candidate: Candidate) -> bool:
        """Its risk lies above the limit, and not by much."""
        return self.risk_limit < candidate.risk <= self.risk_limit * NEAR_RATIO

    def is_promoted(self, candidate: Candidate, question: str) -> bool:
        """A near miss that may be served: its pair was checked, or its entry often enough."""
        stood = self.entry_risk(candidate) <= self.risk_limit
        return stood or (candidate.entry_id, question) in self._promoted

    def served(self, partition: bytes, risk: float) -> Change | None:
        """One more hit by meaning was served."""
        return self._counted(self._standing(partition).served(risk))

    def bad(self, partition: bytes) -> Change | None:
        """Somebody said of a hit that was served that it was wrong."""
        return self._counted(self._standing(partition).told_bad())

    def checked(
        self, partition: bytes, entry_id: EntryId, *, is_right: bool, is_sample: bool = True
    ) -> Change | None:
        """A hit, served or withheld, drawn at random, turned out right or wrong.

        `is_sample` is False where its partition is looked at more closely than the others: it then
        counts for that partition, and not for the estimate over all.
        """
        standing = self._standing(partition)
        if is_sample and standing.state is not State.OFF:
            self.right += is_right
            self.wrong += not is_right
        if is_right:
            self.stood(entry_id)
        return self._counted(standing.checked(is_right=is_right))

    def _counted(self, change: Change | None) -> Change | None:
        if change is not None:
            self.states[change.before] -= 1
            self.states[change.after] += 1
        return change

    def stood(self, entry_id: EntryId) -> None:
        """An entry's answer served another question well."""
        self._entries[entry_id] = self._entries.pop(entry_id, 0) + 1
        if len(self._entries) > MAX_ENTRIES:
            self._entries.popitem(last=False)

    def promote(self, entry_id: EntryId, question: str) -> None:
        """Serve this pair from now on, its risk notwithstanding."""
        self._promoted[entry_id, question] = None
        if len(self._promoted) > MAX_ENTRIES:
            self._promoted.popitem(last=False)

    def reject(self, partition: bytes, asked: Question, kept: Question) -> None:
        """Never serve this pair again, nor what lies nearer to it than to itself."""
        self._rejections.add(partition, asked, kept)

    def forget(self, entry_id: EntryId) -> None:
        """An entry is gone."""
        self._entries.pop(entry_id, None)

    def _standing(self, partition: bytes) -> Standing:
        standing = self._partitions.get(partition)
        if standing is None:
            standing = self._partitions[partition] = Standing(self.bound)
            self.states[State.OPEN] += 1
            if len(self._partitions) > MAX_PARTITIONS:
                _, gone = self._partitions.popitem(last=False)
                self.states[gone.state] -= 1
        self._partitions.move_to_end(partition)
        return standing

    def report(self) -> TrustReport:
        """All that was learnt. Looks at every partition."""
        watched = [
            standing.report(partition)
            for partition, standing in self._partitions.items()
            if standing.state is not State.OPEN
        ]
        watched.sort(key=lambda one: (one.state is State.TIGHT, -one.estimate.value))
        return TrustReport(
            estimate=self.estimate,
            right=self.right,
            wrong=self.wrong,
            partitions={state: self.states[state] for state in State},
            rejections=len(self._rejections),
            watched=tuple(watched[:100]),
        )
