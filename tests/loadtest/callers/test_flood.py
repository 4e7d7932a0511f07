"""The generator: each answer is heard to its end, and a latency counts from when it was due."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from loadtest.callers.flood import closed, opened

WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
REFUSED = b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n"

Serve = Callable[..., Awaitable[str]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """A server that says one thing, in pieces."""
    servers: list[asyncio.Server] = []

    async def started(answer: bytes, piece: int = 1_000, wait_s: float = 0.0) -> str:
        async def told(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while await reader.read(1_000):
                await asyncio.sleep(wait_s)
                for at in range(0, len(answer), piece):
                    writer.write(answer[at : at + piece])
                    await asyncio.sleep(0)
            writer.close()

        servers.append(await asyncio.start_server(told, "127.0.0.1", 0))
        return f"http://127.0.0.1:{servers[-1].sockets[0].getsockname()[1]}"

    yield started
    for server in servers:
        server.close()
        await server.wait_closed()
    await asyncio.sleep(0.01)


@pytest.mark.parametrize("answer", [WHOLE, CHUNKED], ids=["whole", "chunked"])
@pytest.mark.parametrize("piece", [1, 7, 1_000])
async def test_an_answer_ends_where_it_says(serve: Serve, answer: bytes, piece: int) -> None:
    """However it is cut: one answer for each request, and none has failed."""
    url = await serve(answer, piece)
    flooded = await closed(url, itertools.repeat(b"x"), at_once=3, seconds=0.05)
    assert len(flooded.latencies_s) >= 3
    assert flooded.failed == 0


async def test_a_refusal_is_counted(serve: Serve) -> None:
    """An answer of another status is no answer to be proud of."""
    flooded = await closed(await serve(REFUSED), itertools.repeat(b"x"), at_once=1, seconds=0.02)
    assert flooded.failed == len(flooded.latencies_s) > 0


async def test_a_late_request_counts_from_when_it_was_due(serve: Serve) -> None:
    """With one connection and a slow server the queue's wait is in the latencies."""
    url = await serve(WHOLE, wait_s=0.02)
    flooded = await opened(url, itertools.repeat(b"x"), per_second=200, seconds=0.1, at_most=1)
    assert len(flooded.latencies_s) == 20
    # The last was due after 0.095 s and had its turn after twenty times 0.02 s, or later.
    assert max(flooded.latencies_s) > 0.3


async def test_a_server_that_is_not_there_is_no_end_of_the_run() -> None:
    """Each connection that it does not take is a request that failed."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # it is bound and does not listen
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        flooded = await closed(url, itertools.repeat(b"x"), at_once=3, seconds=0.02)
        assert (flooded.asked, flooded.answered, flooded.rate) == (3, 0, 0.0)
        flooded = await opened(url, itertools.repeat(b"x"), per_second=100, seconds=0.05, at_most=2)
    assert (flooded.asked, flooded.answered) == (5, 0)


async def test_what_an_answer_does_not_say_is_counted(serve: Serve) -> None:
    """The head is read, whatever its letters."""
    url, raws = await serve(WHOLE), itertools.repeat(b"x")
    said = await closed(url, raws, at_once=1, seconds=0.02, expects=b"content-length: 5")
    unsaid = await closed(url, raws, at_once=1, seconds=0.02, expects=b"hit-exact")
    assert (said.unlike, unsaid.unlike) == (0, unsaid.answered)
    assert unsaid.answered > 0
