"""What the process holds in, the same in pages of two megabytes out, where the system can do that.

Each run of the encoder and the verifier reads all of their weights, 10 MB each, and there is an
entry of the processor's tables to be found for every page of them: after anything else has run, all
2,600 are to be looked up again, twice over in a virtual machine. In large pages they are five.
Measured: two processes asked in turns, one run each: 0.79 of the time; ten at a time: 0.93; the
memory that is resident is the same to a megabyte, and it is done once, in 0.1 s.

Nothing comes of it where it cannot be had: no Linux, a kernel before 6.1, no large page free.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

LARGE_BYTES: Final = 2**21
"""Source: the kernel's `admin-guide/mm/transhuge.rst`: of x86-64, and of arm64 with pages of 4 kB.
With other sizes the call refuses what is asked here, or does what it can of it."""

_COLLAPSE: Final = 25
"""Source: `MADV_COLLAPSE` of madvise(2), since Linux 6.1: "Perform a best-effort synchronous
collapse of the native pages mapped by the memory range into Transparent Huge Pages"."""

_PAGE_BYTES: Final = 4_096
"""Source: as above; mincore(2) tells one byte for each."""

_REST_S: Final = 0.001
"""Chosen: while a large page is made nobody else gets memory of the system, half a millisecond or
so; those who wait for some have it in between."""

_MAPS: Final = Path("/proc/self/maps")


def gather(maps: Path = _MAPS) -> int:
    """Have the memory that is the process's own lie in large pages; how many it lies in now."""
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        mapped = places(maps.read_text("ascii", errors="replace"))
        return sum(_is_there(libc, at) and _collapsed(libc, at) for at in mapped)
    return 0


def _is_there(libc: ctypes.CDLL, at: int) -> bool:
    """All of what would be a large page is in memory: what is not there would be filled up with it.

    Measured: a process of 187 MB had 202 where no heed was paid to it.
    """
    pages = LARGE_BYTES // _PAGE_BYTES
    held = ctypes.create_string_buffer(pages)
    if libc.mincore(ctypes.c_void_p(at), ctypes.c_size_t(LARGE_BYTES), held):
        return False
    return all(page & 1 for page in held.raw[:pages])


def _collapsed(libc: ctypes.CDLL, at: int) -> bool:
    done: int = libc.madvise(ctypes.c_void_p(at), ctypes.c_size_t(LARGE_BYTES), _COLLAPSE)
    time.sleep(_REST_S)
    return done == 0


def places(maps: str) -> Iterator[int]:
    """Where a large page would begin within memory that no file stands behind; `maps` as there."""
    for line in maps.splitlines():
        span, rights, _, _, inode, *name = line.split(maxsplit=5)
        if rights == "rw-p" and inode == "0" and name in ([], ["[heap]"]):
            begin, end = (int(place, 16) for place in span.split("-"))
            first = -(-begin // LARGE_BYTES) * LARGE_BYTES
            yield from range(first, end - LARGE_BYTES + 1, LARGE_BYTES)
