"""Strangers at both doors: what they send is refused, and what is secret is told to nobody."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import re
import resource
import tomllib
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from sidecar.app import Sidecar, operator_routes
from sidecar.config.file import load_config, parse_config
from sidecar.replies import Reply, Sink
from sidecar.telemetry.logs import JsonFormatter
from sidecar.web import sse
from sidecar.web.bodies import read_body
from sidecar.web.connections import room_for_connections, send_whole
from sidecar.web.health import OperatorPlane, Readiness
from sidecar.web.listen import Door, MainLoop
from sidecar.web.middleware import errors_told
from sidecar.web.token import OperatorToken
from tests.integration.conftest import DEMO, PATIENCE_S, Start

BODY = b'{"model":"auto","messages":[{"role":"user","content":"What is 12 plus 7?"}]}'
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
WHOLE = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY


async def talk(port: int, *pieces: bytes, pause_s: float = 0.0) -> bytes:
    """What comes back until the connection closes, or stands idle."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    heard = b""
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_s)
        async with asyncio.timeout(PATIENCE_S):
            while chunk := await reader.read(65_536):
                heard += chunk
                if b"\r\n\r\n" in heard:
                    break
    except ConnectionError:
        pass
    finally:
        writer.close()
    return heard


@pytest.fixture
async def port(start: Start) -> int:
    sidecar = await start()
    return int(sidecar.url.rsplit(":", 1)[1])


async def test_a_whole_request_is_answered(port: int) -> None:
    """The control: what follows is refused for its fault and nothing else."""
    assert (await talk(port, WHOLE)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(
            HEAD + b"Content-Length: 5\r\nContent-Length: 76\r\n\r\n" + BODY, id="two-lengths"
        ),
        pytest.param(
            HEAD + b"Content-Length: 76\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            id="length-and-chunks",
        ),
        pytest.param(HEAD + b"Transfer-Encoding: xchunked\r\n\r\n" + BODY, id="odd-encoding"),
        pytest.param(HEAD + b"Content-Length: +76\r\n\r\n" + BODY, id="signed-length"),
        pytest.param(HEAD + b"Content-Length : 76\r\n\r\n" + BODY, id="space-before-colon"),
        pytest.param(HEAD + b"X-A: 1\r\n folded\r\nContent-Length: 76\r\n\r\n" + BODY, id="folded"),
        pytest.param(HEAD + b"X-A: 1\rX-B: 2\r\nContent-Length: 76\r\n\r\n" + BODY, id="bare-cr"),
        pytest.param(HEAD + b"X-A: a\x00b\r\nContent-Length: 76\r\n\r\n" + BODY, id="nul"),
        pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", id="odd-chunk"),
        pytest.param(HEAD + b"Host: y\r\nContent-Length: 76\r\n\r\n" + BODY, id="two-hosts"),
        pytest.param(HEAD[:-2] + b"\n\n", id="bare-lf"),
        pytest.param(HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", id="two-codings"),
        pytest.param(
            HEAD.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            id="chunks-of-1.0",
        ),
        pytest.param(
            HEAD + b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n"
            b"Content-Length: 76\r\n\r\n" + BODY,
            id="two-keys",
        ),
        pytest.param(
            HEAD + b"X-Sidecar-Namespace: a\r\nx-sidecar-namespace: b\r\n"
            b"Content-Length: 76\r\n\r\n" + BODY,
            id="two-namespaces",
        ),
        pytest.param(HEAD + b"X-A: " + b"a" * 20_000 + b"\r\n\r\n", id="long-header"),
        pytest.param(HEAD + b"X-A: 1\r\n" * 500 + b"\r\n", id="many-headers"),
        pytest.param(b"POST /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n", id="long-path"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 9, id="tls"),
    ],
)
async def test_a_request_that_two_readers_would_read_in_two_ways_is_refused(
    port: int, raw: bytes
) -> None:
    """400 or a closed door, and the next one is served."""
    heard = await talk(port, raw)
    assert heard == b"" or heard.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400"))
    assert (await talk(port, WHOLE)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-sidecar-namespace", "a b"),
        ("x-sidecar-namespace", "ä\u2028"),
        ("x-sidecar-tags", "a,<script>"),
        ("x-sidecar-user", "a" * 200),
        ("x-sidecar-min-tier", "../large"),
        ("x-sidecar-quality", "nan"),
        ("x-sidecar-max-cost-usd", "1e999999999"),
        ("x-sidecar-timeout-ms", "inf"),
        ("cache-control", "max-age=9999999999999"),
    ],
)
async def test_a_header_of_ours_holds_a_plain_word_or_is_refused(
    start: Start, name: str, value: str
) -> None:
    """So nothing that a caller wrote is told on in a header, a log line or a key."""
    answer = await (await start()).ask("hello", {name: value})
    assert answer.status == 400
    assert answer.body["error"]["param"] in {name, "x-sidecar-max-tier"}


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "gzip, gzip"])
async def test_a_packed_body_is_refused_unopened(start: Start, encoding: str) -> None:
    """A bomb of 10 KB that holds 10 MB stays 10 KB; 415, and the header that says how else."""
    sidecar = await start()
    url = sidecar.url + "/v1/chat/completions"
    bomb, headers = gzip.compress(b"0" * 10_000_000), {"content-encoding": encoding}
    async with sidecar.session.post(url, data=bomb, headers=headers) as response:
        assert response.status == 415
        assert (await response.json())["error"]["code"] == "unsupported_media_type"


