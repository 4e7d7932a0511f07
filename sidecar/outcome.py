"""What became of one climb up the ladder: the values that dispatch hands to accounting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, Literal

from router.decision import Decision, Judgement
from sidecar.guardrails.rules import Violation
from sidecar.providers.errors import UpstreamShut
from sidecar.values import value

CANCELLED: Final = "cancelled"
"""The outcome of a call that another one's answer made needless."""

Degraded = Literal["", "upstream", "tier", "stale", "static"]
"""Who stood in for whom was to answer, best first; empty if nobody had to."""


@dataclass(slots=True, eq=False, kw_only=True)
class Attempt:
    """One call to one upstream. Owned by the climb that made it, which says what it thinks of it.

    Attributes:
        place: The tier's place on the ladder.
        upstream: The config's name for whom was asked.
        outcome: `answered`, `cancelled`, or the class of the fault.
        latency_ms: From asking to the last byte.
        body: The `chat.completion` object; None if it did not answer.
        tokens_in: Prompt tokens billed.
        tokens_out: Completion tokens billed.
        cost_usd: What it cost.
        confidence: The judgement's estimate once this answer was held.
        violation: The operator's rule that this answer breaks.
        headers: The vendor's headers that pass through with it.
    """

    place: int
    upstream: str
    outcome: str
    latency_ms: float
    body: Mapping[str, Any] | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: Decimal = Decimal(0)
    confidence: float | None = None
    violation: Violation | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def was_made(self) -> bool:
        """The upstream heard of it; else its breaker or its budget forbade the call."""
        return self.outcome != UpstreamShut.__name__


def degraded_by(attempts: Sequence[Attempt], place: int, upstream: str, entry: int) -> Degraded:
    """What it means that `upstream` answers at `place`, after these attempts.

    Args:
        attempts: Those before it, and it or not.
        place: The tier that answers.
        upstream: Who answers.
        entry: Where the climb was to begin.
    """
    if place != entry and not any(a.place == entry and a.body is not None for a in attempts):
        return "tier"
    has_failed = any(
        a.place == place and a.upstream != upstream and a.body is None and a.outcome != CANCELLED
        for a in attempts
    )
    return "upstream" if has_failed else ""


@value(frozen=True, slots=True, kw_only=True)
class Outcome:
    """An answer, and all that it took.

    Attributes:
        served: The attempt whose answer is served.
        attempts: Every call made, in order, `served` among them.
        decision: Where the climb began, and why.
        judgement: What was thought of the answers held; None for a stream relayed as it came.
    """

    served: Attempt
    attempts: tuple[Attempt, ...]
    decision: Decision
    judgement: Judgement | None

    @property
    def cost_usd(self) -> Decimal:
        """All attempts together."""
        first, *others = self.attempts
        return sum((each.cost_usd for each in others), first.cost_usd) if others else first.cost_usd

    @property
    def escalations(self) -> int:
        """How many times an answer was held and a higher tier was asked for a better one."""
        if len(self.attempts) == 1:
            return 0
        answered = {attempt.place for attempt in self.attempts if attempt.body is not None}
        return max(0, len(answered) - 1)

    @property
    def degraded(self) -> Degraded:
        """Another upstream, or another tier, answered than was to."""
        served = self.served
        if len(self.attempts) == 1 and served.place == self.decision.entry:
            return ""
        return degraded_by(self.attempts, served.place, served.upstream, self.decision.entry)
