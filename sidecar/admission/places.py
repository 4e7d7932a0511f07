"""Places among those in flight: so many requests may be inside, so many more may wait a while.

Rule 1: a place is given back once, whatever happens to who held it; one that was kept for somebody
        who left meanwhile goes to the next.
Rule 2: nobody waits while he could go: whoever finds room takes it at once, without a task switch.
Rule 3: batch never takes the last places, so that its long answers do not bar interactive.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final

from sidecar.admission.line import Line, Waiter
from sidecar.admission.tenants import Caller
from sidecar.errors import AdmissionRefused
from sidecar.options import Priority

BATCH_RATIO: Final = 0.8
"""Chosen: of all places, those that batch may hold at once; never fewer than one."""

RETRY_AFTER_S: Final = 1.0
"""Chosen: a place is free as soon as anybody's answer is out; callers add jitter of their own."""

_ADMITTED: Final = "admitted"
_TOLD: Final = {
    "queue_full": "too many requests are in flight, and too many wait",
    "displaced": "too many requests wait, and others go first",
    "queue_timeout": "no place came free in time",
}


class Places:
    """The places, and the line for them. Lives on the event loop's thread."""

    def __init__(self, *, max_in_flight: int, max_queued: int) -> None:
        self._max_in_flight = max_in_flight
        self._max_batch = max(1, int(BATCH_RATIO * max_in_flight))
        self._inside: dict[str, int] = {}
        self._batch = 0
        self.in_flight = 0
        self.line: Final = Line(max_queued)

    def find(self, caller: Caller, priority: Priority) -> Place | None:
        """A place, if one can be had at once."""
        if not self._has_room(caller.tenant, caller.max_in_flight, priority):
            return None
        self._take(caller.tenant, priority)
        return Place(self, caller.tenant, priority)

    def has_room(self, caller: Caller, priority: Priority) -> bool:
        """`find` would give one."""
        return self._has_room(caller.tenant, caller.max_in_flight, priority)

    async def wait(
        self, caller: Caller, priority: Priority, budget_s: float
    ) -> tuple[Place, float]:
        """A place within `budget_s`, and how many seconds it took.

        Raises:
            AdmissionRefused: None came free in time, or the line is full.
        """
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        waiter = Waiter(caller.tenant, priority, caller.max_in_flight, loop.create_future())
        gone = self.line.join(waiter)
        if gone is not None:
            _tell(gone, "queue_full" if gone is waiter else "displaced")
        timer = loop.call_later(max(0.0, budget_s), self._late, waiter)
        try:
            verdict = await waiter.verdict
        except asyncio.CancelledError:
            self._left(waiter)
            raise
        finally:
            timer.cancel()
        if verdict != _ADMITTED:
            raise AdmissionRefused(_TOLD[verdict], reason=verdict, retry_after_s=RETRY_AFTER_S)
        return Place(self, caller.tenant, priority), loop.time() - begun_s

    def free(self, tenant: str, priority: Priority) -> None:
        """A place is given back; whose turn it is gets it."""
        self.in_flight -= 1
        self._batch -= priority == "batch"
        if (inside := self._inside[tenant] - 1) > 0:
            self._inside[tenant] = inside
        else:
            del self._inside[tenant]
        while not self.line.is_empty and (waiter := self.line.next(self._may)) is not None:
            if not waiter.verdict.done():  # cancelled, and not yet heard of it
                self._take(waiter.tenant, waiter.priority)
                waiter.verdict.set_result(_ADMITTED)

    def _has_room(self, tenant: str, max_in_flight: int | None, priority: Priority) -> bool:
        return (
            self.in_flight < self._max_in_flight
            and (max_in_flight is None or self._inside.get(tenant, 0) < max_in_flight)
            and (priority != "batch" or self._batch < self._max_batch)
        )

    def _may(self, waiter: Waiter) -> bool:
        return self._has_room(waiter.tenant, waiter.max_in_flight, waiter.priority)

    def _take(self, tenant: str, priority: Priority) -> None:
        self.in_flight += 1
        self._inside[tenant] = self._inside.get(tenant, 0) + 1
        self._batch += priority == "batch"

    def _late(self, waiter: Waiter) -> None:
        self.line.leave(waiter)
        _tell(waiter, "queue_timeout")

    def _left(self, waiter: Waiter) -> None:
        """The caller has gone; a place that was kept for him at that very instant is free."""
        self.line.leave(waiter)
        verdict = waiter.verdict
        if verdict.done() and not verdict.cancelled() and verdict.result() == _ADMITTED:
            self.free(waiter.tenant, waiter.priority)


def _tell(waiter: Waiter, verdict: str) -> None:
    if not waiter.verdict.done():
        waiter.verdict.set_result(verdict)


class Place:
    """One place; `with` it, and it is given back."""

    __slots__ = ("_places", "_priority", "_tenant")

    def __init__(self, places: Places, tenant: str, priority: Priority) -> None:
        self._places = places
        self._tenant = tenant
        self._priority = priority

    def __enter__(self) -> None:
        """Stand in it."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give it back."""
        self._places.free(self._tenant, self._priority)
