"""The C library's heap: kept in one piece, and what is free of it given back to the system.

glibc gives each of the first threads a heap of its own, in pieces of 64 MB. What one thread takes
and another frees lies strewn over all of them, and `malloc_trim` gives back little of it. Measured:
an index of 300,000 rows, laid on the builder's thread: 700 to 920 bytes a row, of which 480 are in
use; with one heap 475. Python's lock leaves the heap hardly ever two threads at a time, and each
thread has small pieces at hand.

Nothing comes of either where the C library is another.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import Final

_ARENA_MAX: Final = -8
"""Source: `M_ARENA_MAX` of mallopt(3)."""


def keep_one() -> None:
    """All threads take from one heap; to be called before there are any."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 1)


def give_back() -> None:
    """Let the system have what was taken for a while and freed; it stays with the process else."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
