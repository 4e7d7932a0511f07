"""What was given once is given again to the same bytes, at once, and only as long as it is true."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest

from cache.epochs import Selector
from sidecar.deadline import Deadline
from sidecar.overrides.override import Override
from sidecar.traffic.reader import read_folder
from sidecar.traffic.record import RequestRecord
from tests.integration.conftest import Running
from tests.patience import until

Start = Callable[..., Awaitable[Running]]

BODY = orjson.dumps({"model": "small", "messages": [{"role": "user", "content": "What is 3 + 4?"}]})
STREAM = orjson.dumps({**orjson.loads(BODY), "stream": True})


def request(body: bytes = BODY, *lines: str) -> bytes:
    told = ("host: here", f"content-length: {len(body)}", *lines)
    return (
        "POST /v1/chat/completions HTTP/1.1\r\n" + "\r\n".join(told) + "\r\n\r\n"
    ).encode() + body


class Wire:
    """One connection, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def ask(self, raw: bytes) -> tuple[dict[str, str], bytes]:
        self.writer.write(raw)
        return await self.heard()

    async def heard(self) -> tuple[dict[str, str], bytes]:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        assert first == "HTTP/1.1 200 OK"
        headers = {n.lower(): v for n, v in (line.split(": ", 1) for line in lines)}
        if "content-length" in headers:
            return headers, await self._reader.readexactly(int(headers["content-length"]))
        body = b""
        while size := int(await self._reader.readline(), 16):
            body += (await self._reader.readexactly(size + 2))[:-2]
        await self._reader.readline()
        return headers, body


Connect = Callable[[Running], Awaitable[Wire]]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Opens connections, and closes them at the end."""
    opened: list[Wire] = []

    async def to(running: Running) -> Wire:
        port = urlsplit(running.url).port
        opened.append(Wire(*await asyncio.open_connection("127.0.0.1", port)))
        return opened[-1]

    yield to
    for wire in opened:
        wire.writer.close()
        await wire.writer.wait_closed()


async def warm(wire: Wire, raw: bytes) -> tuple[dict[str, str], bytes]:
    """An exact hit that was asked for the long way: the next one is given again."""
    while (told := await wire.ask(raw))[0]["x-sidecar-cache"] != "hit-exact":
        await asyncio.sleep(0)
    return told


def new_each_time(told: dict[str, str]) -> dict[str, str]:
    names = {"x-sidecar-request-id", "x-sidecar-overhead-ms", "age", "date"}
    framing = {"content-length", "transfer-encoding"}
    return {name: value for name, value in told.items() if name not in names | framing}


async def test_the_same_bytes_are_told_the_same_with_another_id(
    start: Start, connect: Connect
) -> None:
    """Headers and body are those of the long way but for ids and times."""
    running = await start()
    wire = await connect(running)
    first_headers, first = await warm(wire, request())
    headers, body = await wire.ask(request())
    assert len(running.givens) == 1
    assert headers["x-sidecar-cache"] == "hit-exact"
    assert new_each_time(headers) == new_each_time(first_headers)
    assert headers["x-sidecar-request-id"] != first_headers["x-sidecar-request-id"]
    one, other = orjson.loads(first), orjson.loads(body)
    assert one.pop("id") != other.pop("id")
    assert {**one, "created": 0} == {**other, "created": 0}


LONG = "word " * 20_000
REPLAYED = """
[[upstreams]]
name = "rows"
kind = "replay"
path = "{path}"

