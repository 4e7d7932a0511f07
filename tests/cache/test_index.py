"""RowIndex and CellIndex against the oracle, and the oracle against first principles."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.entry import Vector
from cache.errors import CacheError, DuplicateEntry
from cache.index import (
    CellIndex,
    Cells,
    ExactIndex,
    RowIndex,
    Rows,
    VectorIndex,
    encoded,
    laid_again,
    trained,
)

DIM = 8
CODED = 0.02
"""A component is off by half a 255th of the range of 2 at most, a cosine by the sum of eight."""


def vectors(count: int, seed: int = 0, dim: int = DIM) -> Vector:
    rows = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    made: Vector = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return made


def cells() -> CellIndex:
    """All four cells are looked into, so that only the code's rounding is between it and truth."""
    return CellIndex(Cells(encoded(vectors(4, 7)), fit=1.0), probes=4)


MAKES = [pytest.param(lambda: RowIndex(DIM), id="rows"), pytest.param(cells, id="cells")]


@given(st.integers(1, 30), st.integers(1, 10), st.integers(0, 2**32 - 1))
def test_a_kept_vector_is_its_own_nearest(n: int, k: int, seed: int) -> None:
    """Similarities fall, none is listed twice, and the vector itself comes first."""
    index = ExactIndex()
    rows = vectors(n, seed)
    for entry_id, row in enumerate(rows):
        index.add(entry_id, row)

    found = index.nearest(rows[0], k)

    assert found[0].entry_id == 0
    assert len({neighbour.entry_id for neighbour in found}) == min(n, k)
    assert [f.similarity for f in found] == sorted((f.similarity for f in found), reverse=True)


@pytest.mark.parametrize("make", MAKES)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20)), max_size=80), st.integers(1, 6))
def test_what_is_kept_is_found_and_nothing_else(
    make: Callable[[], VectorIndex], changes: Sequence[tuple[bool, int]], k: int
) -> None:
    """After any additions and removals the oracle's neighbours, but for the code's rounding."""
    rows = vectors(21, 3)
    index, oracle = make(), ExactIndex()
    for is_removal, entry_id in changes:
        if is_removal:
            index.remove(entry_id)
            oracle.remove(entry_id)
        elif entry_id not in oracle:
            index.add(entry_id, rows[entry_id])
            oracle.add(entry_id, rows[entry_id])
    assert len(index) == len(oracle)
    assert all((each in index) == (each in oracle) for each in range(21))
    asked = vectors(1, 99)[0]
    everything = {one.entry_id: one.similarity for one in oracle.nearest(asked, 21)}
    found = index.nearest(asked, k)
    expected = [one.similarity for one in oracle.nearest(asked, k)]
    assert len({one.entry_id for one in found}) == len(expected)
    for one, similarity in zip(found, expected, strict=True):
        assert one.similarity == pytest.approx(everything[one.entry_id], abs=CODED)
        assert everything[one.entry_id] == pytest.approx(similarity, abs=2 * CODED)


@pytest.mark.parametrize("make", MAKES)
@settings(max_examples=30)
@given(st.sets(st.integers(0, 200), min_size=1), st.sets(st.integers(0, 200)))
def test_rows_go_from_one_layout_to_another(
    make: Callable[[], RowIndex | CellIndex], first: set[int], removed: set[int]
) -> None:
    """Whatever the order of the ids: copied in parts, taken, and the same codes again."""
    rows, source = vectors(201, 5), make()
    for entry_id in sorted(first, key=hash):
        source.add(entry_id, rows[entry_id])
    for entry_id in removed:
        source.remove(entry_id)
    for target in (RowIndex(DIM), cells()):
        for part in range(source.parts):
            target.take(source.copy(part, source.parts))
        assert {each for each in range(201) if each in target} == first - removed
        assert target.oldest(500) == sorted(first - removed)
        again = [target.copy(part, target.parts) for part in range(target.parts)]
        kept = {int(i): code for some in again for i, code in zip(*some, strict=True)}
        assert all((kept[each] == encoded(rows[each : each + 1])[0]).all() for each in kept)
        for entry_id in first:
            target.remove(entry_id)
        assert (len(target), target.nearest(rows[0], 3)) == (0, [])


@pytest.mark.parametrize("index", [ExactIndex(), RowIndex(DIM), cells()])
def test_an_id_is_taken_once(index: VectorIndex) -> None:
    """A second vector under it is a bug of whoever hands out ids."""
    index.add(1, vectors(1)[0])
    with pytest.raises(DuplicateEntry):
        index.add(1, vectors(1)[0])


@pytest.mark.parametrize("make", MAKES)
def test_a_fault_of_faiss_is_a_cache_error(make: Callable[[], VectorIndex]) -> None:
    """Here a vector of another length; the index stays as it was."""
    index = make()
    index.add(1, vectors(1)[0])
    with pytest.raises(CacheError):
        index.add(2, np.ones(3, np.float32))
    with pytest.raises(CacheError):
        index.nearest(np.ones(3, np.float32), 1)
    assert [one.entry_id for one in index.nearest(vectors(1)[0], 5)] == [1]


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


@pytest.mark.parametrize("kind", ["rows", "cells"])
def test_a_search_stays_on_the_thread_that_asks(kind: str) -> None:
    """OpenMP counts its threads by who asks: it begins none for any owner of an index."""
    asked = vectors(40)
    index = RowIndex(DIM) if kind == "rows" else trained(encoded(asked), len(asked))
    index.take(Rows(np.arange(len(asked)), encoded(asked)))
    most: list[int] = []

    def ask() -> None:
        index.nearest(asked[0], 3)
        most.append(faiss.omp_get_max_threads())

    owner = threading.Thread(target=ask)
    owner.start()
    owner.join()
    assert most == [1]


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
