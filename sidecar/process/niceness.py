"""A niceness in, this thread made to give way by so much out.

The event loop is woken for somebody who waits, and what the other threads do is work of
milliseconds to minutes: where there are fewer cores than threads that want one, the loop is to have
it first. On Linux each thread has a niceness of its own; elsewhere there is none to set, and all
goes on as it was. It raises nothing above what the process was given, which would take privileges.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import Final

ENCODING: Final = 5
"""Measured: `python -m loadtest bench --only busy`, docs/performance.md: exact hits beside more
questions than the encoder can do. A third of the loop's weight to the scheduler, which leaves it
nearly all of a core where the loop is idle."""

BUILDING: Final = 10
"""Chosen: a thread that works for a minute gives way to those that somebody waits for."""


def give_way(by: int) -> None:
    """Have this thread give way to the rest of the process, and to others of its group."""
    with suppress(OSError, AttributeError):
        here = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, here, os.getpriority(os.PRIO_PROCESS, 0) + by)
