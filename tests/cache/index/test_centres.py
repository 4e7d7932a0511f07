"""Centres of cells: unit vectors through the rows, nearer to them than rows drawn are."""

from __future__ import annotations

import numpy as np
import pytest

from cache.index import centres
from tests.cache.index.test_layouts import vectors


def test_rows_lie_nearer_to_centres_than_to_rows_drawn() -> None:
    """And centres are unit vectors, the same each time."""
    near = vectors(20, 1, 16)[np.random.default_rng(2).integers(0, 20, 2_000)]
    rows = near + 0.3 * vectors(2_000, 3, 16)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    laid = centres.laid(rows, 40, seed=0)
    np.testing.assert_allclose(np.linalg.norm(laid, axis=1), 1.0, atol=1e-5)
    drawn = rows[np.random.default_rng(0).permutation(len(rows))[:40]]
    assert (rows @ laid.T).max(axis=1).mean() > (rows @ drawn.T).max(axis=1).mean() + 0.005
    assert (laid == centres.laid(rows, 40, seed=0)).all()


@pytest.mark.parametrize("count", [1, 511, 512, 513, 1_500])
def test_the_nearest_is_the_nearest(count: int) -> None:
    """However many at a time."""
    rows, laid = vectors(count, 1), vectors(30, 2)
    expected = [int(np.argmax([row @ centre for centre in laid])) for row in rows]
    assert centres.nearest(rows, laid).tolist() == expected


def test_no_cell_is_left_empty() -> None:
    """Of rows that are all the same, each centre is that row."""
    rows = np.repeat(vectors(1), 50, axis=0)
    np.testing.assert_allclose(centres.laid(rows, 4, seed=1), rows[:4], atol=1e-6)


def test_there_are_no_more_centres_than_rows() -> None:
    """Each row is a centre then."""
    rows = vectors(5)
    assert sorted(map(tuple, centres.laid(rows, 9, seed=0).round(5).tolist())) == sorted(
        map(tuple, rows.round(5).tolist())
    )
