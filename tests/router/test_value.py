"""Value: a set is worth at least its best tier, more where chances may still move apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.calibration import LEAST
from router.value import moves, spread_of, values

CHANCES = st.lists(st.floats(0.0, 1.0), min_size=3, max_size=3).map(np.array)
SETS = [(), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]


@given(CHANCES, st.floats(0.0, 0.4))
def test_a_set_is_worth_no_less_than_its_parts(chances: np.ndarray, size: float) -> None:
    """A single tier is worth about its chance, an empty set nothing; another tier never harms."""
    told = dict(zip(SETS, values(chances, moves(size * np.eye(3)), SETS), strict=True))
    assert told[()] == 0.0
    for place in range(3):
        assert told[place,] == pytest.approx(chances[place], abs=0.07)
        assert 0.0 <= told[place,] <= 1.0
    for small in SETS:
        for large in SETS:
            if set(small) <= set(large) and small:
                assert told[large] >= told[small] - 1e-9


@given(CHANCES, st.floats(0.0, 0.4), st.permutations(SETS))
def test_a_set_is_worth_the_mean_of_its_largest(
    chances: np.ndarray, size: float, sets: list[tuple[int, ...]]
) -> None:
    """Whatever other sets are asked about, and in whatever order."""
    moved = moves(size * np.eye(3))
    unit = np.sqrt(np.maximum(chances * (1.0 - chances), LEAST * (1.0 - LEAST)))
    drawn = np.clip(chances[:, np.newaxis] + moved * unit[:, np.newaxis], 0.0, 1.0)
    naive = [drawn[list(of)].max(axis=0).mean() if of else 0.0 for of in sets]
    assert values(chances, moved, sets) == pytest.approx(naive, abs=1e-12)


def test_two_even_chances_are_worth_what_normal_theory_says() -> None:
    """The mean of the larger of two independent normals is the mean plus sigma / sqrt(pi)."""
    worth = values(np.array([0.5, 0.5]), moves(0.4 * np.eye(2)), [(0, 1)])[0]
    assert worth == pytest.approx(0.5 + 0.2 / np.sqrt(np.pi), abs=0.015)


def test_spread_is_that_of_the_rows() -> None:
    """The factor's square is the covariance of what moved, in units of the chances' own spread."""
    chances = np.full((4000, 2), 0.5)
    moved = np.random.default_rng(0).normal(size=(4000, 2)) @ np.array([[0.3, 0.1], [0.0, 0.2]])
    factor = spread_of(chances, chances + moved)
    assert np.allclose(factor @ factor.T, np.cov(moved.T) / 0.25, atol=1e-6)
    assert np.allclose(factor, np.tril(factor))


def test_what_is_certain_hardly_moves() -> None:
    """Two tiers that are all but surely right are worth one, and no more than one."""
    worth = values(np.array([0.995, 0.995]), moves(np.eye(2)), [(0, 1)])[0]
    assert 0.97 < worth <= 1.0
