"""A connection's bytes in; the answer at once where it is known, else all of it to aiohttp.

It is aiohttp's protocol with one step before it: a whole request that came alone, on a connection
that waits for one, may be answered on the spot (`Givens`). Nothing else is changed, and whatever is
not as plain as can be is not looked at here: see `heads`.

Rule 1: bytes are either answered here or passed on, each once, in order.
Rule 2: nothing is answered here while aiohttp reads or answers a request of this connection, nor
        once it is not known any more where its next one begins.
Rule 3: what is not known is asked here too, if it is a chat request that came whole (`Asked`):
        then what the caller sends meanwhile waits, as much of it as one request may be.
Rule 4: a request whose body is not there yet is held for a moment: many clients send the two
        apart. So is one that came before aiohttp's task came round to waiting for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, Protocol

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from sidecar.web.heads import MAX_ASKED_BYTES, Head, Heads

HELD_S: Final = 1.0
"""Chosen: a body sent apart follows within milliseconds; a slow one is aiohttp's to wait for."""

_LOST: Final = -1


class Line(Protocol):
    """The caller's connection."""

    @property
    def is_full(self) -> bool:
        """He has yet to take what was written."""
        ...

    def ends(self) -> bool:
        """Whether it ends after this answer, whose head is being written: decided now."""
        ...

    def write(self, data: bytes) -> None:
        """Send it; where he has gone, nothing happens."""
        ...

    async def drained(self) -> None:
        """Wait until it is not full."""
        ...

    def abort(self) -> None:
        """End it now."""
        ...


class Asked(Protocol):
    """Whoever answers requests right here: `straight.Straight`."""

    def takes(self, head: Head) -> bool:
        """It is his to answer."""
        ...

    async def answer(self, head: Head, body: bytes, line: Line) -> None:
        """Write the answer, to its last byte."""
        ...


class Known(Protocol):
    """Whoever knows answers: `Givens`, or a front's share of them.

    Attributes:
        is_shut: Nothing is given any more; each answer is its connection's last.
        straight: Who answers what is not known; None leaves that to aiohttp.
    """

    is_shut: bool
    straight: Asked | None

    @property
    def heads(self) -> Heads:
        """What requests began with lately."""
        ...

    def find(self, key: bytes) -> bytes | None:
        """The whole answer to the request with this key."""
        ...


