"""FaissIndex against the oracle, and the oracle against first principles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.entry import Vector
from cache.errors import CacheError, DuplicateEntry
from cache.index import ExactIndex, FaissIndex

DIM = 8


def vectors(count: int, seed: int = 0) -> Vector:
    rows = np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)
    made: Vector = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return made


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


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20)), max_size=80), st.integers(1, 6))
def test_faiss_answers_as_the_oracle_does(changes: Sequence[tuple[bool, int]], k: int) -> None:
    """After any additions and removals the same ids with the same similarities."""
    rows, kept = vectors(21, 3), set[int]()
    index, oracle = FaissIndex(), ExactIndex()
    for is_removal, entry_id in changes:
        if is_removal:
            index.remove(entry_id)
            oracle.remove(entry_id)
            kept.discard(entry_id)
        elif entry_id not in kept:
            index.add(entry_id, rows[entry_id])
            oracle.add(entry_id, rows[entry_id])
            kept.add(entry_id)
    asked = vectors(1, 99)[0]
    found, expected = index.nearest(asked, k), oracle.nearest(asked, k)
    assert len(index) == len(oracle) == len(kept)
    assert [one.entry_id for one in found] == [one.entry_id for one in expected]
    assert [one.similarity for one in found] == pytest.approx(
        [one.similarity for one in expected], abs=1e-5
    )


@pytest.mark.parametrize("index", [ExactIndex(), FaissIndex()])
def test_an_id_is_taken_once(index: ExactIndex | FaissIndex) -> None:
    """A second vector under it is a bug of whoever hands out ids."""
    index.add(1, vectors(1)[0])
    with pytest.raises(DuplicateEntry):
        index.add(1, vectors(1)[0])


def test_a_fault_of_faiss_is_a_cache_error() -> None:
    """Here a vector of another length; the index stays as it was."""
    index = FaissIndex()
    index.add(1, vectors(1)[0])
    with pytest.raises(CacheError):
        index.add(2, np.ones(3, np.float32))
    with pytest.raises(CacheError):
        index.nearest(np.ones(3, np.float32), 1)
    assert [one.entry_id for one in index.nearest(vectors(1)[0], 5)] == [1]
