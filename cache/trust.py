"""What became of hits in; which partitions, entries and pairs may be served by meaning out.

What may not: anything in a partition that is off, what is too risky for one that is tight (see
`cache.standing`), and pairs that were rejected before. What may, its risk notwithstanding: a near
miss whose very pair was checked and right, or whose entry stood so many checks that its own risk,
drawn down by them, lies under the limit.

All of it may outlive the process, by other hands: `changes` gives what is new since the last time,
`restore` takes what an earlier process gave.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

from cache.entry import Candidate, EntryId, MissReason
from cache.epochs import Selector
from cache.evidence import Estimate, observed
from cache.learnt import Learnt, Proof
from cache.rejections import Question, Rejections
from cache.risk import NEAR_RATIO
from cache.shelf import Shelf
from cache.standing import NOBODY, Change, Owner, PartitionReport, Standing, State
from cache.summary import TrustReport, busiest, worst

MAX_PARTITIONS: Final = 10_000
"""Chosen: those with a semantic hit of late; some 1.5 kB each."""

MAX_ENTRIES: Final = 20_000
"""Chosen: entries with a check of their own; some 300 bytes each."""

MAX_QUESTIONS: Final = 32
"""Chosen: promoted for one entry; by then its own risk is drawn down further than they need."""

TIGHT_RATIO: Final = 0.5
"""Chosen: of the risk limit. The shipped table has no point that shows half the bound, so that the
step is by rule and not by proof; that it suffices or not is what the alarm goes on to watch."""

ENTRY_PRIOR_HITS: Final = 10.0
"""Chosen: an entry's own risk halves after ten right checks; a tenth of a partition's prior, since
what makes one entry a trap for its neighbours is seen in few of them."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a hit that the risk allows is not served after all."""

    reason: MissReason
    detail: str


def _is_open(standing: Standing) -> bool:
    return standing.state is State.OPEN


def _partitions() -> Shelf[bytes, Standing]:
    return Shelf(MAX_PARTITIONS, can_spare=_is_open)


