"""Payloads in, server-sent events out, and an honest end whatever happens on the way."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from typing import Final

import orjson
from aiohttp import web

from sidecar.errors import SidecarError
from sidecar.replies import Reply
from sidecar.web.connections import SEND_S, taken
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


async def send(request: web.Request, reply: Reply, budget_s: float = SEND_S) -> web.StreamResponse:
    """The reply's events, then `[DONE]`; or the fault as an event, and no `[DONE]`.

    Raises:
        ConnectionError: The caller left, or took nothing for `budget_s`.
    """
    assert reply.events is not None  # noqa: S101 - called for streams only
    response = web.StreamResponse(headers={**reply.headers, **STREAM_HEADERS})

    async def tell(data: bytes) -> None:
        await taken(request, response.write(data), budget_s)

    await response.prepare(request)
    try:
        async with aclosing(reply.events) as events:
            async for payload in events:
                await tell(event(payload))
        await tell(DONE)
    except SidecarError as fault:
        # Words were sent: the status cannot be taken back, so the stream ends as an error.
        # The connection stays: its head has said so, and who asks again at once would meet its end.
        await tell(event(orjson.dumps(error_body(fault))))
    await taken(request, response.write_eof(), budget_s)
    return response
