"""What goes back to the caller: a whole answer, or a stream, in the shape that he wants.

A flight's answer is relayed as it comes if it is a stream that comes live, else told whole once it
stands. The account is closed when the last byte is out, or when the caller has gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol

import orjson

from sidecar import streams
from sidecar.accounting.closing import Accounting
from sidecar.dispatch import Told
from sidecar.errors import DeadlineExceeded, SidecarError
from sidecar.flights.coalesce import Coalesce, Flight
from sidecar.ledger import CALLER_LEFT, CALLER_LEFT_STATUS, Ledger
from sidecar.outcome import Outcome
from sidecar.values import value


class Sink(Protocol):
    """Where a stream's payloads go."""

    @property
    def is_full(self) -> bool:
        """The caller has yet to take what was written."""
        ...

    def write(self, payloads: Sequence[bytes]) -> None:
        """Send these now, whatever the caller does."""
        ...

    async def room(self) -> None:
        """Wait until it is not full; raises ConnectionError if that takes too long."""
        ...


Pour = Callable[[Sink], Awaitable[Sequence[bytes]]]
"""Writes a stream's payloads as they come, and gives the last ones back, which are sent together
with the mark of the end; may raise SidecarError."""


@value(frozen=True, slots=True, eq=False, kw_only=True)
class Reply:
    """What goes back, whole or as a stream.

    Attributes:
        headers: Response headers.
        body: The JSON; None for a stream.
        pour: Writes the payloads of a stream's events; None if whole.
        close: To be called once, when the last byte is out or the caller has gone.
        again: The account of a hit that the same bytes may be given again.
    """

    headers: Mapping[str, str]
    close: Callable[[], None]
    body: bytes | None = None
    pour: Pour | None = None
    again: Ledger | None = None


class Replies:
    """Tells answers, and closes their accounts. Holds nothing between requests."""

    def __init__(self, accounting: Accounting) -> None:
        self._accounting = accounting

    async def alone(self, ledger: Ledger, coalesce: Coalesce, climb: Awaitable[Outcome]) -> Reply:
        """The answer of a climb that nobody else may hear, whole once it stands.

        Raises:
            SidecarError: There is none.
        """
        coalesce.alone += 1
        try:
            with ledger.inquiry.watch.hop("upstream"):
                outcome = await climb
        finally:
            coalesce.alone -= 1
        _landed(ledger, outcome)
        return self.whole(ledger, orjson.dumps(outcome.served.body))

    async def heard(self, ledger: Ledger, flight: Flight, *, leads: bool) -> Reply:
        """The flight's answer: relayed as it comes if it is, else whole once it stands.

        Raises:
            SidecarError: There is none.
        """
        flight.hear(ledger, leads=leads)
        try:
            first = await self._begun(ledger, flight, leads=leads)
            reply = self._live(ledger, flight, first) if first is not None else None
        except BaseException:
            flight.leave(ledger)
            raise
        if reply is not None:
            return reply
        flight.leave(ledger)
        assert ledger.outcome is not None  # noqa: S101 - landed
        return self.whole(ledger, orjson.dumps(ledger.outcome.served.body))

    def _live(self, ledger: Ledger, flight: Flight, first: Told) -> Reply:
        voice = first.voice
        ledger.relayed_place, ledger.degraded = voice.place, voice.degraded

        def close() -> None:
            self._accounting.close(ledger)
            flight.leave(ledger)

        return Reply(
            headers={**voice.headers, **self._accounting.headers(ledger)},
            pour=lambda sink: self._relay(ledger, flight, sink),
            close=close,
        )

    async def _begun(self, ledger: Ledger, flight: Flight, *, leads: bool) -> Told | None:
        """The first chunk of a stream that comes live; None: it landed, well."""
        # The leader's own deadline is kept by dispatch, which may hold an answer to serve.
        if leads:
            return await self._first(ledger, flight)
        try:
            async with asyncio.timeout(ledger.inquiry.deadline.remaining_s()):
                return await self._first(ledger, flight)
        except TimeoutError as fault:
            raise DeadlineExceeded("the shared answer") from fault

    async def _first(self, ledger: Ledger, flight: Flight) -> Told | None:
        if ledger.inquiry.request.stream:
            with ledger.inquiry.watch.hop("upstream"):
                first = await flight.first()
            if first is not None:
                return first
        await self._land(ledger, flight)
        return None

    async def _land(self, ledger: Ledger, flight: Flight) -> None:
        """Wait until the flight landed, and note what became of it."""
        with ledger.inquiry.watch.hop("upstream"):
            _landed(ledger, await flight.outcome())
        ledger.pays = flight.bill(ledger)

    async def _relay(self, ledger: Ledger, flight: Flight, sink: Sink) -> Sequence[bytes]:
        ledger.status, ledger.error = CALLER_LEFT_STATUS, CALLER_LEFT  # until the end is reached
        relayed = streams.Relayed(include_usage=ledger.inquiry.request.include_usage)
        try:
            await self._poured(ledger, flight, relayed, sink)
            # Only now: the last chunk, still held back, tells what it all came to.
            await self._land(ledger, flight)
            last = relayed.last(lambda: self._accounting.summary(ledger))
            ledger.status, ledger.error = 200, ""
        except SidecarError as fault:
            ledger.status, ledger.error = 200, type(fault).__name__
            raise
        return last

    async def _poured(
        self, ledger: Ledger, flight: Flight, relayed: streams.Relayed, sink: Sink
    ) -> None:
        """Write each chunk in the very call that brings it, until the flight has landed.

        This coroutine itself is woken twice only: when the caller takes no more, which the flight
        does not wait for, and at the end.
        """
        place, is_full, wake = 0, sink.is_full, _Wake()

        def pump() -> None:
            nonlocal place, is_full
            if not is_full:
                news = flight.told(place)
                place += len(news)
                if out := relayed.passed(news):
                    sink.write(out)
                    is_full = sink.is_full
            if is_full or flight.is_done:
                wake.up()

        flight.watch(pump)
        try:
            while True:
                pump()
                if is_full:
                    await sink.room()
                    is_full = False
                elif flight.is_done:
                    return
                else:
                    with ledger.inquiry.watch.hop("upstream"):
                        await wake.wait()
        finally:
            flight.unwatch(pump)

    def whole(self, ledger: Ledger, body: bytes) -> Reply:
        """A whole answer in the shape that the caller wants."""
        headers, request = self._accounting.headers(ledger), ledger.inquiry.request

        def close() -> None:
            self._accounting.close(ledger)

        if not request.stream:
            return Reply(headers=headers, body=body, close=close)
        payloads = streams.replayed(
            orjson.loads(body),
            include_usage=request.include_usage,
            summary=lambda: self._accounting.summary(ledger),
        )
        return Reply(headers=headers, pour=lambda _: _all(payloads), close=close)


def _landed(ledger: Ledger, outcome: Outcome) -> None:
    ledger.outcome, ledger.decision = outcome, outcome.decision
    ledger.degraded = outcome.degraded


async def _all(payloads: Iterable[bytes]) -> Sequence[bytes]:
    return list(payloads)


class _Wake:
    """Wakes one who waits; where nobody does, he who would looks before he begins to."""

    def __init__(self) -> None:
        self._future: asyncio.Future[None] | None = None

    def up(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    async def wait(self) -> None:
        self._future = asyncio.get_running_loop().create_future()
        await self._future
