"""An event loop whose clock tells the time that it waited, not the time that it was kept waiting.

A timer of the code under test asks whether something came in time. On a machine that is slow, busy
or stopped for some seconds nothing comes in time, and what should have come was only not yet run.
By this clock a timer is due when the loop has stood idle for as long: whatever could happen before
it has happened. So short times stay short, and say the same on every machine.

What it does not reach is told as it is: threads, other processes, and who reads a clock himself.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable
from typing import Final

from sidecar.deadline import Deadline

LEAST_S: Final = 0.001
"""How much a round of the loop counts at most in which there was something to do.

Chosen: not nothing, or a test that polls with `sleep(0)` would stop the clock that it waits for;
and so little that a hundred rounds, more than an answer on loopback takes, are a tenth of a second.
"""


class _Waits(selectors.DefaultSelector):
    """Waits for events; `now_s` grows by what it waited in vain, and hardly by anything else."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = self._seen_s = time.monotonic()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """See selectors.BaseSelector."""
        found = super().select(timeout)
        before_s, self._seen_s = self._seen_s, time.monotonic()
        in_vain_s = 0.0 if found or timeout is None else max(0.0, timeout)
        self.now_s += min(self._seen_s - before_s, in_vain_s + LEAST_S)
        return found


class PatientLoop(asyncio.SelectorEventLoop):
    """Each has a clock of its own, which begins where the monotonic one stands."""

    def __init__(self) -> None:
        self._waits = _Waits()
        super().__init__(self._waits)

    def time(self) -> float:
        """See asyncio.AbstractEventLoop."""
        return self._waits.now_s


class PatientDeadline(Deadline):
    """One by the running loop's clock: short, and still ahead however late it is looked at."""

    __slots__ = ()

    @classmethod
    def after_s(cls, seconds: float) -> Deadline:
        """See Deadline."""
        return cls(asyncio.get_running_loop().time() + seconds)

    def remaining_s(self) -> float:
        """See Deadline."""
        return max(0.0, self.at_s - asyncio.get_running_loop().time())


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for what nothing announces; the test's own time limit ends it otherwise."""
    while not is_so():
        await asyncio.sleep(0.002)
