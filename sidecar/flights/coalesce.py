"""Identical misses in flight share one climb: who comes first leads, who comes later follows.

A flight is a task of its own, held by nobody's connection: a leader who leaves takes nothing with
him while others listen, and the last one to leave cancels the call upstream. A climb that nobody
may join and that tells no stream needs none.

Why the pipeline looks at the store once more just before it joins:

1. A looks: miss. A awaits its vector.
2. B, who led a flight for the same key, lands: the answer is kept, the flight is gone.
3. A, its vector made, finds no flight to join. Without a second look it would ask again.

Looking and joining happen without an await between them, and a flight keeps its answer before it
lands, so that at every instant one of the two holds it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from sidecar.dispatch import Publish, Told
from sidecar.outcome import Outcome

Start = Callable[[Publish], Coroutine[Any, Any, Outcome]]

MAX_LISTENERS: Final = 1024
"""Chosen: beyond it a flight of its own is fairer than one more mouth on the same stream."""


class Flight:
    """One climb under way, and what it has said so far. Lives on the event loop's thread."""

    def __init__(self, start: Start) -> None:
        self._told: list[Told] = []
        self._listeners = 0
        self._watchers: list[Callable[[], object]] = []
        self._on_landing: list[Callable[[], None]] = []
        self._task = asyncio.get_running_loop().create_task(start(self._publish))
        self._task.add_done_callback(self._land)
        self._payer: object | None = None

    @property
    def listeners(self) -> int:
        """Who hears it, its leader included."""
        return self._listeners

    @property
    def has_room(self) -> bool:
        """One more may listen."""
        return self._listeners < MAX_LISTENERS

    @property
    def is_done(self) -> bool:
        """It landed, well or not."""
        return self._task.done()

    @property
    def is_answered(self) -> bool:
        """It landed, and well."""
        task = self._task
        return task.done() and not task.cancelled() and task.exception() is None

    def on_landing(self, call: Callable[[], None]) -> None:
        """Have `call` called once it landed."""
        if self.is_done:
            self._task.add_done_callback(lambda _task: call())
        else:
            self._on_landing.append(call)

    @contextmanager
    def heard_by(self, listener: object, *, leads: bool) -> Iterator[None]:
        """Listen while the block runs; the last one to leave ends the flight.

        A leader who leaves before it landed leaves the bill to the next one who hears it land.
        """
        self.hear(listener, leads=leads)
        try:
            yield
        finally:
            self.leave(listener)

    def hear(self, listener: object, *, leads: bool) -> None:
        """Listen from now on, until `leave`."""
        self._listeners += 1
        if leads:
            self._payer = listener

    def leave(self, listener: object) -> None:
        """Listen no more; see `heard_by`."""
        self._listeners -= 1
        if self._payer is listener and not self._task.done():
            self._payer = None
        if not self._listeners:
            self._task.cancel()

    def bill(self, listener: object) -> bool:
        """Whether `listener` is the one who is billed; of all who share the flight, one is."""
        if self._payer is None:
            self._payer = listener
        return self._payer is listener

    async def outcome(self) -> Outcome:
        """What became of it; raises what the climb raised."""
        await self.until(self._task.done)
        return self._task.result()

    async def landed(self) -> Outcome | None:
        """What became of it; None if nothing did, for whoever has another way to go."""
        await self.until(self._task.done)
        return self._task.result() if self.is_answered else None

    async def first(self) -> Told | None:
        """Its first chunk, or None if it landed without one; raises what the climb raised."""
        await self.until(lambda: bool(self._told) or self._task.done())
        if self._told:
            return self._told[0]
        self._task.result()
        return None

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so; looked at with each chunk, and once it landed.

        Not the task itself is awaited: a listener who is cancelled must not take it along.
        """
        if is_so():
            return
        came: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def look() -> None:
            if not came.done() and is_so():
                came.set_result(None)

        self.watch(look)
        try:
            await came
        finally:
            self.unwatch(look)

    def told(self, place: int) -> list[Told]:
        """Its chunks so far, from the one at `place` on."""
        return self._told[place:]

    def watch(self, call: Callable[[], object]) -> None:
        """Have `call` called with each chunk, and once it landed, until `unwatch`."""
        self._watchers.append(call)

    def unwatch(self, call: Callable[[], object]) -> None:
        """Call it no more."""
        self._watchers.remove(call)

    def _publish(self, news: Sequence[Told]) -> None:
        self._told.extend(news)
        self._wake()

    def _land(self, task: asyncio.Future[Outcome]) -> None:
        if not task.cancelled():
            task.exception()  # marks it as seen, for nobody may be listening any more
        calls, self._on_landing = (
            self._on_landing,
            [],
        )  # they know it: it would outlive its last use
        for call in calls:
            call()
        self._wake()

    def _wake(self) -> None:
        for call in tuple(self._watchers):
            call()

    async def cancel(self) -> None:
        """End it now, whoever listens."""
        self._task.cancel()
        await asyncio.wait([self._task])


class Coalesce:
    """The flights that may be joined, by key.

    Attributes:
        alone: Climbs under way that need no flight; whoever makes one counts it.
    """

    def __init__(self) -> None:
        self._flights: dict[bytes, Flight] = {}
        self._alone: set[Flight] = set()
        self.alone = 0

    def __len__(self) -> int:
        return len(self._flights) + len(self._alone)

    @property
    def listeners(self) -> int:
        """Who hears a flight, leaders included. Looks at every flight."""
        flights = [*self._flights.values(), *self._alone]
        return self.alone + sum(flight.listeners for flight in flights)

    def find(self, key: bytes) -> Flight | None:
        """The flight for `key` that may be joined."""
        flight = self._flights.get(key)
        return flight if flight is not None and flight.has_room and not flight.is_done else None

    def join(self, key: bytes | None, start: Start) -> tuple[Flight, bool]:
        """The flight for `key`, and whether the caller leads it; None is never shared."""
        flight = self.find(key) if key is not None else None
        if flight is not None:
            return flight, False
        flight = Flight(start)
        if key is None or key in self._flights:
            self._alone.add(flight)
            flight.on_landing(lambda: self._alone.discard(flight))
        else:
            self._flights[key] = flight
            flight.on_landing(lambda: self._forget(key, flight))
        return flight, True

    def _forget(self, key: bytes, flight: Flight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]

    async def close(self) -> None:
        """End every flight; nobody listens any more."""
        for flight in [*self._flights.values(), *self._alone]:
            await flight.cancel()
