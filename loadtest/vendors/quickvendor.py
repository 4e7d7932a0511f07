"""A vendor that costs next to nothing: the same answer to everybody, whole or as a stream.

What is measured with it behind is the proxy before it. A stream's events leave one by one, as a
model's tokens do, a little apart.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
from typing import Any, Final, cast

import uvloop

WORDS: Final = 40
"""Chosen: events of a stream, each a word; a short answer's."""

GAP_S: Final = 0.0005
"""Chosen: between two of them, so that each comes in a packet of its own."""

_HEAD: Final[dict[str, Any]] = {"id": "chatcmpl-1", "created": 1, "model": "demo-small"}
_STREAM_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)
_USAGE: Final = {"prompt_tokens": 12, "completion_tokens": 80, "total_tokens": 92}


def whole() -> bytes:
    """The answer on the wire."""
    message = {"role": "assistant", "content": "word " * WORDS}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    told = {**_HEAD, "object": "chat.completion", "choices": choices, "usage": _USAGE}
    body = json.dumps(told).encode()
    head = (
        f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def events() -> list[bytes]:
    """The same as a stream's events, each a chunk on the wire; the last one ends it."""

    def chunk(*choices: dict[str, Any], **more: Any) -> bytes:
        told = {**_HEAD, "object": "chat.completion.chunk", "choices": choices, **more}
        return b"data: " + json.dumps(told).encode() + b"\n\n"

    def said(delta: dict[str, str], finish: str | None = None) -> bytes:
        return chunk({"index": 0, "delta": delta, "finish_reason": finish})

    told = [said({"role": "assistant", "content": ""})]
    told += [said({"content": "word "}) for _ in range(WORDS)]
    told += [said({}, "stop"), chunk(usage=_USAGE), b"data: [DONE]\n\n"]
    return [*(b"%x\r\n%s\r\n" % (len(each), each) for each in told), b"0\r\n\r\n"]


class QuickVendor(asyncio.Protocol):
    """One connection."""

    def __init__(self, whole: bytes, events: list[bytes]) -> None:
        self._whole = whole
        self._events = events
        self._held = b""
        self._telling: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is a class of its own

    def connection_lost(self, _exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        for task in self._telling:
            task.cancel()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._held += data
        head, end, body = self._held.partition(b"\r\n\r\n")
        if not end:
            return
        _, _, told = head.lower().partition(b"content-length: ")
        if len(body) < int(told.split(b"\r", 1)[0] or 0):
            return
        self._held = b""
        if head.startswith(b"GET"):
            self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        elif b'"stream":true' in body.replace(b" ", b""):
            task = asyncio.get_running_loop().create_task(self._stream())
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)
        else:
            self._transport.write(self._whole)

    async def _stream(self) -> None:
        self._transport.write(_STREAM_HEAD)
        for event in self._events:
            self._transport.write(event)
            await asyncio.sleep(GAP_S)


async def _serve(port: int) -> None:
    told = whole(), events()
    server = await asyncio.get_running_loop().create_server(
        lambda: QuickVendor(*told), "127.0.0.1", port
    )
    await server.serve_forever()


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    args = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(_serve(args.port))


if __name__ == "__main__":
    main()
