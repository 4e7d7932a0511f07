"""A size and a seed in; vectors that lie as those of real questions do, and a store of them, out.

The cloud. Vectors of real questions, if a file of them is given (`sidecar encoder embed`), else of
clusters that are drawn; some of them are held out to be asked. It is grown by turning a vector of
it toward the difference of two others, by an angle drawn from those between real neighbours: so a
vector has its nearest where a real one has, and the cloud keeps the directions in which it is wide.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cache.entry import Entry
from cache.stores.disk import DiskStore

Vectors = NDArray[np.float32]

DIM: Final = 384
"""Of MiniLM's vectors."""

ENCODER: Final = "bench"
HERE: Final = b"p" * 20
"""The partition, where there is one."""

ASKED: Final = 500
"""Chosen: questions of each kind; 1,000 in all leave a recall of .99 uncertain by .006."""

CHUNK: Final = 20_000
"""Chosen: vectors made, and compared, at a time: 31 MB."""

BODY: Final = b'{"choices": [{"message": {"content": "' + b"x" * 350 + b'"}}]}'
"""Chosen: as long as a short answer; its bytes are not counted as the cache's."""


def entry_of(number: int, vector: Vectors, partition: bytes) -> Entry:
    """An entry with a question and a body of its own, as a caller's would be."""
    return Entry(
        entry_id=number,
        fingerprint=number.to_bytes(20, "big"),
        partition=partition,
        question=f"How is question {number} answered?",
        vector=vector,
        body=bytes(bytearray(BODY)),
        tier="small",
        model="m",
        tokens_in=20,
        tokens_out=80,
        cost_usd=Decimal("0.0001"),
        created_at=0.0,
        expires_at=1e12,
    )


def partition_of(number: int) -> bytes:
    """The key of one of many partitions."""
    return number.to_bytes(20, "big")


@contextmanager
def stored(cloud: Vectors, each: int | None = None) -> Iterator[DiskStore]:
    """A disk store of the cloud: one partition, or one for each so many."""
    with tempfile.TemporaryDirectory() as folder:
        store = DiskStore.open(Path(folder) / "cache.sqlite", ENCODER)
        for start in range(0, len(cloud), CHUNK // 10):
            part = cloud[start : start + CHUNK // 10]
            store.write(
                [
                    entry_of(number, vector, HERE if each is None else partition_of(number // each))
                    for number, vector in enumerate(part, start=start)
                ],
                [],
            )
        yield store


@contextmanager
def cloud_of(size: int, vectors: Path | None, seed: int) -> Iterator[tuple[Vectors, Vectors]]:
    """(size, DIM) in a file, lest it count as memory, and the questions to be asked of it."""
    dice = np.random.default_rng(seed)
    real = _clusters(dice) if vectors is None else np.load(vectors, allow_pickle=False)
    real = real[dice.permutation(len(real))]
    held, real = real[:ASKED], real[ASKED:]
    sample = real[:2_000]
    similar = sample @ real.T  # (2000, n)
    similar[similar > 1.0 - 1e-6] = -1.0  # itself, and the same text once more
    cosines = np.minimum(similar.max(axis=1), 0.999)
    with tempfile.NamedTemporaryFile() as file:
        cloud = np.memmap(file.name, np.float32, "w+", shape=(size, real.shape[1]))
        for start in range(0, size, CHUNK):
            count = min(CHUNK, size - start)
            own = real[start : start + count]
            more = turned(real, count - len(own), cosines, dice)
            cloud[start : start + count] = np.concatenate([own, more])
        near = turned(cloud[: min(size, CHUNK)], ASKED, cosines, dice)
        yield cloud, np.concatenate([held, near])


def turned(
    vectors: Vectors, count: int, cosines: NDArray[np.floating[Any]], dice: np.random.Generator
) -> Vectors:
    """(count, dim): some of `vectors`, each turned toward the difference of two others."""
    one, two, three = (vectors[dice.integers(len(vectors), size=count)] for _ in range(3))
    toward = two - three
    toward -= (toward * one).sum(axis=1, keepdims=True) * one
    toward /= np.linalg.norm(toward, axis=1, keepdims=True) + 1e-9
    cosine = dice.choice(cosines, size=count).astype(np.float32)[:, np.newaxis]
    moved = cosine * one + np.sqrt(1 - cosine**2) * toward
    made: Vectors = moved / np.linalg.norm(moved, axis=1, keepdims=True)
    return made.astype(np.float32)


def _clusters(dice: np.random.Generator, count: int = 50_000) -> Vectors:
    """Where no real vectors are given: 2,000 centres, the rest strewn about them."""
    centres = dice.normal(size=(2_000, DIM)).astype(np.float32) / np.sqrt(DIM)
    strewn = dice.normal(size=(count, DIM)).astype(np.float32) / np.sqrt(DIM)
    made = centres[dice.integers(2_000, size=count)] + 0.6 * strewn
    vectors: Vectors = made / np.linalg.norm(made, axis=1, keepdims=True)
    return vectors
