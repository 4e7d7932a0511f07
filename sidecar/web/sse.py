"""Payloads in, server-sent events out, and an honest end whatever happens on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import orjson
from aiohttp import web

from sidecar.errors import SidecarError
from sidecar.replies import Reply
from sidecar.web.connections import SEND_S, send_pieces, taken
from sidecar.web.middleware import error_body

STREAM_HEADERS: Final[Mapping[str, str]] = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    # nginx and its kin buffer a whole answer otherwise, and the caller sees no stream at all.
    "x-accel-buffering": "no",
}
"""Of every stream."""

DONE: Final = b"data: [DONE]\n\n"


def event(payload: bytes) -> bytes:
    """One event on the wire."""
    return b"data: " + payload + b"\n\n"


def events(payloads: Sequence[bytes]) -> bytes:
    """Several, one after the other; nothing for none."""
    return b"data: " + b"\n\ndata: ".join(payloads) + b"\n\n" if payloads else b""


def fault_event(fault: SidecarError) -> bytes:
    """The last event of a stream that ends in `fault`.

    Words were sent: the status cannot be taken back, so the stream ends as an error. The connection
    stays: its head has said so, and who asks again at once would meet its end.
    """
    return event(orjson.dumps(error_body(fault)))


async def send(request: web.Request, reply: Reply, budget_s: float = SEND_S) -> web.StreamResponse:
    """The reply's events, then `[DONE]`; or the fault as an event, and no `[DONE]`.

    Raises:
        ConnectionError: The caller left, or took nothing for `budget_s`.
    """
    assert reply.pour is not None  # noqa: S101 - called for streams only
    response = web.StreamResponse(headers={**reply.headers, **STREAM_HEADERS})
    await response.prepare(request)
    sink = _Response(request, response, budget_s)
    try:
        await sink.send(events(await reply.pour(sink)) + DONE)
    except SidecarError as fault:
        await sink.send(fault_event(fault))
    await taken(request, response.write_eof(), budget_s)
    return response


class _Response:
    """Aiohttp's response as a sink: full after each write, until that was taken."""

    def __init__(self, request: web.Request, response: web.StreamResponse, budget_s: float) -> None:
        self._request = request
        self._response = response
        self._budget_s = budget_s
        self._waiting: list[bytes] = []

    @property
    def is_full(self) -> bool:
        """See `replies.Sink`."""
        return bool(self._waiting)

    def write(self, payloads: Sequence[bytes]) -> None:
        """See `replies.Sink`."""
        self._waiting.append(events(payloads))

    async def room(self) -> None:
        """See `replies.Sink`."""
        await self.send(b"")

    async def send(self, last: bytes) -> None:
        """What waits, and `last`; raises ConnectionError."""
        data, self._waiting = b"".join([*self._waiting, last]), []
        await send_pieces(self._request, self._response, data, self._budget_s)
