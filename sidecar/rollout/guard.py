"""What two arms came to in, whether the candidate may go on, must go back or is to wait, out.

Four figures are compared, each by a bound that holds at every look, however often somebody looks:
quality (scores and labels), errors, escalations, and dollars a request. The candidate goes back
when it is worse by more than the margin beyond doubt, and goes on when it has decided enough
requests and is not worse by more than that on the face of it. In between, it waits for more.

Source: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and
asymptotic confidence sequences" (2021), the normal mixture boundary, of the smaller arm's count.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final, Literal

ALPHA: Final = 0.05
"""Chosen: of all trials of a candidate that is no worse, at most one in twenty goes back; it is
shared by the guards."""

TUNED_FOR: Final = 100.0
"""Chosen: requests of the smaller arm at which the boundary is narrowest; a bad candidate is to be
seen within about so many labels."""

LEAST: Final = 15
"""Chosen: of the smaller arm, before anything is said: the boundary is one for many."""

FAULTS: Final = 5
"""Chosen: decisions in which a candidate failed; one may be a strange request, five are its own."""

Act = Literal["wait", "step", "roll_back"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryConfig:
    """How a candidate is tried: `[router.canary]`.

    Attributes:
        steps: Shares of the traffic that it decides, rising; 1 is the end of the trial. Before the
            first it is in shadow: asked what it would do, and not heeded.
        requests: Decisions of the candidate before the next step.
        min_labels: Scores and labels of its answers before the next step; 0 goes on without any.
        max_quality_loss: Score that it may lose against the one that serves, in [0, 1].
        max_error_increase: Share of its requests that may fail beyond the other's.
        max_escalation_increase: Share of its requests that may escalate beyond the other's.
        max_cost_increase: Of the other's dollars a request, the share that it may cost more.

    Raises:
        ValueError: A value is out of its range.
    """

    steps: tuple[float, ...] = (0.05, 0.25, 1.0)
    requests: int = 500
    min_labels: int = 0
    # Chosen: less than an operator would trade for a cheaper router, more than noise.
    max_quality_loss: float = 0.03
    max_error_increase: float = 0.02
    max_escalation_increase: float = 0.25
    max_cost_increase: float = 0.25

    def __post_init__(self) -> None:
        rises = all(a < b for a, b in zip(self.steps, self.steps[1:], strict=False))
        if not self.steps or not rises or self.steps[0] <= 0.0 or self.steps[-1] != 1.0:
            raise ValueError("steps must rise from above 0 and end with 1")
        if self.requests < 1 or self.min_labels < 0:
            raise ValueError("requests must be positive, and min_labels not negative")
        for name in ("quality_loss", "error_increase", "escalation_increase", "cost_increase"):
            if getattr(self, f"max_{name}") < 0.0:
                raise ValueError(f"max_{name} must not be negative")

    def after(self, share: float) -> float:
        """The share that follows `share`."""
        return next((step for step in self.steps if step > share + 1e-9), 1.0)


@dataclass(slots=True)
class Mean:
    """A running mean and its spread. Owned by its Tally."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        """One more value."""
        self.count += 1
        self.total += value
        self.squares += value * value

    def replace(self, old: float, new: float) -> None:
        """`old`, which was added, was `new`."""
        self.total += new - old
        self.squares += new * new - old * old

    @property
    def value(self) -> float:
        """0 without any."""
        return self.total / self.count if self.count else 0.0

    def error_squared(self, unit: float) -> float:
        """Of the mean: the variance over the count, one value of 0 and one of `unit` added.

        So that a handful of equal values does not pass for certainty.
        """
        count = self.count + 2
        mean = (self.total + unit) / count
        return max(0.0, (self.squares + unit * unit) / count - mean * mean) / count


@dataclass(slots=True)
class Tally:
    """What one arm came to at this stage."""

    requests: int = 0
    faults: int = 0
    differs: int = 0
    quality: Mean = field(default_factory=Mean)
    errors: Mean = field(default_factory=Mean)
    escalations: Mean = field(default_factory=Mean)
    cost_usd: Mean = field(default_factory=Mean)

    def told(self) -> dict[str, float | int | None]:
        """For the operator."""
        return {
            "requests": self.requests,
            "faults": self.faults,
            "decided_otherwise": self.differs,
            "labels": self.quality.count,
            "quality": _rounded(self.quality),
            "error_ratio": _rounded(self.errors),
            "escalation_ratio": _rounded(self.escalations),
            "cost_usd": _rounded(self.cost_usd, 8),
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be done with the candidate, and why."""

    act: Act
    reason: str