async def test_a_body_that_is_too_large_is_refused(start: Start) -> None:
    """413 from its length alone, or when it has grown too long."""
    sidecar = await start(extra="[server]\nmax_body_bytes = 1000\n")
    assert (await sidecar.ask("x" * 2000)).status == 413


async def test_long_bodies_take_no_more_than_their_room(start: Start) -> None:
    """One on its way in holds its part, from its first byte on; short ones need none."""
    sidecar = await start(extra="[server]\nmax_body_bytes = 300000\nmax_bodies_bytes = 300000\n")
    long, short = "x" * 200_000, "y"
    _, writer = await asyncio.open_connection("127.0.0.1", int(sidecar.url.rsplit(":", 1)[1]))
    writer.write(HEAD + b"Content-Length: 250000\r\n\r\n{")
    async with asyncio.timeout(PATIENCE_S):
        while (refused := await sidecar.ask(long)).status != 429:
            await asyncio.sleep(0.01)
    assert refused.body["error"]["code"] == "over_capacity"
    assert refused.headers["retry-after"] == "1"
    assert (await sidecar.ask(short)).status == 200
    assert b'reason="bodies_full"' in sidecar.lasting.metrics.exposition.text()
    writer.transport.abort()
    async with asyncio.timeout(PATIENCE_S):
        while (await sidecar.ask(long)).status != 200:
            await asyncio.sleep(0.01)


async def test_a_body_of_unknown_length_is_reckoned_with_the_longest(start: Start) -> None:
    """Or pieces without a told length would go round the bound."""
    sidecar = await start(extra="[server]\nmax_body_bytes = 300000\nmax_bodies_bytes = 300000\n")
    _, writer = await asyncio.open_connection("127.0.0.1", int(sidecar.url.rsplit(":", 1)[1]))
    writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n")
    async with asyncio.timeout(PATIENCE_S):
        while (await sidecar.ask("x" * 70_000)).status != 429:
            await asyncio.sleep(0.01)
    writer.transport.abort()


async def test_a_body_that_comes_in_drips_is_given_up() -> None:
    """408 once its time is over; the place is free again."""

    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=await read_body(request, 0.1))

    app = web.Application(middlewares=[errors_told(logging.getLogger("test"))])
    app.router.add_post("/v1/chat/completions", handler)
    door = Door(app, "127.0.0.1", 0, max_connections=8)
    port = await door.open()
    try:
        heard = await talk(port, HEAD + b"Content-Length: 76\r\n\r\n", BODY[:5], BODY[5:9])
        assert heard.startswith(b"HTTP/1.1 408")
    finally:
        await door.close()