[[tiers]]
name = "small"
model = "m"
upstreams = ["rows"]
price_in_usd_per_mtok = 0.1
price_out_usd_per_mtok = 0.2
"""


@pytest.mark.parametrize("body", [BODY, STREAM])
async def test_a_long_answer_goes_the_long_way_each_time(
    start: Start, connect: Connect, tmp_path: Path, body: bytes
) -> None:
    """In a place, piece by piece: who never reads would else have all of it written to him."""
    told = {"model": "m", "text": LONG, "tok_in": 3, "tok_out": 5, "cost_usd": 0, "correct": 1}
    rows = tmp_path / "rows.jsonl"
    rows.write_bytes(orjson.dumps({"query": "What is 3 + 4?", "answers": {"small": told}}))
    running = await start(REPLAYED.format(path=rows))
    wire = await connect(running)
    for cache in ("miss", "hit-exact", "hit-exact"):
        headers, heard = await wire.ask(request(body))
        await until(lambda: len(running.lasting.store) == 1)
        assert headers["x-sidecar-cache"] == cache
        assert heard.count(b"word") == LONG.count("word")
    assert len(running.givens) == 0


def events(body: bytes) -> list[Any]:
    lines = [line.removeprefix(b"data: ") for line in body.split(b"\n\n") if line]
    assert lines.pop() == b"[DONE]"
    return [orjson.loads(line) for line in lines]


async def test_a_stream_is_told_the_same_with_one_new_id(start: Start, connect: Connect) -> None:
    """Each chunk but for id, time and what the last one says of this very request."""
    running = await start()
    wire = await connect(running)
    _, first = await warm(wire, request(STREAM))
    headers, body = await wire.ask(request(STREAM))
    assert len(running.givens) == 1
    assert headers["content-type"].startswith("text/event-stream")
    one, other = events(first), events(body)
    ids = {chunk.pop("id") for chunk in other}
    assert len(ids) == 1
    assert ids.isdisjoint({chunk.pop("id") for chunk in one})
    told = other[-1].pop("sidecar"), one[-1].pop("sidecar")
    assert told[0]["request_id"] == headers["x-sidecar-request-id"]
    assert told[0].keys() == told[1].keys()
    assert [{**c, "created": 0} for c in one] == [{**c, "created": 0} for c in other]


async def test_each_is_counted_logged_and_open_to_feedback(
    start: Start, connect: Connect, tmp_path: Path
) -> None:
    """Metrics, one record each, and a bad label takes the entry away at once."""
    running = await start(extra=f'[traffic]\ndir = "{tmp_path}"\n')
    wire = await connect(running)
    await warm(wire, request())
    ids = [(await wire.ask(request()))[0]["x-sidecar-request-id"] for _ in range(3)]
    told = running.lasting.metrics.exposition.text().decode()
    labels = 'cache="hit-exact",status="200",stream="false",tier="small"'
    assert f"sidecar_requests_total{{{labels}}} 4.0" in told

    def records() -> dict[str, RequestRecord]:
        return {r.request_id: r for r in read_folder(tmp_path) if isinstance(r, RequestRecord)}

    await until(lambda: records().keys() >= set(ids))  # the log's own thread writes
    again = [records()[each] for each in ids]
    assert {(r.cache, r.question, r.served_tier) for r in again} == {
        ("hit-exact", "What is 3 + 4?", "small")
    }
    await running.post("/v1/feedback", {"request_id": ids[-1], "label": "bad"})
    assert (await wire.ask(request()))[0]["x-sidecar-cache"] != "hit-exact"


async def test_an_invalidation_holds_for_the_next_one(start: Start, connect: Connect) -> None:
    """What was forgotten is not given again."""
    running = await start()
    wire = await connect(running)
    await warm(wire, request())
    await running.lasting.keeper.invalidate(Selector("all"))
    assert (await wire.ask(request()))[0]["x-sidecar-cache"] == "miss"


async def test_what_will_never_be_given_again_is_let_go_of(start: Start, connect: Connect) -> None:
    """An invalidation ends whatever was kept before it: what is kept after it takes its place."""
    running = await start()
    wire = await connect(running)

    async def warm_some(numbers: range) -> None:
        for number in numbers:
            await warm(wire, request(BODY.replace(b"3 + 4", b"3 + %d" % number)))

    await warm_some(range(10, 16))
    assert len(running.givens) == 6
    await running.lasting.keeper.invalidate(Selector("tag", "nobody's"))
    await warm_some(range(20, 22))
    assert len(running.givens) == 2
    headers, _ = await wire.ask(request(BODY.replace(b"3 + 4", b"3 + 20")))
    assert headers["x-sidecar-cache"] == "hit-exact"


async def test_a_switch_holds_for_the_next_one(start: Start, connect: Connect) -> None:
    """While the cache is switched off nothing of it is given; afterwards it is again."""
    running = await start()
    wire = await connect(running)
    await warm(wire, request())
    board = running.lasting.board
    now_at = time.time()
    off = Override(switch="cache-off", reason="test", set_at=now_at, expires_at=now_at + 60.0)
    await board.set(off)
    assert (await wire.ask(request()))[0]["x-sidecar-cache"] == "bypass"
    await board.lift(off.key)
    assert (await wire.ask(request()))[0]["x-sidecar-cache"] == "hit-exact"


async def test_a_full_house_is_full_for_these_too(start: Start, connect: Connect) -> None:
    """Where no place is free, the short way is shut."""
    running = await start(extra="[server]\nmax_in_flight = 1\nqueue_timeout_s = 0.05\n")
    wire = await connect(running)
    await warm(wire, request())
    admission = running.lasting.admission
    caller = admission.identify({})
    assert admission.has_room(caller, None)
    with await admission.place(caller, None, Deadline.after_s(5.0)):
        assert not admission.has_room(caller, None)
        with pytest.raises(AssertionError):
            await wire.ask(request())  # a 429, like for anybody


async def test_another_tenant_asks_for_itself(start: Start, connect: Connect) -> None:
    """The key is part of the request."""
    running = await start()
    wire = await connect(running)
    await warm(wire, request(BODY, "authorization: Bearer one"))
    headers, _ = await wire.ask(request(BODY, "authorization: Bearer two"))
    assert headers["x-sidecar-cache"] == "miss"
    headers, _ = await wire.ask(request(BODY, "x-sidecar-namespace: n"))
    assert headers["x-sidecar-cache"] == "miss"


async def test_what_says_so_may_differ_in_what_decides_nothing(
    start: Start, connect: Connect
) -> None:
    """A trace's own header does not keep a request from being known again."""
    running = await start()
    wire = await connect(running)
    await warm(wire, request(BODY, "traceparent: 00-1"))
    await wire.ask(request(BODY, "traceparent: 00-2"))
    assert len(running.givens) == 1


