"""A request as it came in, the owner's answer as it comes out: the way of all that is no hit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from sidecar.errors import OwnerGone
from sidecar.front.reply import KEY_HEADER
from sidecar.web.connections import PIECE_BYTES, taken

_HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Source: RFC 9110, section 7.6.1, and RFC 2616, section 13.5.1."""

_NOT_PASSED: Final = _HOP_BY_HOP | {KEY_HEADER}
"""What a caller writes and the owner does not read; the key is for fronts alone to tell."""

_SET_ANEW: Final = _HOP_BY_HOP | {"content-length", "date", "server"}

_CONNECT_S: Final = 5.0
"""Chosen: the owner is on this machine; if it takes longer it is not there."""


class Relay:
    """The connections to the owner. Lives on the event loop's thread."""

    def __init__(self, path: str, send_s: float) -> None:
        """`path` is the owner's Unix socket; what is sent may lie untaken for `send_s`."""
        self._send_s = send_s
        self._session = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(path, limit=0),
            # Deadlines are the owner's to keep.
            timeout=aiohttp.ClientTimeout(total=None, connect=_CONNECT_S),
            auto_decompress=False,
            skip_auto_headers=("accept", "accept-encoding", "content-type", "user-agent"),
        )

    async def answered(
        self, request: web.Request, body: bytes | None, told: Mapping[str, str]
    ) -> web.StreamResponse:
        """The owner's answer, sent on; `body` None: it is sent on as it comes in.

        `told` are headers of ours in place of the caller's.

        Raises:
            OwnerGone: Nobody answered.
        """
        headers = _passed(request.headers, _NOT_PASSED | told.keys())
        headers.update(told)
        is_open = body is None and request.can_read_body
        if is_open:
            headers.pop("expect", None)  # answered here already
        try:
            async with self._session.request(
                request.method,
                URL.build(scheme="http", host="owner", encoded=True).join(request.rel_url),
                headers=headers,
                data=request.content if is_open else body or None,
                allow_redirects=False,
            ) as response:
                return await self._sent_on(request, response)
        except aiohttp.ClientConnectionError as fault:
            raise OwnerGone("the cache's owner does not answer") from fault

    async def _sent_on(
        self, request: web.Request, response: aiohttp.ClientResponse
    ) -> web.StreamResponse:
        headers, length = _passed(response.headers, _SET_ANEW), response.content_length
        if length is not None and length <= PIECE_BYTES:
            raw = await response.read()
            return web.Response(status=response.status, headers=headers, body=raw)
        stream = web.StreamResponse(status=response.status, headers=headers)
        stream.content_length = length
        await stream.prepare(request)
        try:
            async for piece in response.content.iter_any():
                await taken(request, stream.write(piece), self._send_s)
        except aiohttp.ClientError:
            # Its end is not to be taken for the answer's: the connection breaks off here too.
            if request.transport is not None:
                request.transport.abort()
            return stream
        await taken(request, stream.write_eof(), self._send_s)
        return stream

    async def close(self) -> None:
        """Let go of the connections."""
        await self._session.close()


def _passed(headers: Mapping[str, str], left_out: frozenset[str]) -> CIMultiDict[str]:
    pairs = ((name, value) for name, value in headers.items() if name.lower() not in left_out)
    return CIMultiDict(pairs)
