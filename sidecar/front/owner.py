"""The owner's two doors for its fronts, on Unix sockets: relayed requests, and what they served.

A relayed request is served as any other is. If it was an exact hit, it is shown, so that the next
front that is sent the same bytes need not ask.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from cache.entry import Entry, EntryId
from sidecar.admission.admission import Admission
from sidecar.front.display import Display, may_show
from sidecar.front.reply import KEY_HEADER, Kept
from sidecar.front.served import Batch, Served, Stopped
from sidecar.front.table import KEY_BYTES
from sidecar.ledger import Ledger
from sidecar.pipeline import Pipeline
from sidecar.web.middleware import REQUEST_ID
from sidecar.web.wire import fixed_head

_AT_ONCE: Final = 32
"""Chosen: replies accounted for before the loop turns to its callers: some 2 ms."""


class Store(Protocol):
    """The half of MemoryStore that is needed here."""

    def peek(self, entry_id: EntryId) -> Entry | None:
        """What is kept; looking is no use of it."""
        ...

    def get_by_id(self, entry_id: EntryId, now_at: float) -> Entry | None:
        """What is kept, used once more."""
        ...


class Meter(Protocol):
    """Where counts go."""

    def fronted(self, outcome: str, count: int) -> None:
        """So many requests were `served` by a front, `relayed`, or served and `untold`."""
        ...

    def restarted(self) -> None:
        """A front died, and another takes its place."""
        ...


class OwnerApi:
    """Shows hits, and accounts for what was made of them. Lives on the main loop."""

    def __init__(
        self,
        *,
        display: Display,
        pipeline: Callable[[], Pipeline],
        admission: Admission,
        store: Store,
        meter: Meter,
        on_ready: Callable[[int], None],
    ) -> None:
        """`on_ready` hears the process id of a front that takes requests."""
        self._display = display
        self._pipeline = pipeline
        self._admission = admission
        self._store = store
        self._meter = meter
        self._on_ready = on_ready
        self._version = ""

    def control_routes(self) -> list[web.RouteDef]:
        """What fronts tell."""
        return [web.post("/served", self.served), web.post("/ready", self.ready)]

    async def ready(self, request: web.Request) -> web.Response:
        """`POST /ready`: a front takes requests."""
        self._on_ready(int(await request.text()))
        return web.Response()

    async def served(self, request: web.Request) -> web.Response:
        """`POST /served`: a front's batch."""
        batch = Batch.unpacked(await request.read())
        self._meter.fronted("relayed", batch.relayed)
        self._meter.fronted("untold", batch.lost)
        for begin in range(0, len(batch.served), _AT_ONCE):
            for served in batch.served[begin : begin + _AT_ONCE]:
                self._account(served)
            await asyncio.sleep(0)
        return web.Response()

    def _account(self, served: Served) -> None:
        shown = self._display.find(served.number)
        if shown is None:
            self._meter.fronted("untold", 1)
            return
        self._meter.fronted("served", 1)
        watch, pipeline = Stopped(served.took_ms), self._pipeline()
        ledger = shown.account(served.request_id, served.received_at, watch)
        assert ledger.hit is not None  # noqa: S101 - shown
        self._store.get_by_id(ledger.hit.entry.entry_id, served.received_at)
        pipeline.overseer.served(ledger, pipeline.asking)
        pipeline.accounting.close_again(ledger, shown)

    def showing(self) -> Middleware:
        """The middleware of the data plane's door that shows what it saw served."""

        @web.middleware
        async def shown(request: web.Request, handler: Handler) -> web.StreamResponse:
            told = request.headers.get(KEY_HEADER, "")
            generation = self._display.generation
            response = await handler(request)
            # Between an account's closing and this line nothing is awaited.
            ledger, self._display.last = self._display.last, None
            if (
                told
                and ledger is not None
                and ledger.inquiry.request_id == request.get(REQUEST_ID)
                and generation == self._display.generation
            ):
                self._show(bytes.fromhex(told), ledger, request.content_length or 0)
            return response

        return shown

    def _show(self, key: bytes, ledger: Ledger, request_bytes: int) -> None:
        inquiry = ledger.inquiry
        is_counted = bool(self._admission.rate_headers(inquiry.caller, inquiry.user))
        if len(key) != KEY_BYTES or is_counted or not may_show(ledger, self._store.peek):
            return
        assert ledger.hit is not None  # noqa: S101 - it may be shown
        accounting, entry = self._pipeline().accounting, ledger.hit.entry
        is_stream = inquiry.request.stream
        kept = Kept(
            body=entry.body,
            created_at=entry.created_at,
            head=fixed_head(accounting.headers(ledger), is_stream=is_stream),
            summary=accounting.summary(ledger) if is_stream else None,
            include_usage=inquiry.request.include_usage,
        )
        again = self._pipeline().again_of(ledger)
        self._display.show(key, kept.packed(), again, request_bytes)

    def look(self) -> None:
        """Empty the table if another artifact serves than did: headers name it."""
        version = self._pipeline().router_version
        if version != self._version:
            self._version = version
            self._display.void()