def _entries() -> Shelf[EntryId, Proof]:
    return Shelf(MAX_ENTRIES)


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
    _partitions: Shelf[bytes, Standing] = field(default_factory=_partitions)
    _entries: Shelf[EntryId, Proof] = field(default_factory=_entries)
    _rejections: Rejections = field(default_factory=Rejections)
    _changed_partitions: set[bytes] = field(default_factory=set)
    _changed_entries: set[EntryId] = field(default_factory=set)

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
        proof = self._entries.get(candidate.entry_id)
        right = proof.right if proof is not None else 0
        return candidate.risk * ENTRY_PRIOR_HITS / (ENTRY_PRIOR_HITS + right)

    def is_near(self, candidate: Candidate) -> bool:
        """Its risk lies above the limit, and not by much."""
        return self.risk_limit < candidate.risk <= self.risk_limit * NEAR_RATIO

    def is_promoted(self, candidate: Candidate, question: str) -> bool:
        """A near miss that may be served: its pair was checked, or its entry often enough."""
        if self.entry_risk(candidate) <= self.risk_limit:
            return True
        proof = self._entries.get(candidate.entry_id)
        return proof is not None and _digest(question) in proof.questions

    def served(self, partition: bytes, risk: float, owner: Owner = NOBODY) -> Change | None:
        """One more hit by meaning was served."""
        return self._counted(self._standing(partition, owner).served(risk))

    def bad(self, partition: bytes, owner: Owner = NOBODY) -> Change | None:
        """Somebody said of a hit that was served that it was wrong."""
        return self._counted(self._standing(partition, owner).told_bad())

    def checked(
        self,
        partition: bytes,
        entry_id: EntryId,
        *,
        is_right: bool,
        is_sample: bool = True,
        owner: Owner = NOBODY,
    ) -> Change | None:
        """A hit, served or withheld, drawn at random, turned out right or wrong.

        `is_sample` is False where its partition is looked at more closely than the others: it then
        counts for that partition, and not for the estimate over all.
        """
        standing = self._standing(partition, owner)
        if is_sample and standing.state is not State.OFF:
            self.right += is_right
            self.wrong += not is_right
        if is_right:
            self.stood(entry_id, owner.tenant)
        return self._counted(standing.checked(is_right=is_right))

    def _counted(self, change: Change | None) -> Change | None:
        if change is not None:
            self.states[change.before] -= 1
            self.states[change.after] += 1
        return change

    def stood(self, entry_id: EntryId, tenant: str = "") -> None:
        """An entry's answer served another question well."""
        self._proof(entry_id, tenant).right += 1

    def promote(self, entry_id: EntryId, question: str, tenant: str = "") -> None:
        """Serve this pair from now on, its risk notwithstanding."""
        questions = self._proof(entry_id, tenant).questions
        questions[_digest(question)] = None
        if len(questions) > MAX_QUESTIONS:
            questions.popitem(last=False)

    def _proof(self, entry_id: EntryId, tenant: str) -> Proof:
        proof = self._entries.get(entry_id) or Proof(tenant)
        self._changed_entries.add(entry_id)
        if (gone := self._entries.put(entry_id, proof, proof.tenant)) is not None:
            self._changed_entries.add(gone[0])
        return proof

    def reject(self, partition: bytes, asked: Question, kept: Question, tenant: str = "") -> None:
        """Never serve this pair again, nor what lies nearer to it than to itself."""
        self._rejections.add(partition, asked, kept, tenant)

    def forget(self, entry_id: EntryId) -> None:
        """An entry is gone."""
        if self._entries.pop(entry_id) is not None:
            self._changed_entries.add(entry_id)

    def forget_named(self, selector: Selector, entry_ids: Iterable[EntryId]) -> None:
        """An invalidation took these entries; one of a tenant, or of all, takes their pasts too.

        The keys of a tenant's partitions change with it, so that nobody could ask for them again;
        an invalidation by tag, model and the like says nothing against what was learnt of hits.
        """
        for entry_id in entry_ids:
            self.forget(entry_id)
        if selector.by not in {"all", "tenant"}:
            return
        tenant = selector.value if selector.by == "tenant" else None
        for entry_id in self._entries.keys_of(tenant):
            self.forget(entry_id)
        for partition in self._partitions.keys_of(tenant):
            self._let_go(partition)
        for partition in self._rejections.partitions_of(tenant):
            self._rejections.forget(partition)

    def _let_go(self, partition: bytes) -> None:
        standing = self._partitions.pop(partition)
        assert standing is not None  # noqa: S101 - it was just listed
        self.states[standing.state] -= 1
        self._changed_partitions.add(partition)

    def _standing(self, partition: bytes, owner: Owner) -> Standing:
        self._changed_partitions.add(partition)
        standing = self._partitions.get(partition)
        if standing is not None:
            self._partitions.touch(partition)
            return standing
        return self._hold(partition, Standing(self.bound, owner))

    def _hold(self, partition: bytes, standing: Standing) -> Standing:
        self.states[standing.state] += 1
        gone = self._partitions.put(partition, standing, standing.owner.tenant)
        if gone is not None:
            self.states[gone[1].state] -= 1
            self._changed_partitions.add(gone[0])
        return standing

    def changes(self) -> Learnt | None:
        """What was learnt and forgotten since this was last asked; None if nothing was."""
        partitions, self._changed_partitions = self._changed_partitions, set()
        entries, self._changed_entries = self._changed_entries, set()
        pairs, self._rejections.changed = self._rejections.changed, set()
        if not (partitions or entries or pairs):
            return None
        standings = {key: self._partitions.get(key) for key in partitions}
        return Learnt(
            bound=self.bound,
            right=self.right,
            wrong=self.wrong,
            partitions={k: s.memo() if s is not None else None for k, s in standings.items()},
            entries={key: _copied(self._entries.get(key)) for key in entries},
            pairs={key: self._rejections.find(key) for key in pairs},
        )

    def unwritten(self, learnt: Learnt) -> None:
        """What `changes` gave did not reach its place: give it again, as it will be by then."""
        self._changed_partitions |= learnt.partitions.keys()
        self._changed_entries |= learnt.entries.keys()
        self._rejections.changed |= learnt.pairs.keys()

    def restore(self, learnt: Learnt, next_id: EntryId) -> None:
        """Go on from what an earlier process learnt; what it says of `next_id` or later is wrong.

        Such an id names another entry, or will: the kept answers were lost, or their last writes.
        What does not fit in is forgotten, and given so by `changes`.
        """
        self.right, self.wrong = learnt.right, learnt.wrong
        is_same_bound = learnt.bound == self.bound
        for partition, memo in learnt.partitions.items():
            if memo is not None:
                standing = Standing.resumed(memo, bound=self.bound, is_same_bound=is_same_bound)
                self._hold(partition, standing)
        for entry_id, proof in learnt.entries.items():
            if proof is None or entry_id >= next_id:
                self._changed_entries.add(entry_id)
            elif (gone := self._entries.put(entry_id, proof, proof.tenant)) is not None:
                self._changed_entries.add(gone[0])
        self._rejections.changed.clear()
        for pair_id, pair in sorted(learnt.pairs.items(), key=lambda one: one[0][1]):
            if pair is not None:
                self._rejections.resume(pair_id, pair)
        self._rejections.changed -= {pair_id for pair_id, _ in self._rejections}

    def find_report(self, partition: bytes) -> PartitionReport | None:
        """What is known of one partition; None if nothing is."""
        standing = self._partitions.get(partition)
        return standing.report(partition) if standing is not None else None

    def report(self) -> TrustReport:
        """All that was learnt. Looks at every partition."""
        return TrustReport(
            estimate=self.estimate,
            right=self.right,
            wrong=self.wrong,
            partitions={state: self.states[state] for state in State},
            rejections=len(self._rejections),
            watched=worst(self._partitions),
            busiest=busiest(self._partitions),
        )


def _digest(question: str) -> bytes:
    """16 bytes in place of a text of any length."""
    return blake2b(question.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _copied(proof: Proof | None) -> Proof | None:
    """Another thread will read it."""
    return Proof(proof.tenant, proof.right, proof.questions.copy()) if proof is not None else None