def verdict(serving: Tally, candidate: Tally, config: CanaryConfig, *, is_shadow: bool) -> Verdict:
    """The word on a candidate at its present share."""
    if candidate.faults >= FAULTS:
        return Verdict("roll_back", f"it failed in {candidate.faults} decisions")
    looks = [] if is_shadow else _looks(serving, candidate, config)
    for look in looks:
        if look.worse - look.radius > look.margin:
            return Verdict("roll_back", look.told)
    few = "" if is_shadow else _too_few(serving, candidate, config.min_labels)
    doubts = [f"in doubt: {look.told}" for look in looks if look.worse > look.margin]
    if candidate.requests < config.requests:
        few = f"{candidate.requests} of {config.requests} requests"
    if few or doubts:
        return Verdict("wait", few or doubts[0])
    labels = candidate.quality.count
    what = "would have decided" if is_shadow else "decided"
    quality = f", quality {candidate.quality.value:.3f} of {labels}" if labels else ""
    return Verdict("step", f"{what} {candidate.requests} requests{quality}; no guard says no")


def _too_few(serving: Tally, candidate: Tally, min_labels: int) -> str:
    """What there is too little of to compare; empty if there is enough.

    Where no labels come, none are waited for, unless the operator asks for some.
    """
    requests, labels = candidate.requests, candidate.quality.count
    if labels < min_labels:
        return f"{labels} of {min_labels} labels"
    if min(serving.requests, requests) < LEAST:
        return f"fewer than {LEAST} requests in an arm"
    few = min(serving.quality.count, labels) < LEAST
    return f"fewer than {LEAST} labels in an arm" if few and serving.quality.count + labels else ""


@dataclass(frozen=True, slots=True)
class _Look:
    """One figure of both arms: how much worse the candidate is, and what is allowed."""

    name: str
    worse: float
    radius: float
    margin: float
    told: str


def _looks(serving: Tally, candidate: Tally, config: CanaryConfig) -> list[_Look]:
    """The figures of which both arms have enough to be compared."""
    cost = serving.cost_usd.value
    guards = (
        ("quality", candidate.quality, serving.quality, -1.0, config.max_quality_loss, 1.0),
        ("errors", candidate.errors, serving.errors, 1.0, config.max_error_increase, 1.0),
        ("escalations", candidate.escalations, serving.escalations, 1.0,
         config.max_escalation_increase, 1.0),
        ("cost in USD", candidate.cost_usd, serving.cost_usd, 1.0,
         config.max_cost_increase * cost, cost),
    )  # fmt: skip
    looks = []
    for name, ours, theirs, sense, margin, unit in guards:
        smaller = min(ours.count, theirs.count)
        if smaller < LEAST:
            continue
        worse = sense * (ours.value - theirs.value)
        radius = boundary(smaller, ALPHA / len(guards)) * math.sqrt(
            ours.error_squared(unit) + theirs.error_squared(unit)
        )
        told = (
            f"{name} {ours.value:.6g} of {ours.count}, against {theirs.value:.6g} of "
            f"{theirs.count}: worse by {worse:.3g}, give or take {radius:.3g}; {margin:.3g} allowed"
        )
        looks.append(_Look(name, worse, radius, margin, told))
    return looks


def boundary(count: int, alpha: float) -> float:
    """Standard errors that a mean of `count` values may stray, at any look, but for `alpha`."""
    rho = (-2.0 * math.log(alpha) + math.log(1.0 - 2.0 * math.log(alpha))) / TUNED_FOR
    grown = count * rho + 1.0
    return math.sqrt(2.0 * grown / (count * rho) * math.log(math.sqrt(grown) / alpha))


def _rounded(mean: Mean, digits: int = 4) -> float | None:
    return round(mean.value, digits) if mean.count else None
