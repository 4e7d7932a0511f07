"""A process's id in, what it and its children took of the machine out. Linux only."""

from __future__ import annotations

import os
from pathlib import Path


def cpu_s(pid: int) -> float:
    """Of a process and its children, all threads."""
    return sum(_one_cpu_s(each) for each in _family(pid))


def _family(pid: int) -> list[int]:
    found = [pid]
    for each in found:
        for task in Path(f"/proc/{each}/task").glob("*/children"):
            found += [int(child) for child in task.read_text().split()]
    return found


def _one_cpu_s(pid: int) -> float:
    """Source: proc(5), `schedstat`: nanoseconds on a core."""
    tasks = Path(f"/proc/{pid}/task")
    return sum(int((each / "schedstat").read_text().split()[0]) for each in tasks.iterdir()) / 1e9


def rss_mib(pid: int) -> float:
    """Resident memory of a process and its children; what they share counts in each."""
    page = os.sysconf("SC_PAGE_SIZE")
    pages = (int(Path(f"/proc/{each}/statm").read_text().split()[1]) for each in _family(pid))
    return sum(pages) * page / 2**20
