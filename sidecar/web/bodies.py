"""A request's body, read whole: within its time, as it stands, or a refusal.

How long it may be is the server's own rule (`client_max_size`, a 413). The server is told not to
unpack anything, so that a small body cannot become a large one on its way in. How much all of them
together may take is a `BodyRoom`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from sidecar.errors import AdmissionRefused, MalformedRequest

BODY_S: Final = 30.0
"""Chosen: 16 MiB at 4 Mbit/s; who is slower than that holds a place that others want."""


SHORT_BYTES: Final = 64 * 1024
"""Chosen: bodies up to it are not counted; a thousand of them inside are 64 MiB."""


class BodyRoom:
    """How many bytes of long bodies are inside. Lives on the event loop's thread."""

    def __init__(self, max_bytes: int) -> None:
        self._left = max_bytes

    @contextmanager
    def taken(self, size_bytes: int) -> Iterator[None]:
        """Have so much of it while the block runs.

        Raises:
            AdmissionRefused: There is not so much left.
        """
        if size_bytes > self._left:
            told = "too many long requests are inside"
            raise AdmissionRefused(told, reason="bodies_full", retry_after_s=1.0)
        self._left -= size_bytes
        try:
            yield
        finally:
            self._left += size_bytes


def long_bodies_bounded(
    room: BodyRoom, max_body_bytes: int, refused: Callable[[str], None]
) -> Middleware:
    """The middleware that lets a long body in where there is room, from its first byte to its end.

    One that does not tell its length is reckoned with the longest. `refused` hears why not.
    """

    @web.middleware
    async def bounded(request: web.Request, handler: Handler) -> web.StreamResponse:
        told = request.content_length
        size = told if told is not None else max_body_bytes if request.can_read_body else 0
        if size <= SHORT_BYTES:
            return await handler(request)
        try:
            with room.taken(min(size, max_body_bytes)):  # a longer one is refused when it is read
                return await handler(request)
        except AdmissionRefused as fault:
            if fault.reason == "bodies_full":
                refused(fault.reason)
            raise

    return bounded


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
