"""Chat requests that are answered straight on their connection, byte by byte."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from tests.integration.conftest import Running, Start


def asked(content: str, *headers: str, **fields: object) -> bytes:
    body = {"model": "small", "messages": [{"role": "user", "content": content}], **fields}
    raw = json.dumps(body).encode()
    lines = ("host: x", f"content-length: {len(raw)}", *headers)
    return (
        "POST /v1/chat/completions HTTP/1.1\r\n" + "\r\n".join(lines) + "\r\n\r\n"
    ).encode() + raw


@asynccontextmanager
async def connected(
    sidecar: Running,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    url = urlsplit(sidecar.url)
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """The head and the body of the next one, which tells its length."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r")[0])
    return head, await reader.readexactly(length)


async def test_what_is_sent_before_an_answer_is_there_is_answered_after_it(start: Start) -> None:
    """In order, each once, on the same connection."""
    sidecar = await start()
    past = "x-sidecar-bypass: 1"
    async with connected(sidecar) as (reader, writer):
        for number in range(3):
            writer.write(asked(f"What is {number} plus 1?", past))
            await asyncio.sleep(0)
        told = [json.loads((await answer(reader))[1]) for _ in range(3)]
    texts = [each["choices"][0]["message"]["content"] for each in told]
    assert [str(number + 1) in text for number, text in enumerate(texts)] == [True] * 3


async def test_a_fault_is_told_in_openais_shape_and_the_connection_stays(start: Start) -> None:
    """With the request's id, as behind the long way."""
    sidecar = await start()
    async with connected(sidecar) as (reader, writer):
        for _ in range(2):
            writer.write(asked("Hello?", model="nobody"))
            head, body = await answer(reader)
            assert head.startswith(b"HTTP/1.1 404 Not Found\r\n")
            assert b"x-sidecar-request-id: req-" in head
            assert json.loads(body)["error"]["code"] == "model_not_found"


async def test_a_page_is_kept_out_here_too(start: Start) -> None:
    """`Origin` has no business here, whichever way a request goes."""
    sidecar = await start()
    async with connected(sidecar) as (reader, writer):
        writer.write(asked("Hello?", "origin: https://evil.example"))
        assert (await answer(reader))[0].startswith(b"HTTP/1.1 403 ")


async def test_while_it_drains_each_answer_is_its_connections_last(start: Start) -> None:
    """It says so, and the connection ends."""
    sidecar = await start()
    async with connected(sidecar) as (reader, writer):
        sidecar.givens.is_shut = True
        writer.write(asked("What is 2 plus 2?"))
        head, _ = await answer(reader)
        assert b"connection: close\r\n" in head
        assert await reader.read() == b""


async def test_who_leaves_takes_his_request_along(start: Start) -> None:
    """Nobody is inside any more once he has gone."""
    sidecar = await start()
    async with connected(sidecar) as (_, writer):
        writer.write(asked("Tell me a very long story about the sea."))
        while not sidecar.lasting.admission.in_flight:
            await asyncio.sleep(0.005)
    while sidecar.lasting.admission.in_flight:
        await asyncio.sleep(0.005)
    assert len(sidecar.lasting.coalesce) == 0


VENDOR = """
[[upstreams]]
name = "v"
kind = "openai"
api_key = "k"
base_url = "http://127.0.0.1:{port}/v1"

[[tiers]]
name = "small"
model = "m"
upstreams = ["v"]
"""


@pytest.mark.parametrize("headers", [(), ("x-sidecar-bypass: 1",)], ids=["shared", "alone"])
@pytest.mark.parametrize("stream", [False, True])
async def test_who_leaves_a_vendor_that_is_silent_ends_the_call(
    start: Start, headers: tuple[str, ...], *, stream: bool
) -> None:
    """Whether he could be followed or not; nobody climbs, listens or is inside any more."""
    was_asked, was_left = asyncio.Event(), asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")
        was_asked.set()
        await reader.read()  # until the other side hangs up
        writer.close()
        was_left.set()

    vendor = await asyncio.start_server(hang, "127.0.0.1", 0)
    async with vendor:
        sidecar = await start(VENDOR.format(port=vendor.sockets[0].getsockname()[1]))
        async with connected(sidecar) as (_, writer):
            writer.write(asked("Is anybody there?", *headers, stream=stream))
            await was_asked.wait()
            assert sidecar.lasting.coalesce.listeners == 1
        await was_left.wait()
        while sidecar.lasting.admission.in_flight:
            await asyncio.sleep(0.005)
    assert (len(sidecar.lasting.coalesce), sidecar.lasting.coalesce.listeners) == (0, 0)
    assert [each.in_flight for each in sidecar.lasting.fleet.standings()] == [0]
