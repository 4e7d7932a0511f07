"""A question and the answers held so far in, estimates out: chances, gains and costs, no choice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from router.artifact import Artifact
from router.calibration import calibrated
from router.decision import AnswerView, Task
from router.errors import ArtifactError
from router.features import answers_row
from router.readings import Readings
from router.tiers import Ladder
from router.value import values

MAX_LOG_TOKENS: Final = 9.0
"""Chosen: e^9, about 8,000 tokens, the longest answer that the token head may foretell."""


Plan = tuple[int, ...]
"""Places that may be asked next, rising. Only the first is asked; then all is weighed anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What is thought of one question, given the answers held.

    Attributes:
        right: For each place, the calibrated chance that its answer suffices, given the question
            and all answers held, its own among them or not.
        gain: By plan, how much the served answer's chance would rise if all of it were asked and
            the best of all then served; before any answer, that chance itself.
        cost_usd: For each place, what asking it is likely to cost.
        most_gain: By place of the first tier asked, and by plan above it, what the gain would
            hardly ever exceed whatever the answer; empty once an answer is held.
    """

    right: tuple[float, ...]
    gain: Mapping[Plan, float]
    cost_usd: tuple[float, ...]
    most_gain: Mapping[int, Mapping[Plan, float]]


class Estimator(Protocol):
    """Whatever forms an Estimate."""

    def estimate(self, task: Task, answers: Mapping[int, AnswerView]) -> Estimate | None:
        """The estimate; None where there is nothing to go by."""
        ...


class ArtifactEstimator:
    """Forms estimates with an artifact's heads.

    Raises:
        ArtifactError: The ladder has a tier that the artifact does not know, or another order.
    """

    def __init__(self, ladder: Ladder, artifact: Artifact) -> None:
        unknown = [name for name in ladder.names if name not in artifact.tiers]
        if unknown:
            raise ArtifactError(f"artifact {artifact.version} knows no tier called {unknown}")
        self._known = tuple(artifact.tiers.index(name) for name in ladder.names)
        if list(self._known) != sorted(self._known):
            raise ArtifactError(f"artifact {artifact.version} orders its tiers {artifact.tiers}")
        self._place = {known: place for place, known in enumerate(self._known)}
        self._artifact = artifact
        self._plans = {
            held: self._in_places(state.plans) for held, state in artifact.states.items()
        }
        self._token_heads = np.array(self._known) + len(artifact.tiers)
        is_moved = artifact.shift.weights.any() or artifact.shift.bias.any()
        self._shift = artifact.shift if is_moved else None
        price = [tier.price for tier in ladder.tiers]
        self._in_usd = np.array([float(p.in_usd_per_mtok) for p in price]) / 1e6
        self._out_usd = np.array([float(p.out_usd_per_mtok) for p in price]) / 1e6
        self._most_gain = {
            place: self._by_plan((known,), artifact.states[known,].most_gain.tolist())
            for known, place in self._place.items()
        }

    def usual_gain(self) -> dict[Plan, float] | None:
        """The training rows' mean gain of each plan before any answer; None if not told."""
        known = self._artifact.known
        return None if known is None else self._by_plan((), known.gain.tolist())

    def estimate(self, task: Task, answers: Mapping[int, AnswerView]) -> Estimate | None:
        """See Estimator; None without a vector of the artifact's width."""
        if task.vector is None or task.vector.shape != (self._artifact.dim,):
            return None
        artifact, readings = self._artifact, task.readings or Readings()
        row = readings.question(task.text, task.vector)
        linear = artifact.linear.scores(row)
        shared = [linear[: len(artifact.tiers)], row[artifact.dim :]]
        held = tuple(self._known[place] for place in sorted(answers))
        if held:
            views = [(place, answers[place]) for place in sorted(answers)]
            told = [(place, view.text, view.tokens_out) for place, view in views]
            shared.append(answers_row(readings.of(task.text, told)))
        state = artifact.states[held]
        shift = 0.0 if self._shift is None else self._shift.scores(row).astype(np.float64)
        scores = state.scores(np.concatenate(shared))
        chances = calibrated(scores, state.slope, state.offset, shift)
        best, *after = values(chances, state.moves, [held, *(held + plan for plan in state.plans)])
        tokens = np.expm1(np.minimum(linear[self._token_heads], MAX_LOG_TOKENS))
        costs = task.tokens_in * self._in_usd + np.maximum(tokens, 1.0) * self._out_usd
        right = chances.tolist()
        return Estimate(
            right=tuple(right[known] for known in self._known),
            gain=self._by_plan(held, [value - best for value in after]),
            cost_usd=tuple(costs.tolist()),
            most_gain={} if held else self._most_gain,
        )

    def _in_places(self, plans: Iterable[Plan]) -> list[Plan | None]:
        """The same plans in the ladder's own places; None for one with a tier that it lacks."""
        return [
            tuple(self._place[known] for known in plan)
            if all(known in self._place for known in plan)
            else None
            for plan in plans
        ]

    def _by_plan(self, held: Plan, gains: Iterable[float]) -> dict[Plan, float]:
        """`gains` by plan, as `_in_places` tells them."""
        plans = zip(self._plans[held], gains, strict=True)
        return {plan: gain for plan, gain in plans if plan is not None}
