"""A process's id in, what it holds at this moment out: memory, handles, threads, tasks."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

_TASKS: Final = re.compile(r"^sidecar_event_loop_tasks (\S+)$", re.MULTILINE)
_STATUS: Final = re.compile(r"^(VmRSS|RssAnon|Threads):\s+(\d+)", re.MULTILINE)
_CPU_FIELDS: Final = slice(11, 13)
"""Source: proc(5), `stat`: utime and stime, counted from the third field on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """One look.

    Attributes:
        at_s: When, on the monotonic clock.
        rss_mib: Resident memory.
        own_mib: Of that, what no file stands behind; a file's pages leave when others need room.
        handles: Open files and sockets.
        threads: Of the process, native ones too.
        tasks: Of its main event loop.
        cpu_s: That it has used so far.
    """

    at_s: float
    rss_mib: float
    own_mib: float
    handles: int
    threads: int
    tasks: int
    cpu_s: float


async def look(http: aiohttp.ClientSession, pid: int, admin_url: str) -> Vitals:
    """How process `pid` is; Linux only, and the tasks are told by its operator plane."""
    async with http.get(f"{admin_url}/metrics") as response:
        told = _TASKS.search(await response.text())
    folder = Path("/proc") / str(pid)
    status = dict(_STATUS.findall((folder / "status").read_text()))
    spent = (folder / "stat").read_text().rpartition(")")[2].split()[_CPU_FIELDS]
    return Vitals(
        at_s=time.monotonic(),
        rss_mib=int(status["VmRSS"]) / 1024,
        own_mib=int(status["RssAnon"]) / 1024,
        handles=len(os.listdir(folder / "fd")),  # noqa: PTH208 - names alone are counted
        threads=int(status["Threads"]),
        tasks=int(float(told[1])) if told else 0,
        cpu_s=sum(map(int, spent)) / os.sysconf("SC_CLK_TCK"),
    )
