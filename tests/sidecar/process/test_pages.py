"""Pages: what no file stands behind is gathered, and what is in it stays what it was."""

from __future__ import annotations

import mmap
from pathlib import Path

from sidecar.process.pages import LARGE_BYTES, gather, places


def test_what_is_gathered_is_as_it_was() -> None:
    """Every byte, whether or not this system has large pages to give."""
    size_bytes = 3 * LARGE_BYTES
    with mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        written = bytes(range(256)) * (size_bytes // 256)
        memory[:] = written
        assert gather() >= 0
        assert memory[:] == written


def test_only_memory_without_a_file_is_asked_for() -> None:
    """Whole large pages of it; not of files or the stack, not what may not be written to."""
    maps = (
        "7f0000000000-7f0000800000 rw-p 00000000 08:01 77   /usr/lib/a library.so\n"
        "7f1000000000-7f1000800000 rw-p 00000000 00:00 0    [stack]\n"
        "7f2000000000-7f2000800000 r--p 00000000 00:00 0\n"
        "7f3000000000-7f3000100000 rw-p 00000000 00:00 0\n"
        "7f4000100000-7f4000700000 rw-p 00000000 00:00 0\n"
        "560000000000-560000200000 rw-p 00000000 00:00 0    [heap]\n"
    )
    assert [f"{at:x}" for at in places(maps)] == ["7f4000200000", "7f4000400000", "560000000000"]


def test_nothing_comes_of_it_where_there_are_no_maps(tmp_path: Path) -> None:
    """It is no fault: all goes on in small pages."""
    assert gather(tmp_path / "none") == 0
