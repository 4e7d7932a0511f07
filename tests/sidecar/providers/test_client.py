"""The upstream client against a real server on loopback, faults included."""

from __future__ import annotations

import asyncio
import gzip
import json
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import BaseTestServer, TestServer

from sidecar.errors import UpstreamGarbled
from sidecar.providers.client import EndpointConfig, HttpUpstream, TimeoutsConfig
from sidecar.providers.errors import (
    CallerAtFault,
    CallerRefused,
    KeyRefused,
    UpstreamBusy,
    UpstreamTooSlow,
    UpstreamUnreachable,
)
from sidecar.providers.pool import Pools
from sidecar.providers.wire import Call
from tests.patience import PatientDeadline

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
BODY = {"id": "x", "choices": [{"index": 0, "message": {"content": "4"}, "finish_reason": "stop"}]}


class Vendor:
    """A vendor that does as the test says, and remembers what it was sent."""

    def __init__(self) -> None:
        self.handler: Handler | None = None
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.json())
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        if self.handler is None:
            return web.json_response(BODY, headers={"x-request-id": "v-1", "set-cookie": "s=1"})
        return await self.handler(request)


@pytest.fixture
def vendor() -> Vendor:
    return Vendor()


@pytest.fixture
async def server(vendor: Vendor) -> AsyncIterator[BaseTestServer]:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", vendor.handle)
    async with TestServer(app) as running:
        yield running


@pytest.fixture
async def pools() -> AsyncIterator[Pools]:
    yield (opened := Pools(8))
    await opened.close()


def upstream(server: BaseTestServer, pools: Pools, **fields: Any) -> HttpUpstream:
    config = EndpointConfig(name="u", base_url=str(server.make_url("/v1")), **fields)
    return HttpUpstream(config, pools)


def call(**fields: Any) -> Call:
    body = {"model": "m", "messages": [{"role": "user", "content": "2+2?"}], "odd": [1]}
    return Call(body=body, tier="small", deadline=PatientDeadline.after_s(30.0), **fields)


async def test_every_field_goes_and_every_field_comes_back(
    server: BaseTestServer, pools: Pools, vendor: Vendor
) -> None:
    """What we do not know passes through untouched, and only harmless headers come back."""
    completion = await upstream(server, pools).ask(call())
    assert completion.body == BODY
    assert completion.headers == {"x-request-id": "v-1"}
    assert vendor.bodies[0]["odd"] == [1]


@pytest.mark.parametrize(
    ("api_key", "sent"),
    [
        pytest.param("sk-ours", "Bearer sk-ours", id="ours"),
        pytest.param("caller", "Bearer theirs", id="callers"),
        pytest.param("", None, id="none"),
    ],
)
async def test_the_callers_key_goes_upstream_only_if_the_config_says_so(
    server: BaseTestServer,
    pools: Pools,
    vendor: Vendor,
    api_key: str,
    sent: str | None,
) -> None:
    """A key meant for one vendor must not reach another."""
    headers = {"authorization": "Bearer theirs", "traceparent": "00-1"}
    await upstream(server, pools, api_key=api_key).ask(call(headers=headers))
    assert vendor.headers[0].get("authorization") == sent
    assert vendor.headers[0]["traceparent"] == "00-1"


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        pytest.param(400, '{"error":{"message":"no"}}', CallerAtFault, id="bad-request"),
        pytest.param(429, "{}", UpstreamBusy, id="busy"),
        pytest.param(200, "<html>", UpstreamGarbled, id="html"),
        pytest.param(200, "{}", UpstreamGarbled, id="no-choices"),
        pytest.param(302, "", UpstreamGarbled, id="redirect-is-not-followed"),
    ],
)
async def test_what_is_no_answer_is_a_fault(
    server: BaseTestServer,
    pools: Pools,
    vendor: Vendor,
    status: int,
    text: str,
    kind: type[Exception],
) -> None:
    """Status and body are judged; a redirect could lead anywhere and is not followed."""

    async def answer(_: web.Request) -> web.Response:
        headers = {"location": "http://127.0.0.1:9/"} if status == 302 else {}
        return web.Response(status=status, text=text, headers=headers)

    vendor.handler = answer
    with pytest.raises(kind):
        await upstream(server, pools).ask(call())


