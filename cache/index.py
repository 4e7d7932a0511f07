"""Unit vectors in, the ids of the nearest entries out.

One index a partition. Most partitions hold an entry or two (a conversation's earlier turns are part
of what partitions it), a few hold nearly everything. Plain numpy rows were tried for the small ones
and dropped: a flat FAISS index of one row takes 7 microseconds to make and 300 bytes beside its
row, and answers sooner at every size (1 row 3 against 5 microseconds, 64 rows 4 against 26, 20,000
rows 670 against 1,070; one thread, 384 dimensions, AMD EPYC).
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

import faiss
import numpy as np

from cache.entry import EntryId, Vector
from cache.errors import CacheError, DuplicateEntry

# One query at a time: a second thread would wait for the first longer than it works.
faiss.omp_set_num_threads(1)

FAISS_FAULTS: Final = (RuntimeError, ValueError, TypeError, AssertionError, MemoryError)
"""What FAISS raises: its own C++ exceptions come as RuntimeError, the rest are its wrapper's."""


class Neighbour(NamedTuple):
    """One kept vector, and its cosine similarity to the one asked about, in [-1, 1]."""

    entry_id: EntryId
    similarity: float


class VectorIndex(Protocol):
    """What the cache asks of an index. Not thread-safe: one thread owns it."""

    def __len__(self) -> int:
        """How many vectors are kept."""
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
    """Compares with every kept vector: the oracle that FaissIndex is tested against."""

    def __init__(self) -> None:
        self._vectors: dict[EntryId, Vector] = {}

    def __len__(self) -> int:
        return len(self._vectors)

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


class FaissIndex:
    """Compares with every kept vector too, at FAISS's speed.

    Flat and not a graph or cells: it misses nothing, and removes for real. The last row takes the
    place of a removed one, so that removal moves one vector and not all that follow (at 100,000
    rows 0.13 ms against 8).
    """

    __slots__ = ("_flat", "_ids", "_places")

    def __init__(self) -> None:
        self._flat: faiss.IndexFlatIP | None = None  # made when the dimension is known
        self._ids: list[EntryId] = []  # by row
        self._places: dict[EntryId, int] = {}  # the same the other way round

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, entry_id: EntryId, vector: Vector) -> None:
        """See VectorIndex; raises CacheError if FAISS refuses."""
        if entry_id in self._places:
            raise DuplicateEntry(entry_id)
        try:
            if self._flat is None:
                self._flat = faiss.IndexFlatIP(len(vector))
            self._flat.add(vector[np.newaxis])  # (1, dim)
        except FAISS_FAULTS as fault:
            raise CacheError(f"the index did not take entry {entry_id}: {fault}") from fault
        self._places[entry_id] = len(self._ids)
        self._ids.append(entry_id)

    def remove(self, entry_id: EntryId) -> None:
        """See VectorIndex; raises CacheError if FAISS refuses."""
        place = self._places.get(entry_id)
        if place is None or self._flat is None:
            return
        last = len(self._ids) - 1
        try:
            flat = faiss.rev_swig_ptr(self._flat.get_xb(), self._flat.ntotal * self._flat.d)
            rows = flat.reshape(self._flat.ntotal, self._flat.d)  # a view: writing moves the row
            rows[place] = rows[last]
            self._flat.remove_ids(faiss.IDSelectorRange(last, last + 1))
        except FAISS_FAULTS as fault:
            raise CacheError(f"the index did not let go of entry {entry_id}: {fault}") from fault
        moved = self._ids[place] = self._ids[last]
        self._places[moved] = place
        self._ids.pop()
        del self._places[entry_id]

    def nearest(self, vector: Vector, k: int) -> list[Neighbour]:
        """See VectorIndex; raises CacheError if FAISS refuses."""
        if self._flat is None or not self._ids:
            return []
        try:
            similarities, rows = self._flat.search(vector[np.newaxis], min(k, len(self._ids)))
        except FAISS_FAULTS as fault:
            raise CacheError(f"the index could not be searched: {fault}") from fault
        found = [
            Neighbour(self._ids[row], float(similarity))
            for row, similarity in zip(rows[0], similarities[0], strict=True)
        ]
        return sorted(found, key=lambda one: (-one.similarity, one.entry_id))
