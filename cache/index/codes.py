"""Unit vectors in, a byte a dimension out, and back; FAISS's coder, and its faults as ours.

Full precision was tried for the rows and dropped: four times the memory, and no faster anywhere (64
rows 4 microseconds either way, 16,000 rows 862 against 219, 32,000 rows 2,477 against 428; one
thread, 384 dimensions, AMD EPYC with others at work on it).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import sqrt
from typing import Final, NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray

from cache.errors import CacheError

FAISS_FAULTS: Final = (RuntimeError, ValueError, TypeError, AssertionError, MemoryError)
"""What FAISS raises: its own C++ exceptions come as RuntimeError, the rest are its wrapper's."""

Codes = NDArray[np.uint8]
"""Shape (n, dim): unit vectors, a byte a dimension."""

Ids = NDArray[np.int64]
"""Shape (n,): entry ids."""

_RANGE: Final = 8.0
"""Chosen: a code spans eight times what a component of a unit vector has on average, 1 / sqrt(dim),
to either side, 0.41 at 384 dimensions; of 113,287 questions no component is beyond 0.33. A cosine
is off by 0.001 for it."""


class Rows(NamedTuple):
    """Kept vectors as they are kept.

    Attributes:
        ids: (n,) int64.
        codes: (n, dim) uint8.
    """

    ids: Ids
    codes: Codes


def coder(dim: int) -> faiss.IndexScalarQuantizer:
    """An index of rows in a row that keeps codes, and encodes and decodes them."""
    kind, metric = faiss.ScalarQuantizer.QT_8bit_uniform, faiss.METRIC_INNER_PRODUCT
    made = faiss.IndexScalarQuantizer(dim, kind, metric)
    reach = min(1.0, _RANGE / sqrt(dim))
    faiss.copy_array_to_vector(np.array([-reach, 2.0 * reach], np.float32), made.sq.trained)
    made.is_trained = True
    return made


def encoded(vectors: NDArray[np.float32]) -> Codes:
    """The codes of unit vectors, (n, dim) float32. Raises CacheError."""
    with translated("be encoded"):
        codes: Codes = coder(vectors.shape[1]).sa_encode(np.ascontiguousarray(vectors))
    return codes


def decoded(codes: Codes) -> NDArray[np.float32]:
    """The vectors that codes stand for, (n, dim) float32. Raises CacheError."""
    with translated("be decoded"):
        vectors: NDArray[np.float32] = coder(codes.shape[1]).sa_decode(np.ascontiguousarray(codes))
    return vectors


@contextmanager
def translated(what: str) -> Iterator[None]:
    """FAISS's faults as ours, and its work on this thread alone.

    One query at a time: a second thread would wait for the first longer than it works, and OpenMP
    waits by spinning. How many it may use is a property of the thread that asks, so that whoever
    asks has to say it. Measured: 0.4 us; a search of 324 rows on two busy cores took 10 to 30 ms
    on two threads and 0.05 on one.
    """
    faiss.omp_set_num_threads(1)
    try:
        yield
    except FAISS_FAULTS as fault:
        raise CacheError(f"the index could not {what}: {fault}") from fault