class Quick(RequestHandler):
    """One connection."""

    __slots__ = ("_asking", "_givens", "_heads", "_held", "_is_ending", "_owed", "_timer")

    def __init__(self, server: web.Server, givens: Known, **more: Any) -> None:
        """`more` is aiohttp's own."""
        super().__init__(server, loop=asyncio.get_running_loop(), **more)
        self._givens = givens
        self._heads = givens.heads
        self._held = b""
        self._owed = 0  # bytes of a body that was begun; `_LOST` if it is not known
        self._timer: asyncio.Handle | None = None
        self._asking: asyncio.Task[None] | None = None
        self._is_ending = False

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if not data:  # aiohttp to itself: look again at what was paused
            super().data_received(data)
            return
        if self._asking is not None:
            self._keep_for_later(data)
            return
        if self._held:
            data = self._let_go() + data
        self._take(data, may_wait=True)

    def _take(self, data: bytes, *, may_wait: bool) -> None:
        if self._owed != 0:
            self._pass_on(data, None)
        elif self._is_idle():
            self._look(data, may_wait=may_wait)
        elif may_wait and self._is_turning():
            self._hold(data, self._loop.call_soon(self._waited))
        else:
            self._pass_on(data, None)

    def _look(self, data: bytes, *, may_wait: bool) -> None:
        head = self._heads.find(data)
        if head is None or head.asked is None or head.body_bytes > MAX_ASKED_BYTES:
            self._pass_on(data, head)
            return
        missing = head.end + head.body_bytes - len(data)
        if missing > 0 and may_wait:
            self._hold(data, self._loop.call_later(HELD_S, self._waited))
        elif missing or not (self._answered(head, data) or self._asked(head, data)):
            self._pass_on(data, head)

    def connection_lost(self, exc: BaseException | None) -> None:
        """See asyncio.Protocol."""
        self._let_go()
        super().connection_lost(exc)
        if self._asking is not None:
            self._asking.cancel()

    async def shutdown(self, timeout: float | None = 15.0) -> None:  # noqa: ASYNC109 - aiohttp's own name
        """See aiohttp: end it, whatever is under way."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])
        await super().shutdown(timeout)

    def _is_idle(self) -> bool:
        """Aiohttp waits for a request, and the caller takes what he is sent."""
        waiter = self._waiter
        is_ending = self._close or self._force_close
        return waiter is not None and not waiter.done() and not is_ending and not self._paused

    def _is_turning(self) -> bool:
        """Aiohttp has answered, and its task has yet to come round to waiting for the next one."""
        is_ending = self._close or self._force_close
        is_between = self._waiter is None and not self._request_in_progress
        return is_between and not self._messages and not is_ending

    def _answered(self, head: Head, data: bytes) -> bool:
        told = self._givens.find(head.key(data[head.end :]))
        if told is None or self.transport is None:
            return False
        self.transport.write(told)
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        return True

    # What is asked here.

    def _asked(self, head: Head, data: bytes) -> bool:
        """Somebody answers it from here; False leaves it to aiohttp."""
        straight = self._givens.straight
        if straight is None or self.transport is None or not straight.takes(head):
            return False
        asking = straight.answer(head, data[head.end :], self)
        self._asking = self._loop.create_task(asking)
        self._asking.add_done_callback(self._was_answered)
        return True

    def _keep_for_later(self, data: bytes) -> None:
        self._held += data
        if len(self._held) > MAX_ASKED_BYTES and self.transport is not None:
            self.transport.pause_reading()

    def _was_answered(self, asking: asyncio.Task[None]) -> None:
        self._asking = None
        if self.transport is None:
            return
        if self._is_ending or asking.cancelled() or asking.exception() is not None:
            self.force_close()
            return
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if held := self._let_go():
            self.transport.resume_reading()
            self._take(held, may_wait=True)

    def _process_keepalive(self) -> None:
        """See aiohttp: a connection on which something is being answered is not idle."""
        if self._asking is not None:
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        super()._process_keepalive()

    # See `straight.Line`.

    @property
    def is_full(self) -> bool:
        """The caller has yet to take what was written."""
        return self._paused

    def ends(self) -> bool:
        """Whether it ends after this answer, whose head is being written: decided now."""
        self._is_ending = self._givens.is_shut
        return self._is_ending

    def write(self, data: bytes) -> None:
        """Send it; where he has gone, nothing happens."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    async def drained(self) -> None:
        """Wait until it is not full."""
        await self._drain_helper()

    def abort(self) -> None:
        """End it now."""
        if self.transport is not None:
            self.transport.abort()

    # What is aiohttp's.

    def _pass_on(self, data: bytes, head: Head | None) -> None:
        if self._owed == 0:
            head = head or self._heads.find(data)
            self._owed = head.end + head.body_bytes if head is not None else _LOST
        if self._owed != _LOST:
            self._owed = max(_LOST, self._owed - len(data))
        super().data_received(data)

    def _hold(self, data: bytes, timer: asyncio.Handle) -> None:
        self._held, self._timer = data, timer

    def _let_go(self) -> bytes:
        if self._timer is not None:
            self._timer.cancel()
        held, self._held, self._timer = self._held, b"", None
        return held

    def _waited(self) -> None:
        self._take(self._let_go(), may_wait=False)


def quick(givens: Known, **more: Any) -> Callable[[Any], asyncio.BaseProtocol]:
    """What makes a server's connections; `more` is aiohttp's own."""
    return lambda server: Quick(server, givens, **more)
