"""What goes back to the caller: a whole answer, or a stream, in the shape that he wants.

A flight's answer is relayed as it comes if it is a stream that comes live, else told whole once it
stands. The account is closed when the last byte is out, or when the caller has gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import orjson

from sidecar import streams
from sidecar.accounting import Accounting
from sidecar.coalesce import Flight
from sidecar.dispatch import Told
from sidecar.errors import DeadlineExceeded, SidecarError
from sidecar.ledger import CALLER_LEFT, CALLER_LEFT_STATUS, Ledger


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Reply:
    """What goes back, whole or as a stream.

    Attributes:
        headers: Response headers.
        body: The JSON; None for a stream.
        events: The payloads of a stream's events; None if whole. May raise SidecarError midway.
        close: To be called once, when the last byte is out or the caller has gone.
        again: The account of a hit that the same bytes may be given again.
    """

    headers: Mapping[str, str]
    close: Callable[[], None]
    body: bytes | None = None
    events: AsyncGenerator[bytes, None] | None = None
    again: Ledger | None = None


class Replies:
    """Tells answers, and closes their accounts. Holds nothing between requests."""

    def __init__(self, accounting: Accounting) -> None:
        self._accounting = accounting

    async def heard(self, ledger: Ledger, flight: Flight, *, leads: bool) -> Reply:
        """The flight's answer: relayed as it comes if it is, else whole once it stands.

        Raises:
            SidecarError: There is none.
        """
        request, stack = ledger.inquiry.request, ExitStack()
        with stack:
            stack.enter_context(flight.heard_by(ledger, leads=leads))
            # The leader's own deadline is kept by dispatch, which may hold an answer to serve.
            budget_s = None if leads else ledger.inquiry.deadline.remaining_s()
            try:
                async with asyncio.timeout(budget_s):
                    first = await self._first(ledger, flight) if request.stream else None
                    if first is None:
                        await self._land(ledger, flight)
            except TimeoutError as fault:
                raise DeadlineExceeded("the shared answer") from fault
            if first is None:
                assert ledger.outcome is not None  # noqa: S101 - landed
                return self.whole(ledger, orjson.dumps(ledger.outcome.served.body))
            ledger.relayed_place, ledger.degraded = first.place, first.degraded
            stack.callback(self._accounting.close, ledger)
            return Reply(
                headers={**first.headers, **self._accounting.headers(ledger)},
                events=self._relay(ledger, flight),
                close=stack.pop_all().close,
            )

    async def _first(self, ledger: Ledger, flight: Flight) -> Told | None:
        with ledger.inquiry.watch.hop("upstream"):
            return await flight.first()

    async def _land(self, ledger: Ledger, flight: Flight) -> None:
        """Wait until the flight landed, and note what became of it."""
        with ledger.inquiry.watch.hop("upstream"):
            ledger.outcome = await flight.outcome()
        ledger.decision = ledger.outcome.decision
        ledger.degraded = ledger.outcome.degraded
        ledger.pays = flight.bill(ledger)

    async def _relay(self, ledger: Ledger, flight: Flight) -> AsyncGenerator[bytes, None]:
        async def told() -> AsyncIterator[Told]:
            chunks = flight.told()
            while True:
                with ledger.inquiry.watch.hop("upstream"):
                    chunk = await anext(chunks, None)
                if chunk is None:
                    # Only now: the last chunk, still held back, tells what it all came to.
                    await self._land(ledger, flight)
                    return
                yield chunk

        ledger.status, ledger.error = CALLER_LEFT_STATUS, CALLER_LEFT  # until the end is reached
        try:
            async for payload in streams.relayed(
                told(),
                include_usage=ledger.inquiry.request.include_usage,
                summary=lambda: self._accounting.summary(ledger),
            ):
                yield payload
            ledger.status, ledger.error = 200, ""
        except SidecarError as fault:
            ledger.status, ledger.error = 200, type(fault).__name__
            raise

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
        return Reply(headers=headers, events=_each(payloads), close=close)


async def _each(payloads: Iterable[bytes]) -> AsyncGenerator[bytes, None]:
    for payload in payloads:
        yield payload
