"""A chat request's head and body in, its answer onto the connection that they came on.

For requests as plain as can be that came whole (see `heads`, `quick`). What aiohttp would do for
them is to read them once more, and to carry each piece of the answer through its own streams; all
that is decided is decided where it is for any other request, in `OpenAIApi.answered`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final

from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import SERVER_SOFTWARE

from sidecar.errors import SidecarError
from sidecar.options import Options, parse_options
from sidecar.replies import Reply
from sidecar.web.connections import PIECE_BYTES
from sidecar.web.heads import CHAT, Head, fresh_request_id
from sidecar.web.middleware import fault_told
from sidecar.web.openai_api import OpenAIApi
from sidecar.web.quick import Line
from sidecar.web.sse import DONE, STREAM_HEADERS, events, fault_event

_NOT_HERE: Final = "origin"
"""A page's request: `middleware.pages_kept_out` says what becomes of it."""


_PHRASES: Final = {each.value: each.phrase for each in HTTPStatus}
_CHUNKED: Final = "transfer-encoding: chunked"
_LAST_CHUNK: Final = b"0\r\n\r\n"


class Straight:
    """Answers chat requests. Holds nothing between two of them."""

    def __init__(
        self, api: OpenAIApi, *, max_body_bytes: int, send_s: float, logger: logging.Logger
    ) -> None:
        """`send_s` is how long what was sent may lie untaken."""
        self._api = api
        self._send_s = send_s
        self._max_body_bytes = max_body_bytes
        self._logger = logger

    def takes(self, head: Head) -> bool:
        """Nothing about it is for others to say."""
        return head.body_bytes <= self._max_body_bytes and _NOT_HERE not in head.headers

    async def answer(self, head: Head, body: bytes, line: Line) -> None:
        """The answer, or the fault, to its last byte; never an exception but a cancellation."""
        request_id, sent = fresh_request_id(), _Sent(line, self._send_s)

        def options_of(headers: Mapping[str, str]) -> Options:
            if head.options is None:
                head.options = parse_options(headers)
            return head.options

        async def read() -> bytes:
            return body

        try:
            await self._api.answered(
                request_id, head.headers, options_of=options_of, read=read, send=sent.reply
            )
        except Exception as fault:  # noqa: BLE001 - see `fault_told`
            told = fault_told(fault, CHAT, self._logger)
            if sent.has_begun:
                line.abort()  # its head is out, and nothing else may follow
            else:
                headers = {"x-sidecar-request-id": request_id, **told.headers}
                body = told.body if isinstance(told.body, bytes) else b""
                line.write(sent.head(told.status, headers, f"content-length: {len(body)}") + body)


class _Sent:
    """One answer on its way; a stream's sink, too (see `replies.Sink`).

    What is long goes piece by piece, the next one when the last one was taken: see `connections`.
    """

    def __init__(self, line: Line, send_s: float) -> None:
        self._line = line
        self._send_s = send_s
        self._head = b""  # of a stream, until there is something to send with it
        self._waiting: list[bytes] = []  # too long to be sent at once; the first is being sent
        self.has_begun = False

    async def reply(self, reply: Reply) -> None:
        """The whole of it; raises ConnectionError where the caller takes nothing."""
        if reply.pour is not None:
            self._head = self.head(200, {**reply.headers, **STREAM_HEADERS}, _CHUNKED)
            await self._stream(reply)
            return
        body = reply.body or b""
        framing = f"content-type: application/json\r\ncontent-length: {len(body)}"
        head = self.head(200, reply.headers, framing)
        first, *others = _pieces(body)
        self._line.write(head + first)
        await self._taken()
        for piece in others:
            self._line.write(piece)
            await self._taken()

    async def _stream(self, reply: Reply) -> None:
        assert reply.pour is not None  # noqa: S101 - a stream's
        try:
            last = events(await reply.pour(self)) + DONE
        except SidecarError as fault:
            last = fault_event(fault)
        await self.room()
        *earlier, end = _pieces(last)
        for piece in earlier:
            self._chunk(piece, b"")
            await self._taken()
        self._chunk(end, _LAST_CHUNK)
        await self._taken()

    def head(self, status: int, headers: Mapping[str, str], framing: str) -> bytes:
        """The answer's, `framing` being the lines that say where its body ends."""
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        ends = max(lines.count("\n"), lines.count("\r"))
        if ends > len(headers) or "\0" in lines:
            raise ValueError("a header holds the end of a line, and would begin another one")
        self.has_begun = True
        stays = "connection: close\r\n" if self._line.ends() else ""
        return (
            f"HTTP/1.1 {status} {_PHRASES.get(status, '')}\r\n"
            f"{lines}{stays}{framing}\r\ndate: {rfc822_formatted_time()}\r\n"
            f"server: {SERVER_SOFTWARE}\r\n\r\n"
        ).encode("utf-8", "surrogateescape")

    @property
    def is_full(self) -> bool:
        """See `replies.Sink`."""
        return bool(self._waiting) or self._line.is_full

    def write(self, payloads: Sequence[bytes]) -> None:
        """See `replies.Sink`."""
        data = events(payloads)
        if self._waiting or len(data) > PIECE_BYTES:
            self._waiting.append(data)
        elif data:
            self._chunk(data, b"")

    async def room(self) -> None:
        """See `replies.Sink`."""
        while self._waiting:
            for piece in _pieces(self._waiting[0]):
                self._chunk(piece, b"")
                await self._taken()
            self._waiting.pop(0)
        await self._taken()

    def _chunk(self, data: bytes, last: bytes) -> None:
        head, self._head = self._head, b""
        self._line.write(b"%s%x\r\n%s\r\n%s" % (head, len(data), data, last))

    async def _taken(self) -> None:
        """Wait until the caller has taken what was written."""
        if not self._line.is_full:
            return
        try:
            async with asyncio.timeout(self._send_s):
                await self._line.drained()
        except TimeoutError as fault:
            self._line.abort()
            told = "the caller did not take what he asked for"
            raise ConnectionAbortedError(told) from fault


def _pieces(data: bytes) -> list[bytes]:
    if len(data) <= PIECE_BYTES:
        return [data]
    return [data[begin : begin + PIECE_BYTES] for begin in range(0, len(data), PIECE_BYTES)]
