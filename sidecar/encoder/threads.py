"""What this process may use of the machine in, how many threads encode out."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

from sidecar.encoder.bundle import EncoderConfig

MAX_THREADS: Final = 8
"""Chosen: 5,000 short texts a second; the one event loop that asks is busy long before."""

_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")
"""Source: the kernel's `cgroup-v2.rst`, "CPU Interface Files": quota and period, or `max`."""


def threads_for(config: EncoderConfig) -> int:
    """How many threads encode: as the config says, else by what this process may use.

    Chosen: half the processors, for the application beside us and the event loop have work too;
    one of one or two, two of four, eight of sixteen.
    """
    if config.threads:
        return config.threads
    return max(1, min(MAX_THREADS, int(processors() / 2)))


def processors(quota: Path = _QUOTA) -> float:
    """How many this process may use: those that it may run on, less if its group has a quota."""
    allowed = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
    with contextlib.suppress(OSError, ValueError):
        most, period = quota.read_text("ascii").split()
        allowed = min(allowed, int(most) / int(period))  # "max" is no number: no quota
    return allowed
