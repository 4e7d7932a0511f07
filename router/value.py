"""Chances, and how far they may still move, in; what a set of tiers is worth out.

An answer not yet seen has an option's value: once it is there it will look better or worse than
was foretold, and the better of what is held then is served. So a set is worth the mean of the
largest of its chances, where each may still move as chances moved on the rows learnt from: in units
of sqrt(p (1 - p)), for what is all but certain moves little, and never out of [0, 1]. The mean is
taken over a fixed sample of a normal distribution, the same for every set, so that sets compare.

Source: Dekoninck et al., "A unified approach to routing and cascading for LLMs" (2024), section 4;
the units and the bounds are ours. Measured: all rows cross-fitted, lead over the random mix .0284
as in the paper and .0287 so; on 2,903 rows apart .0292 and .0302.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from router.calibration import LEAST

Numbers = NDArray[np.float64]

PAIRS: Final = 128
"""Chosen: each draw with its opposite; the mean of a maximum is then known to a twentieth of its
spread, in some microseconds a set."""


def moves(spread: Numbers) -> Numbers:
    """(tiers, 2 PAIRS) float64: how the chances may move, for a Cholesky factor of the covariance.

    Made once for each state of an artifact.
    """
    drawn = np.random.default_rng(0).standard_normal((PAIRS, len(spread)))
    drawn = np.concatenate([drawn, -drawn])
    # Brought to unit covariance: what a sample has too much of would stand in every decision.
    unit = np.linalg.cholesky(drawn.T @ drawn / len(drawn))
    told: Numbers = drawn @ np.linalg.inv(unit).T @ spread.T
    return np.ascontiguousarray(told.T)


def spread_of(chances: Numbers, last: Numbers) -> Numbers:
    """(tiers, tiers) lower triangular, the covariance's factor.

    Both (n, tiers): what was thought in a state, and once everybody had answered.
    """
    moved, tiers = (last - chances) / _unit(chances), chances.shape[1]
    covariance = np.cov(moved.T).reshape(tiers, tiers)
    factor = np.linalg.cholesky(covariance + 1e-9 * np.eye(tiers))
    return np.asarray(factor, np.float64)


def values(chances: Numbers, moved: Numbers, sets: Sequence[Sequence[int]]) -> list[float]:
    """What each of `sets` is worth; `chances` is (tiers,), `moved` as `moves` gives it.

    Sets are tuples of rising places. An empty one is worth nothing.
    """
    drawn = moved * _unit(chances)[:, np.newaxis]  # (tiers, draws)
    drawn += chances[:, np.newaxis]
    np.minimum(np.maximum(drawn, 0.0, out=drawn), 1.0, out=drawn)
    largest: dict[tuple[int, ...], Numbers] = {(place,): row for place, row in enumerate(drawn)}
    largest[()] = np.zeros(drawn.shape[1])
    told = np.concatenate([_largest(drawn, tuple(of), largest) for of in sets])
    worths: list[float] = (told.reshape(len(sets), -1).sum(axis=1) / drawn.shape[1]).tolist()
    return worths


def _largest(drawn: Numbers, of: tuple[int, ...], known: dict[tuple[int, ...], Numbers]) -> Numbers:
    """(draws,) the largest of the set in each draw; a set stands on that without its last place."""
    if of not in known:
        known[of] = np.maximum(_largest(drawn, of[:-1], known), drawn[of[-1]])
    return known[of]


def _unit(chances: Numbers) -> Numbers:
    return np.sqrt(np.maximum(chances * (1.0 - chances), LEAST * (1.0 - LEAST)))