async def test_a_refused_key_of_ours_is_our_fault_and_not_the_callers(
    server: BaseTestServer, pools: Pools, vendor: Vendor
) -> None:
    """A 401 about the sidecar's own key would have the caller look for a fault in his."""

    async def refuse(_: web.Request) -> web.Response:
        error = {"error": {"message": "Incorrect API key provided: sk-ou*rs"}}
        return web.json_response(error, status=401)

    vendor.handler = refuse
    with pytest.raises(UpstreamBusy) as caught:
        await upstream(server, pools, api_key="sk-ours").ask(call())
    assert (caught.value.status, caught.value.body) == (502, None)


async def test_a_connection_that_breaks_is_unreachable(
    server: BaseTestServer, pools: Pools, vendor: Vendor
) -> None:
    """A reset is no answer."""

    async def reset(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    vendor.handler = reset
    with pytest.raises(UpstreamUnreachable):
        await upstream(server, pools).ask(call())


async def test_silence_is_too_slow(server: BaseTestServer, pools: Pools, vendor: Vendor) -> None:
    """The upstream's own timeout holds even where the caller has time."""
    gone = asyncio.Event()

    async def hang(_: web.Request) -> web.Response:
        await gone.wait()
        return web.Response()

    vendor.handler = hang
    with pytest.raises(UpstreamTooSlow):
        await upstream(server, pools, timeouts=TimeoutsConfig(read_s=0.05)).ask(call())
    gone.set()


async def streamed(upstream: HttpUpstream, heard: dict[str, str] | None = None) -> list[Any]:
    hear = ({} if heard is None else heard).update
    chunks: list[bytes] = []
    await upstream.stream(call(), hear, chunks.extend)
    return [json.loads(data) for data in chunks]


async def test_a_stream_is_relayed_chunk_by_chunk(
    server: BaseTestServer, pools: Pools, vendor: Vendor
) -> None:
    """`[DONE]` ends it and is not among the chunks; the vendor's headers are told first."""

    async def stream(request: web.Request) -> web.StreamResponse:
        headers = {"content-type": "text/event-stream", "x-ratelimit-remaining-requests": "9"}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        for n in range(3):
            await response.write(b'data: {"n":%d}\n\n' % n)
        await response.write(b"data: [DONE]\n\n")
        return response

    vendor.handler = stream
    heard: dict[str, str] = {}
    assert await streamed(upstream(server, pools), heard) == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert heard == {"x-ratelimit-remaining-requests": "9"}
    assert vendor.bodies[0]["stream"] is True


async def test_json_where_a_stream_was_asked_for_is_garbled(
    server: BaseTestServer, pools: Pools
) -> None:
    """Relaying it would hang the caller's parser."""
    with pytest.raises(UpstreamGarbled):
        await streamed(upstream(server, pools))


async def test_an_answer_without_bound_is_refused(
    server: BaseTestServer,
    pools: Pools,
    vendor: Vendor,
) -> None:
    """A vendor gone mad does not fill memory."""

    async def flood(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(70):
            await response.write(b"x" * 1024 * 1024)
        return response

    vendor.handler = flood
    with pytest.raises(UpstreamGarbled):
        await upstream(server, pools).ask(call())


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_is_unpacked_no_further_than_its_bound(
    server: BaseTestServer,
    pools: Pools,
    vendor: Vendor,
    monkeypatch: pytest.MonkeyPatch,
    *,
    stream: bool,
) -> None:
    """A packed answer of 1 MB that holds 256 MB is given up while it is small."""
    monkeypatch.setattr("sidecar.providers.reading.MAX_ANSWER_BYTES", 2**20)
    bomb = gzip.compress(b"0" * 2**28, 1)
    tracemalloc.start()

    async def explode(_: web.Request) -> web.Response:
        kind = "text/event-stream" if stream else "application/json"
        return web.Response(body=bomb, content_type=kind, headers={"content-encoding": "gzip"})

    vendor.handler = explode
    asked = upstream(server, pools)
    tracemalloc.reset_peak()
    try:
        with pytest.raises(UpstreamGarbled):
            await (streamed(asked) if stream else asked.ask(call()))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**26


async def test_a_stream_without_end_is_cut_off(
    server: BaseTestServer,
    pools: Pools,
    vendor: Vendor,
) -> None:
    """Every chunk of it is held until it ends, so that one may not go on for ever."""

    async def flood(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for _ in range(70):
            await response.write(b'data: "' + b"x" * 1024 * 1024 + b'"\n\n')
        return response

    vendor.handler = flood
    with pytest.raises(UpstreamGarbled):
        await streamed(upstream(server, pools))


async def _slowly(
    request: web.Request, pieces: list[bytes], gone: asyncio.Event
) -> web.StreamResponse:
    """A stream that sends these pieces and then falls silent."""
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    for piece in pieces:
        await response.write(piece)
    await gone.wait()
    return response


@pytest.mark.parametrize(
    ("timeouts", "pieces", "came"),
    [
        pytest.param(TimeoutsConfig(first_token_s=0.05), [], 0, id="no-first-chunk"),
        pytest.param(TimeoutsConfig(first_token_s=0.05), [b": ping\n\n"], 0, id="pings-alone"),
        pytest.param(TimeoutsConfig(read_s=0.05), [b'data: {"n":0}\n\n'], 1, id="no-second"),
        pytest.param(TimeoutsConfig(total_s=0.2), [b'data: {"n":0}\n\n'], 1, id="no-end"),
    ],
)
async def test_each_silence_of_a_stream_has_its_own_limit(
    server: BaseTestServer,
    pools: Pools,
    vendor: Vendor,
    timeouts: TimeoutsConfig,
    pieces: list[bytes],
    came: int,
) -> None:
    """Before the first chunk, between two of them, and to the end; a ping is no chunk."""
    gone = asyncio.Event()
    vendor.handler = lambda request: _slowly(request, pieces, gone)
    chunks: list[bytes] = []
    with pytest.raises(UpstreamTooSlow):
        await upstream(server, pools, timeouts=timeouts).stream(
            call(), dict[str, str]().update, chunks.extend
        )
    assert len(chunks) == came
    gone.set()


async def test_a_stream_without_an_answers_head_is_too_slow(
    server: BaseTestServer, pools: Pools, vendor: Vendor
) -> None:
    """The first chunk's time runs from the question, not from the answer's head."""
    gone = asyncio.Event()

    async def hang(_: web.Request) -> web.Response:
        await gone.wait()
        return web.Response()

    vendor.handler = hang
    with pytest.raises(UpstreamTooSlow):
        await streamed(upstream(server, pools, timeouts=TimeoutsConfig(first_token_s=0.05)))
    gone.set()


@pytest.mark.parametrize(
    ("api_key", "status", "kind"),
    [
        pytest.param("sk-ours", 401, KeyRefused, id="our-key"),
        pytest.param("sk-ours", 402, KeyRefused, id="our-purse"),
        pytest.param("sk-ours", 429, UpstreamBusy, id="our-rate"),
        pytest.param("caller", 401, CallerRefused, id="callers-key"),
        pytest.param("caller", 429, CallerRefused, id="callers-rate"),
        pytest.param("caller", 500, UpstreamBusy, id="anybodys"),
    ],
)
async def test_whose_key_is_refused_decides_whom_it_concerns(
    server: BaseTestServer,
    pools: Pools,
    vendor: Vendor,
    api_key: str,
    status: int,
    kind: type[Exception],
) -> None:
    """Ours: the upstream is left alone. A caller's: no other caller hears of it."""

    async def refuse(_: web.Request) -> web.Response:
        return web.json_response({}, status=status, headers={"retry-after": "7"})

    vendor.handler = refuse
    with pytest.raises(UpstreamBusy) as caught:
        await upstream(server, pools, api_key=api_key).ask(call())
    assert type(caught.value) is kind
    assert caught.value.retry_after_s == (None if kind is KeyRefused else 7.0)


@pytest.mark.parametrize(
    "base_url",
    [
        pytest.param("http://127.0.0.1:1/v1", id="nobody-listens"),
        pytest.param("http://nowhere.invalid/v1", id="no-such-name"),
        pytest.param("https://127.0.0.1:{port}/v1", id="no-tls-there"),
    ],
)
async def test_who_cannot_be_reached_is_unreachable(
    server: BaseTestServer, pools: Pools, base_url: str
) -> None:
    """Refused, unknown by name, or without TLS: somebody else is asked."""
    config = EndpointConfig(name="u", base_url=base_url.format(port=server.port))
    with pytest.raises(UpstreamUnreachable):
        await HttpUpstream(config, pools).ask(call())
