"""A question's vector and meaning in, what another cache's rule would have done out.

Each rule keeps what it missed, in a memory of its own, and is told in the order of the stream.
Before each stands an exact tier where it is asked for: the text that was asked before is served.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from statistics import NormalDist
from typing import Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]
"""(dim,), unit length."""

SEEDS: Final = ((0.0, False), (1.0, True))
"""Before anything is known of an entry: nothing at similarity 0 is the same, all at 1 is."""

MIN_OBSERVATIONS: Final = 6
"""Until so many stand, the seeds counted, an entry is not served. Source: as `VCache`."""

STEEPEST: Final = 200.0
"""Chosen: where labels part cleanly the likelihood has no maximum; a step in all but name."""

_ITERATIONS: Final = 50
_EPSILONS: Final = np.logspace(-6, 0, 200, endpoint=False)
"""Chosen: spaced by ratio: spaced evenly, the least of them caps what is ever served."""
_LATE: Final[NDArray[np.float64]] = np.array(
    [NormalDist().inv_cdf(1.0 - float(one)) for one in _EPSILONS]
)


@dataclass(frozen=True, slots=True)
class Asked:
    """One question of the stream.

    Attributes:
        text: As it is asked.
        meaning: What it asks.
        vector: Of the text.
    """

    text: str
    meaning: str
    vector: Vector


@dataclass(frozen=True, slots=True)
class Done:
    """What was done with it.

    Attributes:
        kind: Served by its text, by its meaning, or not.
        is_right: What was served answers the question; true of a miss.
        similarity: To the entry that was served; 1 by text, 0 of a miss.
    """

    kind: Literal["exact", "semantic", "miss"]
    is_right: bool = True
    similarity: float = 0.0


class Rule(Protocol):
    """The second tier of some cache."""

    def ask(self, asked: Asked) -> Done:
        """Serve, or miss and learn."""
        ...


class Memory:
    """Vectors with what they mean, searched from end to end."""

    def __init__(self, dim: int) -> None:
        self._rows = np.zeros((64, dim), dtype=np.float32)
        self._meanings: list[str] = []

    def add(self, asked: Asked) -> None:
        """Keep one more."""
        if len(self._meanings) == len(self._rows):
            self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
        self._rows[len(self._meanings)] = asked.vector
        self._meanings.append(asked.meaning)

    def nearest(self, vector: Vector) -> tuple[int, float] | None:
        """The place of the nearest and its cosine; None if nothing is kept."""
        if not self._meanings:
            return None
        similarities = self._rows[: len(self._meanings)] @ vector  # (n, dim) @ (dim,)
        place = int(np.argmax(similarities))
        return place, float(similarities[place])

    def meaning(self, place: int) -> str:
        """What the one at `place` means."""
        return self._meanings[place]


class Threshold:
    """Serves the nearest from a fixed similarity on."""

    def __init__(self, similarity_threshold: float, dim: int) -> None:
        self._similarity_threshold = similarity_threshold
        self._memory = Memory(dim)

    def ask(self, asked: Asked) -> Done:
        """See Rule."""
        found = self._memory.nearest(asked.vector)
        if found is not None and found[1] >= self._similarity_threshold:
            place, similarity = found
            is_right = self._memory.meaning(place) == asked.meaning
            return Done("semantic", is_right, similarity)
        self._memory.add(asked)
        return Done("miss")


class VCache:
    """Learns for each entry from which similarity on it may be served.

    The chance that the nearest entry's answer is right is a logistic function of the similarity,
    fitted to what that entry was seen to do. From a bound on its midpoint follows how often asking
    anew must be chosen so that at most `error_bound` of all *requests* are answered wrongly. What
    is asked anew is compared, and the entry learns; if it differs, it is kept as an entry.

    Source: Schroeder et al., "vCache: Verified Semantic Prompt Caching", arXiv 2502.03771: the
    formulas, and none of its code. One thing is ours: where the labels part cleanly there is no
    maximum of the likelihood, and the variance of the midpoint is that of the middle of the gap
    that uniform draws leave around it, 1 / (2 n (n + 1)); the authors simulated theirs, which are
    some three times as large, so that theirs explores more.
    """

    def __init__(self, error_bound: float, dim: int, rng: Random) -> None:
        self._error_bound = error_bound
        self._memory = Memory(dim)
        self._seen: list[list[tuple[float, bool]]] = []
        self._rng = rng

    def ask(self, asked: Asked) -> Done:
        """See Rule."""
        found = self._memory.nearest(asked.vector)
        if found is None:
            self._keep(asked)
            return Done("miss")
        place, similarity = found
        is_right = self._memory.meaning(place) == asked.meaning
        if self._rng.random() > exploration(self._seen[place], similarity, self._error_bound):
            return Done("semantic", is_right, similarity)
        self._seen[place].append((similarity, is_right))
        if not is_right:
            self._keep(asked)
        return Done("miss")

    def _keep(self, asked: Asked) -> None:
        self._memory.add(asked)
        self._seen.append(list(SEEDS))


def exploration(seen: Sequence[tuple[float, bool]], similarity: float, error_bound: float) -> float:
    """The chance with which to ask anew, in [0, 1]; `seen` are similarities and what was right."""
    if len(seen) < MIN_OBSERVATIONS:
        return 1.0
    midpoint, steepness, variance = fitted(seen)
    late = np.clip(midpoint + _LATE * math.sqrt(variance), 0.0, 1.0)  # (epsilons,)
    exponent = np.clip(steepness * (similarity - late), -700.0, 700.0)
    at_least = (1.0 - _EPSILONS) / (1.0 + np.exp(-exponent))
    return max(0.0, float(np.min(1.0 - error_bound / np.maximum(1.0 - at_least, 1e-12))))


def fitted(seen: Sequence[tuple[float, bool]]) -> tuple[float, float, float]:
    """Midpoint, steepness, and the midpoint's variance, by maximum likelihood."""
    wrong = max(similarity for similarity, is_right in seen if not is_right)
    right = min(similarity for similarity, is_right in seen if is_right)
    if wrong <= right:
        return (wrong + right) / 2, STEEPEST, 1.0 / (2 * len(seen) * (len(seen) + 1))
    similarities = np.array([one for one, _ in seen])
    labels = np.array([float(is_right) for _, is_right in seen])
    design = np.stack([np.ones_like(similarities), similarities], axis=1)  # (n, 2)
    beta, covariance = _logistic(design, labels)
    steepness = max(float(beta[1]), 1e-6)
    midpoint = min(1.0, max(0.0, -float(beta[0]) / steepness))
    slope = np.array([-1.0 / steepness, float(beta[0]) / steepness**2])  # of the midpoint in beta
    return midpoint, steepness, max(0.0, float(slope @ covariance @ slope))


