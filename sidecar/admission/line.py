"""Who waits for a place, and whose turn it is: pure, so that its rules can be held by proof.

Rule 1: interactive goes before batch; but of `BATCH_EVERY` places given while both could take one,
        one is batch's, so that it waits behind and never for ever.
Rule 2: within a priority tenants take turns, and a tenant's own requests go in their order, so
        that a flood of one tenant's costs another one turn and no more.
Rule 3: who may not go yet (its tenant is at its limit) is passed over and keeps its turn.
Rule 4: where the line is full, batch makes room for interactive; else the tenant with the most
        waiting makes room for one that has at least two fewer. Who makes room is the latest of his
        tenant. Source: Suter and others, Buffer management schemes for supporting TCP in gigabit
        routers with per-flow queueing, IEEE JSAC 17(6), 1999: "longest queue drop".
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sidecar.options import Priority

BATCH_EVERY: Final = 8
"""Chosen: batch takes an eighth at least; interactive, while it lasts, waits a seventh longer."""


@dataclass(frozen=True, slots=True, eq=False)
class Waiter:
    """One request that waits.

    Attributes:
        tenant: Whose.
        priority: Which lane.
        max_in_flight: Of its tenant; None if not limited.
        verdict: Told once: a place is kept for it, or why there is none.
    """

    tenant: str
    priority: Priority
    max_in_flight: int | None
    verdict: Future[str]


_Lane = dict[str, dict[Waiter, None]]
"""By tenant, whose turn is next first; each tenant's waiters in the order in which they came."""


class Line:
    """Waiters in two lanes, at most so many. Holds no clock and wakes nobody.

    Attributes:
        is_empty: Nobody waits.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lanes: dict[Priority, _Lane] = {"interactive": {}, "batch": {}}
        self._lengths: dict[Priority, int] = {"interactive": 0, "batch": 0}
        self.is_empty = True
        self._since_batch = 0

    def __len__(self) -> int:
        return sum(self._lengths.values())

    def length(self, priority: Priority) -> int:
        """How many wait in one lane."""
        return self._lengths[priority]

    def join(self, waiter: Waiter) -> Waiter | None:
        """Who must go so that `waiter` may stand: itself if it may not, None if there was room."""
        gone = None
        if len(self) >= self._most:
            gone = self._last_of_the_longest(waiter)
            if gone is None:
                return waiter
            self.leave(gone)
        self._lanes[waiter.priority].setdefault(waiter.tenant, {})[waiter] = None
        self._lengths[waiter.priority] += 1
        self.is_empty = False
        return gone

    def leave(self, waiter: Waiter) -> None:
        """Wait no more; nothing happens to who does not wait."""
        lane = self._lanes[waiter.priority]
        waiting = lane.get(waiter.tenant, {})
        if waiter in waiting:
            del waiting[waiter]
            self._lengths[waiter.priority] -= 1
            self.is_empty = not len(self)
            if not waiting:
                del lane[waiter.tenant]

    def next(self, may: Callable[[Waiter], bool]) -> Waiter | None:
        """Whose turn it is of those who `may` go; it waits no more."""
        first = self._first("interactive", may)
        if first is None or self._since_batch >= BATCH_EVERY - 1:
            first = self._first("batch", may) or first
        elif self._lengths["batch"]:
            self._since_batch += 1
        if first is None:
            return None
        if first.priority == "batch":
            self._since_batch = 0
        self.leave(first)
        # The tenant's next turn comes after everybody else's.
        lane = self._lanes[first.priority]
        if (waiting := lane.pop(first.tenant, None)) is not None:
            lane[first.tenant] = waiting
        return first

    def _first(self, priority: Priority, may: Callable[[Waiter], bool]) -> Waiter | None:
        # All of a tenant may go or none: what bars them is the tenant's limit or the lane's.
        firsts = (next(iter(waiting)) for waiting in self._lanes[priority].values())
        return next(filter(may, firsts), None)

    def _last_of_the_longest(self, newcomer: Waiter) -> Waiter | None:
        """Who makes room for `newcomer`, if anybody must."""
        may_push_batch = newcomer.priority == "interactive" and self._lengths["batch"] > 0
        lane = self._lanes["batch" if may_push_batch else newcomer.priority]
        longest = max(lane.values(), key=len, default={})
        own = lane.get(newcomer.tenant, {})
        if not may_push_batch and len(longest) < len(own) + 2:
            return None
        return next(reversed(longest))
