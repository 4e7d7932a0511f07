"""Classifier: all nodes asked at once say what walking down each tree says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from router.classifier import Forest
from router.errors import ArtifactError

HEADS, TREES, WIDTH = 2, 5, 4


def _forest(depth: int, seed: int) -> Forest:
    """Drawn, with thresholds that many rows meet exactly and some nodes that end early."""
    dice, nodes = np.random.default_rng(seed), 2**depth - 1
    shape = (HEADS, TREES, nodes)
    thresholds = dice.integers(-2, 3, shape).astype(np.float32)
    thresholds[dice.random(shape) < 0.2] = np.inf
    return Forest(
        columns=dice.integers(0, WIDTH, shape).astype(np.int16),
        thresholds=thresholds,
        leaves=dice.normal(size=(HEADS, TREES, nodes + 1)).astype(np.float32),
        base=dice.normal(size=HEADS).astype(np.float32),
        width=WIDTH,
    )


def _walked(forest: Forest, row: NDArray[np.float32]) -> NDArray[np.float32]:
    """The sum of the leaves that are come to step by step."""
    found = np.empty((HEADS, TREES), np.float32)
    nodes = forest.columns.shape[2]
    for place in np.ndindex(HEADS, TREES):
        node = 0
        while node < nodes:
            goes_right = row[forest.columns[place][node]] > forest.thresholds[place][node]
            node = 2 * node + 1 + int(goes_right)
        found[place] = forest.leaves[place][node - nodes]
    return np.asarray(found.sum(axis=1) + forest.base, np.float32)


@given(
    st.integers(1, 4),
    st.integers(0, 1_000),
    st.lists(
        st.sampled_from([-np.inf, -2.0, -0.5, 0.0, 1.0, 2.0, np.inf, np.nan]),
        min_size=WIDTH,
        max_size=WIDTH,
    ),
)
def test_a_forest_says_what_walking_down_its_trees_says(
    depth: int, seed: int, values: list[float]
) -> None:
    """Bit for bit, for each depth, where a row meets a threshold, and where it is no number."""
    forest, row = _forest(depth, seed), np.array(values, np.float32)
    assert np.array_equal(forest.scores(row), _walked(forest, row))


def test_trees_too_deep_to_be_asked_at_once_are_refused() -> None:
    """Thirty-one answers do not fit the number that says the leaf."""
    with pytest.raises(ArtifactError, match="31 nodes"):
        _forest(5, 0)
