"""What became of hits in; which partitions, entries and pairs may be served by meaning out.

| state | when | what is served |
|---|---|---|
| open | at first, and while the estimate lies within the bound | what the risk allows |
| tight | the estimate, drawn toward the calibrated risk, lies above the bound | half the risk |
| off | the alarm rang: chance does not explain so many wrong hits | nothing by meaning |

Off is left on probation: hits that would have been served are checked, and once so many were right
that the bound is shown again, the partition is open or tight as its new estimate says.

Feedback and checks are told apart. Checked hits are drawn at random: they alone make an estimate.
Feedback comes from whom it pleases, so that only the bad counts, against all hits served, as if
silence meant content: it can show that a partition is bad, and never that it is good.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from cache.entry import Candidate, EntryId, MissReason, Vector
from cache.evidence import Alarm, Estimate, observed, shrunk, shrunk_mean, upper_bound
from cache.rejections import Rejections

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

PROBATION_CONFIDENCE: Final = 0.80
"""Chosen: one-sided, that of the calibration (`cache.risk`): at 0.02, 80 right checks in a row."""

MAX_CHECKED: Final = 2_000
"""Chosen: beyond it both counts are halved, so that the estimate follows the traffic."""


class State(Enum):
    """What a partition may serve by meaning; also the `state` label of its gauge."""

    OPEN = "open"
    TIGHT = "tight"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a hit that the risk allows is not served after all."""

    reason: MissReason
    detail: str


@dataclass(frozen=True, slots=True)
class Change:
    """A partition went from one state to another."""

    before: State
    after: State


@dataclass(frozen=True, slots=True)
class PartitionReport:
    """One partition that is not open.

    Attributes:
        partition: Its key, hexadecimal.
        state: `tight` or `off`.
        hits: Served since it took its last turn through `off`.
        bad: Of them, by feedback.
        right: Checked and right.
        wrong: Checked and wrong.
        estimate: Share of wrong hits, drawn toward the calibrated risk.
    """

    partition: str
    state: State
    hits: int
    bad: int
    right: int
    wrong: int
    estimate: Estimate


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
class _Evidence:
    """Of one partition."""

    checked: Alarm
    told: Alarm
    state: State = State.OPEN
    hits: int = 0
    risks: float = 0.0
    bad: int = 0
    right: int = 0
    wrong: int = 0

    def prior_mean(self, bound: float) -> float:
        """The calibrated risk of its hits; never above the bound, which calibration promised."""
        return min(bound, self.risks / self.hits) if self.hits else bound / 2

    def is_over(self, bound: float) -> bool:
        """Its estimate lies above the bound, by checks or by feedback."""
        mean = self.prior_mean(bound)
        by_check = shrunk_mean(mean, self.wrong, self.right + self.wrong)
        return max(by_check, shrunk_mean(mean, self.bad, self.hits)) > bound


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
    _partitions: OrderedDict[bytes, _Evidence] = field(default_factory=OrderedDict)
    _entries: OrderedDict[EntryId, int] = field(default_factory=OrderedDict)
    _promoted: OrderedDict[tuple[EntryId, str], None] = field(default_factory=OrderedDict)
    _rejections: Rejections = field(default_factory=Rejections)

    @property
    def estimate(self) -> Estimate:
        """Share of wrong hits over all checked ones, probation left out, as counted."""
        return observed(self.wrong, self.right + self.wrong)

    def state(self, partition: bytes) -> State:
        """Of one partition; open if nothing is known of it."""
        evidence = self._partitions.get(partition)
        return evidence.state if evidence is not None else State.OPEN

    def refusal(
        self, partition: bytes, candidate: Candidate, asked: Vector, kept: Vector | None
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
        evidence = self._evidence(partition)
        evidence.hits += 1
        evidence.risks += risk
        evidence.told.right()
        return self._settle(evidence)

    def bad(self, partition: bytes) -> Change | None:
        """Somebody said of a hit that was served that it was wrong."""
        evidence = self._evidence(partition)
        evidence.bad += 1
        # The hit itself was taken for right when it was served; that is left standing, which makes
        # the alarm a little slower and never falser.
        evidence.told.wrong()
        return self._settle(evidence)

    def checked(self, partition: bytes, entry_id: EntryId, *, is_right: bool) -> Change | None:
        """A hit, served or withheld, drawn at random, turned out right or wrong."""
        evidence = self._evidence(partition)
        on_probation = evidence.state is State.OFF
        if is_right:
            evidence.right += 1
            evidence.checked.right()
            self.stood(entry_id)
        else:
            evidence.wrong += 1
            evidence.checked.wrong()
        if not on_probation:
            self.right += is_right
            self.wrong += not is_right
        return self._settle(evidence)

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

    def reject(self, partition: bytes, asked: Vector, kept: Vector) -> None:
        """Never serve this pair again, nor what lies nearer to it than to itself."""
        self._rejections.add(partition, asked, kept)

    def forget(self, entry_id: EntryId) -> None:
        """An entry is gone."""
        self._entries.pop(entry_id, None)

    def _evidence(self, partition: bytes) -> _Evidence:
        evidence = self._partitions.get(partition)
        if evidence is None:
            evidence = _Evidence(checked=Alarm(self.bound), told=Alarm(self.bound))
            self._partitions[partition] = evidence
            self.states[State.OPEN] += 1
            if len(self._partitions) > MAX_PARTITIONS:
                _, gone = self._partitions.popitem(last=False)
                self.states[gone.state] -= 1
        self._partitions.move_to_end(partition)
        return evidence

    def _settle(self, evidence: _Evidence) -> Change | None:
        before, after = evidence.state, self._next_state(evidence)
        if before is after:
            if evidence.right + evidence.wrong > MAX_CHECKED:
                evidence.right, evidence.wrong = evidence.right // 2, evidence.wrong // 2
            return None
        evidence.state = after
        self.states[before] -= 1
        self.states[after] += 1
        if after is State.OFF:
            evidence.hits = evidence.bad = evidence.right = evidence.wrong = 0
            evidence.risks = 0.0
        if State.OFF in {before, after}:
            evidence.checked, evidence.told = Alarm(self.bound), Alarm(self.bound)
        return Change(before, after)

    def _next_state(self, evidence: _Evidence) -> State:
        if evidence.state is State.OFF:
            total = evidence.right + evidence.wrong
            if upper_bound(evidence.wrong, total, PROBATION_CONFIDENCE) > self.bound:
                return State.OFF
        elif evidence.checked.is_ringing or evidence.told.is_ringing:
            return State.OFF
        return State.TIGHT if evidence.is_over(self.bound) else State.OPEN

    def report(self) -> TrustReport:
        """All that was learnt. Looks at every partition."""
        watched = [
            self._told(partition, evidence)
            for partition, evidence in self._partitions.items()
            if evidence.state is not State.OPEN
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

    def _told(self, partition: bytes, evidence: _Evidence) -> PartitionReport:
        total = evidence.right + evidence.wrong
        return PartitionReport(
            partition=partition.hex(),
            state=evidence.state,
            hits=evidence.hits,
            bad=evidence.bad,
            right=evidence.right,
            wrong=evidence.wrong,
            estimate=shrunk(evidence.prior_mean(self.bound), evidence.wrong, total),
        )
