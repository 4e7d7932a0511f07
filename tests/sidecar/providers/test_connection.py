"""Connections to upstreams, byte by byte: what an answer is, and when one may be asked again."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sidecar.errors import ProviderError, UpstreamGarbled
from sidecar.providers.client import EndpointConfig, HttpUpstream, TimeoutsConfig
from sidecar.providers.connection import MAX_HEAD_BYTES
from sidecar.providers.errors import UpstreamTooSlow, UpstreamUnreachable
from sidecar.providers.pool import Pools
from sidecar.providers.reading import Body
from sidecar.providers.wire import Call, Completion
from tests.patience import PatientDeadline
from tests.sidecar.providers.raw import raw, until

BODY = b'{"choices":[{"index":0,"message":{"content":"4"},"finish_reason":"stop"}]}'
WHOLE = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY)
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def chunked(*parts: bytes, ends: bool = True) -> bytes:
    told = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    return told + (b"0\r\n\r\n" if ends else b"")


@pytest.fixture
async def pools() -> AsyncIterator[Pools]:
    yield (opened := Pools(2))
    await opened.close()


def upstream(url: str, pools: Pools, **fields: Any) -> HttpUpstream:
    return HttpUpstream(EndpointConfig(name="u", base_url=url, **fields), pools)


def call(budget_s: float = 30.0, **fields: Any) -> Call:
    body = {"model": "m", "messages": [{"role": "user", "content": "2+2?"}]}
    return Call(body=body, tier="small", deadline=PatientDeadline.after_s(budget_s), **fields)


async def streamed(asked: HttpUpstream) -> list[bytes]:
    chunks: list[bytes] = []
    await asked.stream(call(), dict[str, str]().update, chunks.extend)
    return chunks


@pytest.mark.parametrize(
    ("answer", "closes"),
    [
        pytest.param(WHOLE, False, id="of-known-length"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunked(BODY[:9], BODY[9:]),
            False,
            id="in-chunks",
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n" + BODY, True, id="until-the-connection-ends"),
        pytest.param(b"HTTP/1.0 200 OK\r\n\r\n" + BODY, True, id="of-an-old-server"),
        pytest.param(
            b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + WHOLE, False, id="after-a-hint"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\ncontent-length: %d\r\n\r\n%s"
            % (len(gzip.compress(BODY)), gzip.compress(BODY)),
            False,
            id="packed",
        ),
    ],
)
async def test_an_answer_is_whole_however_it_is_framed(
    pools: Pools, answer: bytes, *, closes: bool
) -> None:
    """The framings that HTTP/1.1 knows."""
    async with raw(answer, closes=closes) as (_, url):
        completion = await upstream(url, pools).ask(call())
        assert completion.body["choices"][0]["message"]["content"] == "4"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        pytest.param(WHOLE[:-5], UpstreamUnreachable, id="shorter-than-its-length"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunked(BODY, ends=False),
            UpstreamUnreachable,
            id="chunks-without-their-end",
        ),
        pytest.param(b"", UpstreamUnreachable, id="nothing"),
        pytest.param(b"HTTP/1.1 200 OK\r\n", UpstreamUnreachable, id="half-a-head"),
        pytest.param(b"SSH-2.0-x\r\n", UpstreamUnreachable, id="no-http"),
        pytest.param(
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
            UpstreamUnreachable,
            id="another-protocol",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nx: " + b"y" * (MAX_HEAD_BYTES + 1),
            UpstreamUnreachable,
            id="a-head-without-end",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\nnone",
            UpstreamGarbled,
            id="packed-badly",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n"
            + chunked(BODY),
            UpstreamUnreachable,
            id="two-lengths",
        ),
    ],
)
async def test_what_is_not_whole_is_no_answer(
    pools: Pools, answer: bytes, kind: type[ProviderError]
) -> None:
    """Each end before the end is a fault, and a provider's."""
    async with raw(answer, closes=True) as (_, url):
        with pytest.raises(kind):
            await upstream(url, pools).ask(call())


async def test_a_connection_is_used_again(pools: Pools) -> None:
    """One after the other go over the same one."""
    async with raw(WHOLE) as (told, url):
        asked = upstream(url, pools)
        for _ in range(5):
            await asked.ask(call())
        assert (told.connections, len(told.heads)) == (1, 5)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(WHOLE.replace(b"OK\r\n", b"OK\r\nconnection: close\r\n"), id="said-so"),
        pytest.param(WHOLE + b"HTTP/1.1 200 OK\r\n", id="began-another-answer"),
        pytest.param(WHOLE + WHOLE, id="sent-two"),
    ],
)
async def test_a_connection_that_is_not_clean_is_not_used_again(
    pools: Pools, answer: bytes
) -> None:
    """What comes after an answer would be taken for the next one's: another caller's."""
    async with raw(answer) as (told, url):
        asked = upstream(url, pools)
        await asked.ask(call())
        await asked.ask(call())
        assert told.connections == 2


async def test_what_comes_unasked_ends_the_connection(pools: Pools) -> None:
    """An answer that nobody asked for is nobody's."""
    async with raw(WHOLE) as (told, url):
        asked, origin = upstream(url, pools), pools
        await asked.ask(call())
        connection = asked._pool.find()
        assert connection is not None
        connection.data_received(WHOLE)
        await until(lambda: not connection.is_open)
        await asked.ask(call())
        assert told.connections == 2
        assert origin is pools


