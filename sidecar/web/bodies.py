"""A request's body, read whole: within its time, as it stands, or a refusal.

How long it may be is the server's own rule (`client_max_size`, a 413). The server is told not to
unpack anything, so that a small body cannot become a large one on its way in.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import orjson
from aiohttp import web

from sidecar.errors import MalformedRequest

BODY_S: Final = 30.0
"""Chosen: 16 MiB at 4 Mbit/s; who is slower than that holds a place that others want."""


async def read_body(request: web.Request, budget_s: float = BODY_S) -> bytes:
    """The body's bytes.

    Raises:
        HTTPException: 408 if it took longer than `budget_s`, 413 if it is too large, 415 if it is
            packed (`Content-Encoding`).
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise web.HTTPUnsupportedMediaType(
            text="send the body as it is, without a content-encoding",
            headers={"accept-encoding": "identity"},
        )
    if not request.can_read_body:
        return b""
    try:
        async with asyncio.timeout(budget_s):
            return await request.read()
    except TimeoutError as fault:
        raise web.HTTPRequestTimeout(text="the body came too slowly") from fault


def parse_object(raw: bytes) -> dict[str, Any]:
    """The JSON object that `raw` is.

    Raises:
        MalformedRequest: It is something else.
    """
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as fault:
        raise MalformedRequest("body", f"is no valid JSON: {fault}") from fault
    if not isinstance(body, dict):
        raise MalformedRequest("body", "must be a JSON object")
    return body
