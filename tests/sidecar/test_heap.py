"""heap: however many threads take memory, there is one heap, and what is free goes back."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

_HEAPS = """
import ctypes, sys, threading
from sidecar.heap import give_back, keep_one
if sys.argv[1] == "one":
    keep_one()
barrier = threading.Barrier(4)
def work():
    barrier.wait()
    kept = [bytes(10_000) for _ in range(100)]
    barrier.wait()
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
give_back()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
out = libc.fopen(sys.argv[2].encode(), b"w")
libc.malloc_info(0, ctypes.c_void_p(out))
libc.fclose(ctypes.c_void_p(out))
print(open(sys.argv[2]).read().count("<heap nr="))
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="glibc's alone")
@pytest.mark.parametrize("heaps", ["one", "several"])
def test_all_threads_take_from_one_heap(
    heaps: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Told before there are threads; else each of the first has its own."""
    told = tmp_path_factory.mktemp("heap") / "told.xml"
    done = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-c", _HEAPS, heaps, str(told)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert (int(done.stdout) == 1) == (heaps == "one")
