"""Cells laid through a sample, or laid before and known again."""

from __future__ import annotations

import numpy as np
import pytest

from cache.entry import Vector
from cache.index.cells import CellIndex, Cells
from cache.index.codes import Rows, encoded
from cache.index.laying import laid_again, trained
from tests.cache.index.test_layouts import vectors


def test_a_trained_index_finds_the_nearest_where_it_is_near() -> None:
    """Of a cloud of 400 clusters, 995 of 1,000 questions that have a near neighbour, at least."""
    dice, dim, count = np.random.default_rng(11), 64, 20_000
    near = vectors(400, 12, dim)[dice.integers(0, 400, count)]
    rows = near + 0.6 * vectors(count, 13, dim)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    codes = encoded(rows)
    index = trained(codes, count, probes=64)
    index.take(Rows(np.arange(count), codes))
    asked = rows[:1_000] + 0.3 * vectors(1_000, 14, dim)
    asked /= np.linalg.norm(asked, axis=1, keepdims=True)
    best = (asked @ rows.T).argmax(axis=1)
    found = [[one.entry_id for one in index.nearest(each, 5)] for each in asked]
    assert sum(int(b) in f for b, f in zip(best, found, strict=True)) >= 995


def laid(rows: Vector) -> tuple[CellIndex, Cells]:
    """Cells that were laid through `rows`, as they are kept."""
    index = trained(encoded(rows), len(rows))
    return index, Cells(index.laid.centres.copy(), index.laid.fit)


def clustered(count: int, seed: int) -> Vector:
    """About twenty centres that `seed` draws."""
    near = vectors(20, seed, 32)[np.random.default_rng(seed).integers(0, 20, count)]
    rows = near + 0.2 * vectors(count, seed + 1, 32)
    made: Vector = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return made


def test_known_cells_find_what_new_ones_found() -> None:
    """To the last row: a row's cell follows from the centres alone."""
    rows = clustered(3_000, 1)
    index, kept = laid(rows)
    again = laid_again(kept, encoded(rows), len(rows))
    assert again is not None
    for each in (index, again):
        each.take(Rows(np.arange(len(rows)), encoded(rows)))
    for asked in rows[:50]:
        assert again.nearest(asked, 5) == index.nearest(asked, 5)
    assert again.laid_for == index.laid_for
    assert 0.9 * len(rows) < index.laid_for <= len(rows)


@pytest.mark.parametrize(
    ("count", "suits"), [(400, False), (600, True), (1_900, True), (2_200, False)]
)
def test_known_cells_suit_about_as_many_rows(count: int, *, suits: bool) -> None:
    """From half of those that they were laid for to twice as many."""
    rows = clustered(1_000, 1)
    _, kept = laid(rows)
    assert (laid_again(kept, encoded(rows), count) is not None) is suits


def test_known_cells_do_not_suit_rows_that_lie_elsewhere() -> None:
    """What is asked has changed: neighbours would be sought in the wrong cells."""
    _, kept = laid(clustered(1_000, 1))
    assert laid_again(kept, encoded(clustered(1_000, 1)), 1_000) is not None
    assert laid_again(kept, encoded(clustered(1_000, 5)), 1_000) is None
