"""What became of one partition's hits in; whether it may serve by meaning, and how much, out.

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

from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

from cache.evidence import Alarm, Estimate, shrunk, shrunk_mean, upper_bound

PROBATION_CONFIDENCE: Final = 0.80
"""Chosen: one-sided, that of the calibration (`cache.risk`): at 0.02, 80 right checks in a row."""

MAX_CHECKED: Final = 2_000
"""Chosen: beyond it both counts are halved, so that the estimate follows the traffic."""


class State(Enum):
    """What a partition may serve by meaning; also the `state` label of its gauge."""

    OPEN = "open"
    TIGHT = "tight"
    OFF = "off"


class Owner(NamedTuple):
    """Whose partition it is, for the operator, and so that no tenant pushes out another's."""

    tenant: str = ""
    namespace: str = ""


NOBODY: Final = Owner()


@dataclass(frozen=True, slots=True, kw_only=True)
class Memo:
    """All that a standing holds, to outlive the process.

    Attributes:
        state: See the table above.
        owner: Whose.
        hits: See PartitionReport, as `bad`, `right` and `wrong`.
        risks: Sum of the calibrated risks of `hits`.
        checked: The levels of the alarm on checks.
        told: Of the one on feedback.
    """

    state: State
    owner: Owner
    hits: int
    bad: int
    right: int
    wrong: int
    risks: float
    checked: tuple[float, ...]
    told: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """A partition went from one state to another."""

    before: State
    after: State


@dataclass(frozen=True, slots=True)
class PartitionReport:
    """One partition.

    Attributes:
        partition: Its key, hexadecimal.
        owner: Whose.
        state: What it may serve.
        hits: Served since it took its last turn through `off`.
        bad: Of them, by feedback.
        right: Checked and right.
        wrong: Checked and wrong.
        estimate: Share of wrong hits, drawn toward the calibrated risk.
    """

    partition: str
    owner: Owner
    state: State
    hits: int
    bad: int
    right: int
    wrong: int
    estimate: Estimate


class Standing:
    """One partition's. Made open; whoever owns it hands in what became of its hits."""

    __slots__ = (
        "_bound",
        "_checked",
        "_told",
        "bad",
        "hits",
        "owner",
        "right",
        "risks",
        "state",
        "wrong",
    )

    def __init__(self, bound: float, owner: Owner = NOBODY) -> None:
        """`bound` is the share of hits that may be wrong."""
        self._bound = bound
        self.owner = owner
        self.state = State.OPEN
        self._begin()

    @classmethod
    def resumed(cls, memo: Memo, *, bound: float, is_same_bound: bool) -> Standing:
        """The standing that `memo` was made of; under another bound its alarms begin anew."""
        standing = cls(bound, memo.owner)
        standing.state = memo.state
        standing.hits, standing.bad, standing.risks = memo.hits, memo.bad, memo.risks
        standing.right, standing.wrong = memo.right, memo.wrong
        if is_same_bound:
            standing._checked.resume(memo.checked)
            standing._told.resume(memo.told)
        return standing

    def memo(self) -> Memo:
        """All that it holds."""
        return Memo(
            state=self.state,
            owner=self.owner,
            hits=self.hits,
            bad=self.bad,
            right=self.right,
            wrong=self.wrong,
            risks=self.risks,
            checked=self._checked.levels,
            told=self._told.levels,
        )

    def _begin(self) -> None:
        self.hits = self.bad = self.right = self.wrong = 0
        self.risks = 0.0
        self._listen()

    def _listen(self) -> None:
        self._checked, self._told = Alarm(self._bound), Alarm(self._bound)

    def served(self, risk: float) -> Change | None:
        """One more hit was served, at this calibrated risk."""
        self.hits += 1
        self.risks += risk
        self._told.right()
        return self._settled()

    def told_bad(self) -> Change | None:
        """Somebody said of a hit that was served that it was wrong."""
        self.bad += 1
        # The hit itself was taken for right when it was served; that is left standing, which makes
        # the alarm a little slower and never falser.
        self._told.wrong()
        return self._settled()

    def checked(self, *, is_right: bool) -> Change | None:
        """A hit drawn at random turned out right or wrong."""
        if is_right:
            self.right += 1
            self._checked.right()
        else:
            self.wrong += 1
            self._checked.wrong()
        return self._settled()

    def _settled(self) -> Change | None:
        before, after = self.state, self._next_state()
        if before is after:
            if self.right + self.wrong > MAX_CHECKED:
                self.right, self.wrong = self.right // 2, self.wrong // 2
            return None
        self.state = after
        if after is State.OFF:
            self._begin()
        elif before is State.OFF:
            self._listen()
        return Change(before, after)

    def _next_state(self) -> State:
        if self.state is State.OFF:
            total = self.right + self.wrong
            if upper_bound(self.wrong, total, PROBATION_CONFIDENCE) > self._bound:
                return State.OFF
        elif self._checked.is_ringing or self._told.is_ringing:
            return State.OFF
        by_feedback = shrunk_mean(self._prior_mean, self.bad, self.hits)
        return State.TIGHT if max(self.mean, by_feedback) > self._bound else State.OPEN

    @property
    def _prior_mean(self) -> float:
        """The calibrated risk of its hits; never above the bound, which calibration promised."""
        return min(self._bound, self.risks / self.hits) if self.hits else self._bound / 2

    @property
    def mean(self) -> float:
        """The estimate's value, for less than its interval costs."""
        return shrunk_mean(self._prior_mean, self.wrong, self.right + self.wrong)

    @property
    def estimate(self) -> Estimate:
        """Share of wrong hits by its checks, drawn toward the calibrated risk."""
        return shrunk(self._prior_mean, self.wrong, self.right + self.wrong)

    def report(self, partition: bytes) -> PartitionReport:
        """What is known of it, under its key."""
        return PartitionReport(
            partition=partition.hex(),
            owner=self.owner,
            state=self.state,
            hits=self.hits,
            bad=self.bad,
            right=self.right,
            wrong=self.wrong,
            estimate=self.estimate,
        )