def _logistic(
    design: NDArray[np.float64], labels: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The maximum and the inverse information there, by Newton's steps, halved where they fail."""
    beta: NDArray[np.float64] = np.zeros(design.shape[1])
    best = _likelihood(design, labels, beta)
    information: NDArray[np.float64] = np.eye(len(beta))
    for _ in range(_ITERATIONS):
        chances = 1.0 / (1.0 + np.exp(-np.clip(design @ beta, -700, 700)))
        information = (design * (chances * (1 - chances))[:, np.newaxis]).T @ design
        information += 1e-9 * np.eye(len(beta))  # rounding alone makes it singular
        step = np.linalg.solve(information, design.T @ (labels - chances))
        while (value := _likelihood(design, labels, beta + step)) < best:
            step /= 2
            if float(np.abs(step).max()) < 1e-10:  # noqa: PLR2004 - no better point in reach
                return beta, np.asarray(np.linalg.inv(information))
        gain, best, beta = value - best, value, beta + step
        if gain < 1e-10:  # noqa: PLR2004 - as above
            break
    return beta, np.asarray(np.linalg.inv(information))


def _likelihood(
    design: NDArray[np.float64], labels: NDArray[np.float64], beta: NDArray[np.float64]
) -> float:
    raised = design @ beta
    return float(np.sum(labels * raised - np.logaddexp(0.0, raised)))


class BehindExact:
    """Any rule, behind a tier that serves the texts that were answered before."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._texts: set[str] = set()

    def ask(self, asked: Asked) -> Done:
        """See Rule. A text that was served by meaning is not kept, and is judged anew."""
        if asked.text in self._texts:
            return Done("exact", similarity=1.0)
        done = self._rule.ask(asked)
        if done.kind == "miss":
            self._texts.add(asked.text)
        return done


def rivals(dim: int, error_bound: float, seed: int) -> dict[str, Rule]:
    """The rules that the sidecar is held against, by name."""
    fixed = {
        "cosine 0.60 (GPTCache's default)": 0.60,
        "cosine 0.80": 0.80,
        "cosine 0.90": 0.90,
        "cosine 0.95": 0.95,
    }
    named: dict[str, Rule] = {
        name: BehindExact(Threshold(threshold, dim)) for name, threshold in fixed.items()
    }
    vcache = VCache(error_bound, dim, Random(seed))
    named[f"vCache's rule, {error_bound:g}"] = vcache
    behind = VCache(error_bound, dim, Random(seed))
    named[f"vCache's rule, {error_bound:g}, behind an exact tier"] = BehindExact(behind)
    return named
