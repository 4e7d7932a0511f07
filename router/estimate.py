"""A question and the answers held so far in, estimates out: chances, gains and costs, no choice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from router.artifact import Artifact, Numbers, StateHeads
from router.calibration import calibrated, logit
from router.classifier import Floats
from router.confidence import read_all
from router.decision import AnswerView, Task
from router.errors import ArtifactError
from router.features import answers_row, question_row
from router.signals import question_signals
from router.tiers import Ladder

MAX_LOG_TOKENS: Final = 9.0
"""Chosen: e^9, about 8,000 tokens, the longest answer that the token head may foretell."""


Plan = tuple[int, ...]
"""Places that may be asked next, rising. Only the first is asked; then all is weighed anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What is thought of one question, given the answers held.

    Attributes:
        right: For each place, the calibrated chance that its answer suffices: before it is asked
            as foretold from the question, once it is held as judged from the answer.
        gain: By plan, how much the served answer's chance would rise if all of it were asked;
            before any answer, that chance itself.
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
        price = [tier.price for tier in ladder.tiers]
        self._in_usd = np.array([float(p.in_usd_per_mtok) for p in price]) / 1e6
        self._out_usd = np.array([float(p.out_usd_per_mtok) for p in price]) / 1e6
        self._most_gain = {
            place: self._by_plan((known,), artifact.states[known,].most_gain)
            for known, place in self._place.items()
        }

    def usual_gain(self) -> dict[Plan, float] | None:
        """The training rows' mean gain of each plan before any answer; None if not told."""
        known = self._artifact.known
        return None if known is None else self._by_plan((), known.gain)

    def estimate(self, task: Task, answers: Mapping[int, AnswerView]) -> Estimate | None:
        """See Estimator; None without a vector of the artifact's width."""
        if task.vector is None or task.vector.shape != (self._artifact.dim,):
            return None
        tiers = len(self._artifact.tiers)
        row = question_row(task.vector, question_signals(task.text))
        linear = self._artifact.linear.scores(row)
        shift = self._artifact.shift.scores(row)
        shared = np.concatenate([linear[:tiers], row[self._artifact.dim :]])
        right, gains = self._look((), shared, shift, {})
        held = tuple(self._known[place] for place in sorted(answers))
        if held:
            told = answers_row(read_all(task.text, answers))
            right, gains = self._look(held, np.concatenate([shared, told]), shift, right)
        tokens = np.expm1(np.minimum(linear[tiers:][list(self._known)], MAX_LOG_TOKENS))
        costs = task.tokens_in * self._in_usd + np.maximum(tokens, 1.0) * self._out_usd
        return Estimate(
            right=tuple(right[known] for known in self._known),
            gain=self._by_plan(held, gains),
            cost_usd=tuple(costs.tolist()),
            most_gain={} if held else self._most_gain,
        )

    def _look(
        self, held: Plan, row: Floats, shift: Floats, prior: Mapping[int, float]
    ) -> tuple[dict[int, float], Numbers]:
        """Chances by artifact place (`prior`'s for what is not held), and gains by plan."""
        state = self._artifact.states[held]
        raw = state.scores(row)
        places = held or tuple(range(len(self._artifact.tiers)))
        known, plain = raw[: len(places)], raw[len(held) :]
        moved = shift[list(places)].astype(np.float64)
        after = calibrated(known, state.slope, state.offset, moved)
        right = {**prior, **dict(zip(places, after.tolist(), strict=True))}
        if not shift.any():
            return right, plain
        before = calibrated(known, state.slope, state.offset)
        return right, plain + self._moved_gains(state, right, before, shift)

    def _moved_gains(
        self, state: StateHeads, right: Mapping[int, float], before: Numbers, shift: Floats
    ) -> Numbers:
        """How far the shift moves each plan's gain: by its effect on the best of the set.

        The gain heads know nothing of the shift. With it the best answer of held and plan together
        has another chance, and so has the best of the held; the difference is added.
        """
        places = state.held or tuple(range(len(self._artifact.tiers)))
        old = dict(zip(places, before.tolist(), strict=True))
        for place in set(right) - set(old):
            odds = logit(np.array(right[place])) - shift[place]
            old[place] = float(1.0 / (1.0 + np.exp(-odds)))

        def rise(of: Plan) -> float:
            return max((right[p] for p in of), default=0.0) - max((old[p] for p in of), default=0.0)

        stay = rise(state.held)
        return np.array([rise(state.held + plan) - stay for plan in state.plans])

    def _by_plan(self, held: Plan, gains: Numbers) -> dict[Plan, float]:
        """`gains` by plan in the ladder's own places; plans with a tier that it lacks left out."""
        return {
            tuple(self._place[known] for known in plan): gain
            for plan, gain in zip(self._artifact.states[held].plans, gains.tolist(), strict=True)
            if all(known in self._place for known in plan)
        }
