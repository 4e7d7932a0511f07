"""Arrays in; the same in memory of their own, or with room to grow, out."""

from __future__ import annotations

from collections.abc import Sequence
from mmap import mmap
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from cache.index.codes import Codes

_Item = TypeVar("_Item", np.int64, np.int32)


def apart(parts: Sequence[Codes]) -> Codes:
    """Copies of these, one after the other, in memory of their own.

    The system has it back as soon as it is let go. What the allocator has instead is to be trimmed,
    during which none of its callers gets anything, and one that holds Python's lock stops the rest:
    68 ms for the copies of a million rows.
    """
    count, dim = sum(map(len, parts)), parts[0].shape[1]
    memory = mmap(-1, max(1, count * dim))
    codes: Codes = np.frombuffer(memory, np.uint8, count * dim).reshape(count, dim)
    np.concatenate(parts, out=codes)
    return codes


def with_room(array: NDArray[_Item], end: int) -> NDArray[_Item]:
    """`array`, or a longer one that begins with it, with places up to `end`."""
    if end <= len(array):
        return array
    longer = np.empty(max(end, len(array) + len(array) // 2), array.dtype)
    longer[: len(array)] = array
    return longer