async def test_what_follows_an_answer_is_no_part_of_it(pools: Pools) -> None:
    """Not even where it comes before whoever asked has woken up."""
    async with raw(WHOLE) as (told, url):
        asked, clock = upstream(url, pools), asyncio.get_running_loop().time
        await asked.ask(call())
        connection = asked._pool.find()
        assert connection is not None
        reader = Body("u", 30.0, clock() + 30.0)
        asking = asyncio.create_task(connection.exchange(b"x", reader))
        await asyncio.sleep(0)
        connection.data_received(WHOLE)
        connection.data_received(WHOLE)
        await asking
        assert reader.whole() == BODY
        await asked.ask(call())
        assert told.connections == 2


@pytest.mark.parametrize(
    ("tail", "connections"),
    [
        pytest.param(b"0\r\n\r\n", 1, id="with-the-end-of-its-chunks"),
        pytest.param(b"", 2, id="and-nothing-more"),
    ],
)
async def test_a_stream_ends_with_its_mark(pools: Pools, tail: bytes, connections: int) -> None:
    """Nobody waits for more; the connection is kept if its end comes along."""
    events = chunked(b'data: {"n":0}\n\n', b"data: [DONE]\n\n", ends=False)
    async with raw(STREAM + events + tail) as (told, url):
        asked = upstream(url, pools)
        assert await streamed(asked) == [b'{"n":0}']
        assert await streamed(asked) == [b'{"n":0}']
        assert told.connections == connections


async def test_a_stream_without_its_mark_tells_its_last_event(pools: Pools) -> None:
    """Whether the answer is whole is for its finish reasons to say."""
    events = b'data: {"n":0}\n\ndata: {"n":1}'
    async with raw(STREAM + chunked(events)) as (_, url):
        assert await streamed(upstream(url, pools)) == [b'{"n":0}', b'{"n":1}']


async def test_who_takes_a_chunk_may_end_the_stream(pools: Pools) -> None:
    """His fault is the call's, and the connection is not used again."""
    events = chunked(b'data: {"n":0}\n\n', ends=False)

    def refuse(_: object) -> None:
        raise UpstreamGarbled("no chunk")

    async with raw(STREAM + events) as (told, url):
        with pytest.raises(UpstreamGarbled):
            await upstream(url, pools).stream(call(), dict[str, str]().update, refuse)
        await until(lambda: told.left == 1)


async def test_who_leaves_ends_the_connection(pools: Pools) -> None:
    """The vendor hears of it at once, and writes no answer that nobody reads."""
    async with raw(b"HTTP/1.1 200 OK\r\n") as (told, url):
        asking = asyncio.create_task(upstream(url, pools).ask(call()))
        await until(lambda: bool(told.heads))
        asking.cancel()
        await asyncio.wait([asking])
        assert asking.cancelled()
        await until(lambda: told.left == 1)


@pytest.mark.parametrize(
    ("timeouts", "budget_s"),
    [
        pytest.param(TimeoutsConfig(read_s=0.05), 30.0, id="read"),
        pytest.param(TimeoutsConfig(total_s=0.05), 30.0, id="total"),
        pytest.param(TimeoutsConfig(), 0.05, id="deadline"),
    ],
)
async def test_each_limit_holds_on_a_connection_used_again(
    pools: Pools, timeouts: TimeoutsConfig, budget_s: float
) -> None:
    """One timer serves all of a connection's exchanges, the later of which may be shorter."""
    async with raw(WHOLE, b"HTTP/1.1 200 OK\r\n") as (_, url):
        await upstream(url, pools).ask(call())
        with pytest.raises(UpstreamTooSlow):
            await upstream(url, pools, timeouts=timeouts).ask(call(budget_s))


async def test_no_header_begins_another_one(pools: Pools) -> None:
    """What a caller may have smuggled into a value is not sent."""
    headers = {"traceparent": "00-1\r\nx-evil: 1", "tracestate": "a=1"}
    async with raw(WHOLE) as (told, url):
        await upstream(url, pools, headers={"X-Own": "é"}).ask(call(headers=headers))
        assert b"evil" not in told.heads[0]
        assert b"tracestate: a=1\r\n" in told.heads[0]
        assert "x-own: é\r\n".encode() in told.heads[0]


async def test_so_many_connections_and_the_others_wait(pools: Pools) -> None:
    """Two of five at a time; all are answered."""
    async with raw(WHOLE) as (told, url):
        asked = upstream(url, pools)
        told_all: list[Completion] = await asyncio.gather(*(asked.ask(call()) for _ in range(5)))
        assert len(told_all) == 5
        assert told.connections == 2


async def test_who_waits_in_line_waits_no_longer_than_his_time(pools: Pools) -> None:
    """And who leaves it takes no place along."""
    async with raw(b"HTTP/1.1 200 OK\r\n") as (told, url):
        asked = upstream(url, pools)
        holding = [asyncio.create_task(asked.ask(call())) for _ in range(2)]
        await until(lambda: len(told.heads) == 2)
        with pytest.raises(UpstreamTooSlow):
            await asked.ask(call(0.05))
        holding[0].cancel()
        third = asyncio.create_task(asked.ask(call()))
        await until(lambda: len(told.heads) == 3)
        for each in (*holding, third):
            each.cancel()
        await asyncio.wait([*holding, third])
        assert told.connections == 3
