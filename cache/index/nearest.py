"""What the cache asks of an index, and the oracle that those that serve are tested against."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from cache.entry import EntryId, Vector
from cache.errors import DuplicateEntry
from cache.index.codes import Ids


class Neighbour(NamedTuple):
    """One kept vector, and its cosine similarity to the one asked about, in [-1, 1]."""

    entry_id: EntryId
    similarity: float


def neighbours(ids: Ids, similarities: NDArray[np.float32]) -> list[Neighbour]:
    """What a search brought, the most similar first, and of equals the oldest."""
    found = [Neighbour(int(each), float(s)) for each, s in zip(ids, similarities, strict=True)]
    return sorted(found, key=lambda one: (-one.similarity, one.entry_id))


class VectorIndex(Protocol):
    """What the cache asks of an index. Not thread-safe: one thread owns it."""

    def __len__(self) -> int:
        """How many vectors are kept."""
        ...

    def __contains__(self, entry_id: EntryId) -> bool:
        """A vector is kept under `entry_id`."""
        ...

    def add(self, entry_id: EntryId, vector: Vector) -> None:
        """Keep `vector` under `entry_id`; raises DuplicateEntry if the id is taken."""
        ...

    def remove(self, entry_id: EntryId) -> None:
        """Forget `entry_id`; an id that is not kept is no fault."""
        ...

    def nearest(self, vector: Vector, k: int) -> list[Neighbour]:
        """The `k` most similar, the most similar first; fewer when fewer are kept."""
        ...


class ExactIndex:
    """Compares with every kept vector: the oracle that the others are tested against."""

    def __init__(self) -> None:
        self._vectors: dict[EntryId, Vector] = {}

    def __len__(self) -> int:
        return len(self._vectors)

    def __contains__(self, entry_id: EntryId) -> bool:
        return entry_id in self._vectors

    def add(self, entry_id: EntryId, vector: Vector) -> None:
        """See VectorIndex."""
        if entry_id in self._vectors:
            raise DuplicateEntry(entry_id)
        self._vectors[entry_id] = vector

    def remove(self, entry_id: EntryId) -> None:
        """See VectorIndex."""
        self._vectors.pop(entry_id, None)

    def nearest(self, vector: Vector, k: int) -> list[Neighbour]:
        """See VectorIndex."""
        if not self._vectors:
            return []
        ids = list(self._vectors)
        similarities = np.stack([self._vectors[i] for i in ids]) @ vector  # (n, dim) @ (dim,)
        # A stable sort breaks ties by age, so that two runs over one log agree.
        best = np.argsort(-similarities, kind="stable")[:k]
        return [Neighbour(ids[row], float(similarities[row])) for row in best]
