"""Bytes that no vendor would send as an answer, cut anywhere: an answer, or a fault with a name.

Whatever else came out would be a 500 to the caller, where another upstream might have answered.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sidecar.errors import ProviderError
from sidecar.providers.connection import Connection
from sidecar.providers.reading import Body, Events

PACKED = gzip.compress(b'data: {"choices": []}\n\n' * 9)
lines = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n",
        b"HTTP/1.0 200 \r\n",
        b"HTTP/1.1 204 x\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 101 x\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 429 no\r\nretry-after: nan\r\n",
        b"HTTP/9.9 999 \xff\r\n",
        b"content-type: text/event-stream; \xff\r\n",
        b"content-length: 5\r\n",
        b"content-length: 18446744073709551616\r\n",
        b"content-length: -1\r\n",
        b"transfer-encoding: chunked\r\n",
        b"transfer-encoding: gzip, chunked\r\n",
        b"content-encoding: gzip\r\n",
        b"connection: close\r\n",
        b"\xff\xfe: \xff\r\n",
        b": \r\n",
        b" folded\r\n",
        b"\r\n",
        b"5\r\nhello\r\n",
        b"5;a=\xff\r\nhello\r\n",
        b"ffffffffffffffff\r\n",
        b"0\r\n\r\n",
        b"0\r\ncontent-length: 7\r\n\r\n",
        b"data: {}\n\n",
        b"data: [DONE]\n\n",
        PACKED,
        b"%x\r\n%s\r\n" % (len(PACKED), PACKED),
        PACKED[:20],
        b"\x00",
    ]
) | st.binary(max_size=12)


class _Wire(asyncio.Transport):
    """Takes what is sent, and tells its protocol when it ends."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._protocol = protocol
        self._is_ended = False

    def write(self, data: Any) -> None:
        """See asyncio.Transport."""

    def is_closing(self) -> bool:
        """See asyncio.Transport."""
        return self._is_ended

    def abort(self) -> None:
        """See asyncio.Transport."""
        self.ends(None)

    def ends(self, exc: Exception | None) -> None:
        """It is over."""
        if not self._is_ended:
            self._is_ended = True
            self._protocol.connection_lost(exc)


async def _answered(packets: Sequence[bytes], *, stream: bool) -> None:
    freed, lost = list[Connection](), list[Connection]()
    connection = Connection(freed.append, lost.append)
    wire = _Wire(connection)
    connection.connection_made(wire)
    end_s = asyncio.get_running_loop().time() + 60.0
    reader = (
        Events("u", 60.0, end_s, first_by_s=end_s, hear=lambda _: None, tell=lambda _: None)
        if stream
        else Body("u", 60.0, end_s)
    )
    asked = asyncio.create_task(connection.exchange(b"a question", reader))
    await asyncio.sleep(0)
    for packet in packets:
        if not wire.is_closing():
            connection.data_received(packet)
    wire.ends(None)
    try:
        await asked
    except (ConnectionError, ProviderError):
        return
    finally:
        assert lost == [connection]
    assert 200 <= reader.status <= 999


@pytest.mark.fuzz
@pytest.mark.timeout(7_200)
@given(
    raw=st.lists(lines, max_size=16).map(b"".join), cuts=st.lists(st.integers(0, 400)), stream=...
)
@example(raw=b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", cuts=[3, 40], stream=False)
def test_whatever_an_upstream_sends_is_an_answer_or_its_fault(
    raw: bytes, cuts: list[int], *, stream: bool
) -> None:
    """No other exception, and the connection is accounted for, wherever the packets end."""
    edges = [0, *sorted({min(cut, len(raw)) for cut in cuts}), len(raw)]
    packets = [raw[begin:end] for begin, end in pairwise(edges) if end > begin]
    asyncio.run(_answered(packets, stream=stream))