@pytest.mark.parametrize("is_stream", [False, True])
async def test_an_answer_that_is_not_read_is_given_up(*, is_stream: bool) -> None:
    """The handler ends and the connection with it, however much is still to be read."""
    ended, body = asyncio.Event(), b"x" * 16_000_000

    async def words(sink: Sink) -> Sequence[bytes]:
        for _ in range(100):
            sink.write([body[:160_000]])
            await sink.room()
        return ()

    async def handler(request: web.Request) -> web.StreamResponse:
        try:
            if is_stream:
                reply = Reply(headers={}, pour=words, close=ended.set)
                return await sse.send(request, reply, budget_s=0.1)
            return await send_whole(request, {}, body, budget_s=0.1)
        finally:
            ended.set()

    app = web.Application(middlewares=[errors_told(logging.getLogger("test"))])
    app.router.add_post("/v1/chat/completions", handler)
    door = Door(app, "127.0.0.1", 0, max_connections=8)
    port = await door.open()
    _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1_024)
    try:
        writer.write(WHOLE)
        async with asyncio.timeout(PATIENCE_S):
            await ended.wait()
            while door.connections:
                await asyncio.sleep(0.01)
    finally:
        writer.transport.abort()
        await door.close()


@pytest.mark.parametrize("is_stream", [False, True])
async def test_who_reads_slowly_reads_to_the_end(*, is_stream: bool) -> None:
    """The time is each piece's, not the whole answer's, however long that takes."""
    body, budget_s = b"x" * 16_000_000, 2.0

    async def pour(_sink: Sink) -> Sequence[bytes]:
        return [body]  # all of it at once, as what came while a caller did not take it

    async def handler(request: web.Request) -> web.StreamResponse:
        if is_stream:
            reply = Reply(headers={}, pour=pour, close=lambda: None)
            return await sse.send(request, reply, budget_s)
        return await send_whole(request, {}, body, budget_s)

    app = web.Application()
    app.router.add_post("/v1/chat/completions", handler)
    door = Door(app, "127.0.0.1", 0, max_connections=8)
    port = await door.open()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=65_536)
    try:
        writer.write(WHOLE)
        await reader.readuntil(b"\r\n\r\n")
        begun_s, heard, pieces = asyncio.get_running_loop().time(), 0, 20
        for _ in range(pieces):
            heard += len(await reader.readexactly(len(body) // pieces))
            await asyncio.sleep(1.5 * budget_s / pieces)
        assert asyncio.get_running_loop().time() - begun_s > budget_s
        assert heard == len(body)
    finally:
        writer.transport.abort()
        await door.close()


async def test_a_connection_too_many_is_told_so() -> None:
    """503 in OpenAI's shape; those that stand go on, and when one closes there is room again."""

    async def handler(_: web.Request) -> web.Response:
        return web.Response(text="well")

    app = web.Application()
    app.router.add_post("/v1/chat/completions", handler)
    door = Door(app, "127.0.0.1", 0, max_connections=2)
    port = await door.open()
    try:
        first = await asyncio.open_connection("127.0.0.1", port)
        _, second = await asyncio.open_connection("127.0.0.1", port)
        refused = await talk(port, WHOLE)
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert json.loads(refused.partition(b"\r\n\r\n")[2])["error"]["code"] == "connections_full"
        first[1].write(WHOLE)
        assert (await first[0].readuntil(b"well")).startswith(b"HTTP/1.1 200")
        second.close()
        await second.wait_closed()
        async with asyncio.timeout(PATIENCE_S):
            while not (await talk(port, WHOLE)).startswith(b"HTTP/1.1 200"):
                await asyncio.sleep(0.01)
        first[1].close()
    finally:
        await door.close()


def test_connections_leave_half_of_the_handles_to_others() -> None:
    """And a number that the process has room for is taken as it is."""
    assert room_for_connections(16) == 16
    assert room_for_connections(10**9) <= resource.getrlimit(resource.RLIMIT_NOFILE)[0] / 2


async def test_headers_that_come_in_drips_are_given_up() -> None:
    """The connection is closed, however many drops still come."""
    door = Door(web.Application(), "127.0.0.1", 0, max_connections=8, idle_s=0.2)
    port = await door.open()
    try:
        drops = [HEAD[n : n + 1] for n in range(20)]
        assert await talk(port, *drops, pause_s=0.05) == b""
    finally:
        await door.close()


@pytest.mark.parametrize("origin", ["https://evil.example", "http://127.0.0.1:8080", "null"])
async def test_no_web_page_may_ask(start: Start, origin: str) -> None:
    """Not by a form, not by a name that it had resolve here: 403 before anything is read."""
    sidecar = await start()
    answer = await sidecar.ask("hello", {"origin": origin})
    assert (answer.status, answer.body["error"]["code"]) == (403, "web_page")


def operator_plane(reload: Any, token: str) -> web.Application:
    plane = OperatorPlane(
        readiness=Readiness("ready"),
        exposition=lambda: b"",
        upstreams=lambda: "0 of 0 shut",
        reload=reload,
        token=OperatorToken(token),
    )
    app = web.Application(middlewares=[errors_told(logging.getLogger("test"))])
    app.add_routes(plane.routes())
    return app


@pytest.mark.parametrize("key", ["", "Bearer wrong", "Bearer "], ids=["none", "wrong", "empty"])
async def test_no_handler_of_the_operators_forgets_the_token(start: Start, key: str) -> None:
    """Each path under `/admin` that there is, by each of its methods; and nothing else is told."""
    config = parse_config(
        tomllib.loads(f'[server]\nadmin_token = "{CANARIES["operator"]}"\n' + DEMO)
    )
    lasting = (await start()).lasting
    asked, loop = 0, asyncio.get_running_loop()

    async def reload() -> str:
        raise AssertionError

    routes = operator_routes(
        config,
        Sidecar(config, lasting, lambda: config),
        lasting,
        main=MainLoop(loop),
        readiness=Readiness("ready"),
        reload=reload,
    )
    app = web.Application(middlewares=[errors_told(logging.getLogger("test"))])
    app.add_routes(routes)
    headers = {"authorization": key} if key else {}
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        for route in routes:
            path = re.sub(r"\{[^/]*\}", "1", route.path)
            if path.startswith("/admin"):
                url = server.make_url(path)
                async with session.request(route.method, url, json={}, headers=headers) as answer:
                    assert answer.status == 401, (route.method, path)
                asked += 1
    assert asked > 15


@pytest.mark.parametrize(
    "path",
    [
        "/admin/config/reload",
        "/admin//config/reload",
        "//admin/config/reload",
        "/metrics/../admin/config/reload",
        "/metrics/%2e%2e/admin/config/reload",
        "/admin%2fconfig%2freload",
        "/ADMIN/config/reload",
        "/admin/config/reload/",
        "/admin/config/reload;x=/metrics",
        "/admin/config/reload?token=operator",
        "/healthz/admin/config/reload",
    ],
)
async def test_no_spelling_of_a_path_goes_round_the_token(path: str) -> None:
    """401, or there is no such thing; never done."""
    done: list[str] = []

    async def reload() -> str:
        done.append("reloaded")
        return "x"

    async with TestServer(operator_plane(reload, "operator")) as server:
        raw = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode()
        assert server.port is not None
        heard = await talk(server.port, raw)
        assert heard.split(b" ")[1] in {b"400", b"401", b"404", b"405"}
    assert done == []


async def test_a_reload_reads_the_file_that_it_was_started_with(tmp_path: Path) -> None:
    """Whatever the request says of a path or an address: it is not even read."""
    ours, other = tmp_path / "ours.toml", tmp_path / "other.toml"
    _write(ours, DEMO)
    _write(other, DEMO + '[telemetry]\nlog_level = "debug"\n')
    read: list[str] = []

    async def reload() -> str:
        read.append(load_config(ours).digest)
        return read[-1]

    async with TestServer(operator_plane(reload, "operator")) as server:
        raw = json.dumps({"path": str(other), "url": "http://169.254.169.254/"}).encode()
        head = b"POST /admin/config/reload?config=%s HTTP/1.1\r\nHost: x\r\n" % str(other).encode()
        head += b"Authorization: Bearer operator\r\nContent-Length: %d\r\n\r\n" % len(raw)
        assert server.port is not None
        assert (await talk(server.port, head + raw)).startswith(b"HTTP/1.1 200")
    assert read == [load_config(ours).digest]


def _write(path: Path, text: str) -> None:
    path.write_text(text)


def test_a_line_of_the_log_is_one_line() -> None:
    """A caller's line breaks, and a terminal's commands, stay within their quotes."""
    record = logging.LogRecord("x", logging.INFO, "f", 1, "bad\n%s", ("\r\x1b[2J\u2028",), None)
    record.facts = {"path": '/a\n{"level": "info"}'}
    told = JsonFormatter().format(record)
    assert told.isascii()
    assert told.isprintable()
    assert json.loads(told)["message"].startswith("bad\n")


CANARIES = {
    "upstream": "sk-canary-upstream-0123456789",
    "header": "canary-header-0123456789",
    "operator": "canary-operator-0123456789",
    "tenant": "sk-canary-tenant-0123456789",
}


class Gossip:
    """A vendor that quotes all that it was sent in whatever it answers."""

    def __init__(self) -> None:
        self.status = 200
        self.asked = 0

    async def chat(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        quoted = json.dumps(dict(request.headers))
        if self.status == 200:
            return web.Response(text=quoted, content_type="text/html")
        error = {"message": f"no: {quoted}", "type": "x", "param": None, "code": quoted}
        headers = {"x-request-id": request.headers.get("authorization", "")}
        return web.json_response({"error": error}, status=self.status, headers=headers)


async def test_no_secret_is_told_to_anybody(
    tmp_path: Path, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """Through every failure: not to callers, log, metrics, debug headers, record or cache file."""
    caplog.set_level(logging.DEBUG)
    gossip, told = Gossip(), list[str]()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", gossip.chat)
    async with AsyncExitStack() as until:
        server = await until.enter_async_context(TestServer(app))
        sidecar = await start(_canary_config(str(server.make_url("/v1")), tmp_path), until=until)
        key = {"authorization": f"Bearer {CANARIES['tenant']}", "x-sidecar-debug": "1"}
        for status in (200, 400, 401, 403, 404, 408, 422, 429, 500, 503):
            gossip.status = status
            for stream in (False, True):
                answer = await sidecar.ask(f"Why is it {status}?", key, stream=stream)
                assert answer.status >= 400
                told += [str(answer.headers), str(answer.body)]
        wrong = {"authorization": f"Bearer {CANARIES['tenant']}x"}
        for headers in (wrong, {**key, "x-sidecar-quality": "?"}, {**key, "x-sidecar-drill": "x"}):
            answer = await sidecar.ask("hello", headers)
            assert answer.status in {400, 401, 403}
            told += [str(answer.headers), str(answer.body)]
        told.append(sidecar.lasting.metrics.exposition.text().decode())
    assert gossip.asked >= 20
    told += [JsonFormatter().format(record) for record in caplog.records]
    told += _files(tmp_path)
    for whose, canary in CANARIES.items():
        assert [text[:300] for text in told if canary in text] == [], whose


def _files(folder: Path) -> list[str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [path.read_bytes().decode("latin-1") for path in files]


def _canary_config(url: str, folder: Path) -> str:
    return f"""
[cache.lookup]
budget_s = 30.0
[cache.disk]
path = "{folder}/cache.sqlite"
[traffic]
dir = "{folder}/traffic"
[server]
admin_token = "{CANARIES["operator"]}"
[[upstreams]]
name = "gossip"
kind = "openai"
base_url = "{url}"
api_key = "{CANARIES["upstream"]}"
headers = {{ "x-secret" = "{CANARIES["header"]}" }}
retries = 0
breaker = {{ enabled = false }}
[[tiers]]
name = "small"
model = "s"
upstreams = ["gossip"]
[[tenants]]
name = "shop"
keys = ["{CANARIES["tenant"]}"]
"""


def test_a_config_that_is_printed_shows_no_key() -> None:
    """Nor does a fault in one, or a trace of whoever holds it."""
    config = parse_config(tomllib.loads(_canary_config("http://x", Path())))
    for canary in CANARIES.values():
        assert canary not in repr(config)


async def test_a_fault_that_nobody_foresaw_tells_the_caller_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """500 and a sentence; the trace is the log's."""

    async def handler(_: web.Request) -> web.Response:
        raise RuntimeError(CANARIES["upstream"])

    app = web.Application(middlewares=[errors_told(logging.getLogger("test"))])
    app.router.add_get("/x", handler)
    async with TestServer(app) as server:
        assert server.port is not None
        heard = await talk(server.port, b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
    assert heard.startswith(b"HTTP/1.1 500")
    assert CANARIES["upstream"].encode() not in heard
