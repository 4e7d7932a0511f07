"""The cloud that the index is measured on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cache.stores.reader import DiskReader
from sidecar.caching.cloud import ASKED, ENCODER, HERE, cloud_of, partition_of, stored, turned


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of questions, as `encoder embed` would write them; few dimensions, to be soon done."""
    made = np.random.default_rng(3).normal(size=(3_000, 24)).astype(np.float32)
    path = tmp_path_factory.mktemp("cloud") / "vectors.npy"
    np.save(path, made / np.linalg.norm(made, axis=1, keepdims=True))
    return path


def test_it_is_as_large_as_was_asked_and_the_same_for_a_seed(vectors: Path) -> None:
    """Unit vectors; of the questions half are real ones, and none of those is in it."""
    with cloud_of(4_000, vectors, seed=1) as (one, asked), cloud_of(4_000, vectors, 1) as (two, _):
        assert one.shape == (4_000, 24)
        assert asked.shape == (2 * ASKED, 24)
        assert np.array_equal(one, two)
        assert np.allclose(np.linalg.norm(one, axis=1), 1.0, atol=1e-5)
        assert float((asked[:ASKED] @ one[:2_500].T).max()) < 1.0 - 1e-6


def test_what_is_turned_is_as_near_as_was_drawn(vectors: Path) -> None:
    """Each to the one that it was turned from."""
    some = np.load(vectors)[:100]
    made = turned(some, 50, np.array([0.9]), np.random.default_rng(5))
    assert np.isclose(made @ some.T, 0.9, atol=1e-4).any(axis=1).all()


@pytest.mark.parametrize(
    ("each", "found"),
    [
        pytest.param(None, {HERE: 250}, id="one"),
        pytest.param(100, {partition_of(0): 100, partition_of(2): 50}, id="many"),
    ],
)
def test_all_of_it_is_on_disk(vectors: Path, each: int | None, found: dict[bytes, int]) -> None:
    """In one partition, or in one for each so many."""
    with cloud_of(250, vectors, seed=1) as (cloud, _), stored(cloud, each) as store:
        reader = DiskReader.open(store.path, ENCODER)
        for partition, count in found.items():
            rows = reader.rows(partition, 24, limit=1_000)
            assert rows is not None
            assert len(rows.ids) == count
        reader.close()
        store.close()