@pytest.mark.parametrize("cut", [1, 20, 60, -1, -len(BODY)], ids=str)
async def test_wherever_the_bytes_are_cut_there_is_one_answer(
    start: Start, connect: Connect, cut: int
) -> None:
    """A request in two packets is answered once, and so is the next one."""
    wire = await connect(await start())
    await warm(wire, request())
    for _ in range(2):
        wire.writer.write(request()[:cut])
        await asyncio.sleep(0.02)
        headers, _ = await wire.ask(request()[cut:])
        assert headers["x-sidecar-cache"] == "hit-exact"


async def test_requests_that_come_together_are_answered_in_order(
    start: Start, connect: Connect
) -> None:
    """Pipelined ones are aiohttp's, and none is answered before its turn."""
    wire = await connect(await start())
    await warm(wire, request())
    other = request(BODY.replace(b"3 + 4", b"5 + 6"))
    wire.writer.write(request() + other + request())
    texts = [orjson.loads((await wire.heard())[1])["choices"][0]["message"] for _ in range(3)]
    assert texts[0] == texts[2]
    assert texts[0] != texts[1]


async def test_after_a_long_body_the_short_way_is_open_again(
    start: Start, connect: Connect
) -> None:
    """A body in many packets ends where its length says."""
    running = await start()
    wire = await connect(running)
    await warm(wire, request())
    long = BODY.replace(b"What is", b"What is " + b"x" * 200_000)
    assert (await wire.ask(request(long)))[0]["x-sidecar-cache"] == "miss"
    before = running.lasting.admission.in_flight
    headers, _ = await wire.ask(request())
    assert headers["x-sidecar-cache"] == "hit-exact"
    assert before == 0


async def test_while_it_drains_the_short_way_is_shut(start: Start, connect: Connect) -> None:
    """Each answer is then the connection's last and says so, which a prepared one cannot."""
    running = await start()
    wire = await connect(running)
    await warm(wire, request())
    running.givens.is_shut = True
    headers, _ = await wire.ask(request())
    assert headers["x-sidecar-cache"] == "hit-exact"
    assert running.givens.find(b"any") is None
