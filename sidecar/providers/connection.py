"""One HTTP/1.1 connection to an upstream: a request's bytes in, its answer told as it comes out.

Nothing stands between the socket and whoever reads: each arrival of bytes goes through the parser
and is told on in the same call, without a task or a queue in between. Who asked awaits one future.

Rule 1: one exchange at a time; `exchange` ends when the answer is whole, or its reader has enough.
Rule 2: a connection is used again only after an answer that ended where its framing said, and after
        which the upstream sent nothing more.
Rule 3: an exchange that ends in any other way, by its caller's leaving too, ends the connection.
Rule 4: one timer for each connection. It is set when something is due, looks again when it goes off
        before that, and is not touched by what arrives in between.

aiohttp's client did all of this, and took two thirds of what a bare proxy takes for a request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, Protocol, cast

import httptools

MAX_HEAD_BYTES: Final = 64 * 1024
"""Chosen: eight times what servers commonly allow; a head without an end does not fill memory."""

TRAILING_S: Final = 1.0
"""Chosen: what follows the last word of a stream (the mark of its end) comes with it or never."""

_BEFORE_THE_ANSWER: Final = range(100, 200)
"""Statuses. Source: RFC 9110, section 15.2."""


class Reader(Protocol):
    """Who reads one answer; whatever he raises ends the exchange, and is raised there.

    Attributes:
        due_s: The loop's instant by which something has to come; moves as things come.
        has_enough: Nothing more is wanted; the rest is not told.
    """

    due_s: float
    has_enough: bool

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """The head is here; names in lower case."""
        ...

    def feed(self, data: bytes) -> None:
        """More of the body is here."""
        ...


class BrokenOff(ConnectionError):
    """The connection ended, or what came is no HTTP, before the answer was whole."""


class Connection(asyncio.Protocol):
    """To one upstream. Lives on the event loop's thread.

    Attributes:
        idle_since_s: The loop's instant since which nobody has used it.
        on_body: The parser's: takes some of the body, without its framing. A list's own `append`,
            for a stream has hundreds of pieces and most of them come many at once.
    """

    def __init__(
        self,
        on_free: Callable[[Connection], None],
        on_lost: Callable[[Connection], None],
    ) -> None:
        """`on_free` is told when it may be used again, `on_lost` once when it is gone."""
        self._loop = asyncio.get_running_loop()
        self._on_free = on_free
        self._on_lost = on_lost
        self._parts: list[bytes] = []
        self.on_body: Callable[[bytes], None] = self._parts.append
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._reader: Reader | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = 0.0
        self._trailing_by_s = 0.0  # while the rest of a stream is awaited that nobody reads
        self.idle_since_s = 0.0
        self._forget()

    def _forget(self) -> None:
        """Ready for the next answer."""
        self._headers: dict[str, str] = {}
        self._parts.clear()
        self._own_parts = 0  # once it is whole: what came in the same breath is no part of it
        self._untold_bytes = 0  # received since something was told
        self._status = 0
        self._has_head = False
        self._has_begun = False  # the reader knows the head
        self._is_whole = False
        self._is_kept = False  # it may be used again

    @property
    def is_open(self) -> bool:
        """It may be asked."""
        return self._transport is not None and not self._transport.is_closing()

    async def exchange(self, request: bytes, reader: Reader) -> None:
        """Send `request`, and tell `reader` the answer.

        Raises:
            TimeoutError: Nothing came by when it was due.
            ConnectionError: It broke off before the answer was whole.
        """
        assert self._transport is not None  # noqa: S101 - the pool hands out what is open
        self._reader, waiter = reader, self._loop.create_future()
        self._waiter = waiter
        self._transport.write(request)
        self._arm(reader.due_s)
        try:
            await waiter
        finally:
            self._reader = self._waiter = None
            if self._is_whole:
                self._free()
            elif reader.has_enough and not waiter.cancelled():
                self._trailing_by_s = self._loop.time() + TRAILING_S
                self._arm(self._trailing_by_s)
            else:
                self.abort()

    def abort(self) -> None:
        """End it now."""
        if self._transport is not None:
            self._transport.abort()

    def _free(self) -> None:
        self._trailing_by_s = 0.0
        if self._is_kept and self.is_open:
            self._forget()
            self.idle_since_s = self._loop.time()
            self._on_free(self)
        else:
            self.abort()

    # asyncio.Protocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is a class of its own

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self._waiter is None and not self._trailing_by_s:
            self.abort()  # nobody asked: rule 2
            return
        try:
            self._parser.feed_data(data)
            self._tell(len(data))
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as fault:
            self._end(BrokenOff(f"no HTTP: {type(fault).__name__}"))
        except Exception as fault:  # noqa: BLE001 - the reader's own, raised where it is awaited
            self._end(fault)

    def connection_lost(self, exc: BaseException | None) -> None:
        """See asyncio.Protocol."""
        if self._timer is not None:
            self._timer.cancel()
        self._transport = None
        # A body without a length ends where the connection does. Source: RFC 9112, section 6.3.
        is_end = exc is None and self._has_head and not self._is_framed
        self._end(None if is_end else BrokenOff("the upstream closed the connection"))
        self._on_lost(self)

    # httptools' callbacks.

    def on_message_begin(self) -> None:
        """Another answer begins; beside the one that was asked for there may be none."""
        if self._is_whole:
            self._is_kept = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """One line of the head, or of what may follow a body."""
        if not self._has_head:
            text = value.decode("utf-8", "surrogateescape")
            self._headers[name.decode("latin-1").lower()] = text

    def on_headers_complete(self) -> None:
        """The head is whole."""
        if not self._is_whole:
            self._status = self._parser.get_status_code()
            self._has_head = self._status not in _BEFORE_THE_ANSWER

    def on_message_complete(self) -> None:
        """The answer is whole, unless it is one of those that come before it."""
        if self._is_whole:
            return
        if self._has_head:
            self._is_whole, self._own_parts = True, len(self._parts)
            self._is_kept = self._parser.should_keep_alive()
        else:
            self._headers.clear()

    # What becomes of it.

    @property
    def _is_framed(self) -> bool:
        return "content-length" in self._headers or "transfer-encoding" in self._headers

    def _tell(self, received_bytes: int) -> None:
        """Tell the reader what has come, and the caller if that is all."""
        reader, parts = self._reader, self._parts
        if reader is not None and self._has_head and not self._has_begun:
            self._has_begun = True
            reader.begin(self._status, self._headers)
        if self._is_whole:
            del parts[self._own_parts :]
            self._own_parts = 0
        if parts:
            data = parts[0] if len(parts) == 1 else b"".join(parts)
            parts.clear()
            if reader is not None and not reader.has_enough:
                reader.feed(data)
            self._untold_bytes = 0
        else:
            self._untold_bytes += received_bytes
            if self._untold_bytes > MAX_HEAD_BYTES:
                raise BrokenOff("a head without an end")
        if reader is None:
            if self._is_whole:
                self._free()
        elif self._is_whole or reader.has_enough:
            self._end(None)
        elif reader.due_s < self._timer_s:
            self._arm(reader.due_s)

    def _end(self, fault: BaseException | None) -> None:
        """Tell who waits what became of it; where nobody does, the connection is of no use."""
        if self._waiter is None:
            self.abort()
        elif not self._waiter.done():
            if fault is None:
                self._waiter.set_result(None)
            else:
                self._waiter.set_exception(fault)

    def _arm(self, due_s: float) -> None:
        if self._timer is not None:
            if self._timer_s <= due_s:
                return
            self._timer.cancel()
        self._timer, self._timer_s = self._loop.call_at(due_s, self._look), due_s

    def _look(self) -> None:
        """Something was due."""
        self._timer, self._timer_s = None, 0.0
        due_s = self._reader.due_s if self._reader is not None else self._trailing_by_s
        if due_s > self._loop.time():
            self._arm(due_s)
        elif due_s:
            self._end(TimeoutError())
