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
from cache.index.cells import CellIndex, Cells
from cache.index.codes import Rows, encoded
from cache.index.laying import trained
from cache.index.nearest import ExactIndex, VectorIndex
from cache.index.rows import RowIndex

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
