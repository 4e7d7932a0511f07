"""`POST /v1/fragments` over HTTP: parts that are cached apart, put together in one answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from sidecar.fragments.asked import MAX_FRAGMENTS
from sidecar.fragments.parts import MAX_AT_ONCE
from sidecar.traffic.reader import read_folder
from sidecar.traffic.record import RequestRecord
from tests.integration.conftest import DEMO, PATIENCE_S, Answer, Running, Start

SUM, PARAPHRASE, HOURS = (
    "What is 12 plus 7?",
    "How much is 12 plus 7?",
    "How many hours are in 3 days?",
)


def asked(content: str, **fields: Any) -> dict[str, Any]:
    """One chat request."""
    return {"model": "large", "messages": [{"role": "user", "content": content}], **fields}


def body(template: str, **fields: Any) -> dict[str, Any]:
    """A request with a fragment for each field; a string is its question."""
    fragments = {
        name: {"request": asked(told)} if isinstance(told, str) else told
        for name, told in fields.items()
    }
    return {"template": template, "fragments": fragments}


async def post(sidecar: Running, told: Any, headers: dict[str, str] | None = None) -> Answer:
    """Ask for an assembled answer."""
    return await sidecar.post("/v1/fragments", told, headers)


@dataclass(slots=True, eq=False)
class Vendor:
    """Says of each question what it is told to, and counts who is inside."""

    answers: dict[str, Any] = field(default_factory=dict)
    waits: dict[str, asyncio.Event] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    inside: int = 0
    most: int = 0

    async def chat(self, request: web.Request) -> web.Response:
        question = (await request.json())["messages"][-1]["content"]
        self.asked.append(question)
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            if question in self.waits:
                await self.waits[question].wait()
            else:
                await asyncio.sleep(0.01)
        finally:
            self.inside -= 1
        said = self.answers.get(question, f"<{question}>")
        if isinstance(said, int):
            return web.json_response({"error": {"message": "no", "type": "t"}}, status=said)
        message = {"role": "assistant", "content": said}
        return web.json_response(
            {
                "object": "chat.completion",
                "model": "m",
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
            }
        )


@dataclass(frozen=True, slots=True)
class Scene:
    """A sidecar, and the vendor that it asks."""

    sidecar: Running
    vendor: Vendor


Set = Callable[..., Awaitable[Scene]]


@pytest.fixture
async def scene(start: Start) -> AsyncIterator[Set]:
    """Sets the scene; `extra` is more TOML."""
    servers: list[TestServer] = []

    async def made(extra: str = "") -> Scene:
        vendor = Vendor()
        app = web.Application()
        app.add_routes([web.post("/v1/chat/completions", vendor.chat)])
        server = TestServer(app)
        await server.start_server()
        servers.append(server)
        text = f"""
[cache.lookup]
budget_s = 30.0

[[upstreams]]
name = "vendor"
kind = "openai"
base_url = "{server.make_url("/v1")}"
api_key = "sk-test"

[[tiers]]
name = "large"
model = "large-m"
upstreams = ["vendor"]
price_in_usd_per_mtok = 10.0
price_out_usd_per_mtok = 10.0
"""
        return Scene(await start(text, extra), vendor)

    yield made
    for server in servers:
        await server.close()


async def test_parts_are_cached_apart_and_put_together(start: Start, tmp_path: Path) -> None:
    """What one page asked, another one has; each part tells what the cache did for it."""
    sidecar = await start(DEMO, f'[traffic]\ndir = "{tmp_path}"\n')
    first = await post(sidecar, body("Sum: {{sum}}\nHours: {{hours}}.", sum=SUM, hours=HOURS))
    assert first.status == 200
    assert first.body["object"] == "fragments"
    parts = first.body["fragments"]
    assert first.body["content"] == (
        f"Sum: {parts['sum']['content']}\nHours: {parts['hours']['content']}."
    )
    assert "19" in parts["sum"]["content"]
    assert "72" in parts["hours"]["content"]
    assert {part["cache"] for part in parts.values()} == {"miss"}
    spent = sum(float(part["cost_usd"]) for part in parts.values())
    assert float(first.headers["x-sidecar-cost-usd"]) == pytest.approx(spent)
    assert spent > 0
    assert first.body["usage"]["completion_tokens"] > 0
    await sidecar.settled()
    again = await post(sidecar, body("{{b}} {{a}} {{b}}", a=PARAPHRASE, b=SUM))
    parts = again.body["fragments"]
    assert (parts["a"]["cache"], parts["b"]["cache"]) == ("hit-semantic", "hit-exact")
    assert 0 < float(parts["a"]["similarity"]) < 1
    assert again.body["content"].count(parts["b"]["content"]) == 3  # the paraphrase has it too
    assert again.headers["x-sidecar-cost-usd"] == "0"
    assert float(again.headers["x-sidecar-saved-usd"]) > 0
    assert again.body["sidecar"]["cache"] == {"hit-semantic": 1, "hit-exact": 1}
    assert (await sidecar.ask(SUM, model="large")).headers["x-sidecar-cache"] == "hit-exact"
    bad = {"request_id": parts["a"]["request_id"], "label": "bad"}
    assert (await sidecar.post("/v1/feedback", bad)).status == 200
    assert (await sidecar.ask(SUM, model="large")).headers["x-sidecar-cache"] == "miss"
    sidecar.lasting.log.close()
    told = {r.request_id for r in read_folder(tmp_path) if isinstance(r, RequestRecord)}
    assert {part["request_id"] for part in parts.values()} <= told
    assert parts["a"]["request_id"] == again.headers["x-sidecar-request-id"] + "-a"
    assert len(told) == 6


async def test_the_same_part_under_two_names_is_one_call(scene: Set) -> None:
    """They meet in flight, as any two requests do."""
    on = await scene()
    answer = await post(on.sidecar, body("{{a}}{{b}}", a=SUM, b=SUM))
    caches = {part["cache"] for part in answer.body["fragments"].values()}
    assert caches == {"miss", "coalesced"}
    assert on.vendor.asked == [SUM]


async def test_they_run_side_by_side_and_not_all_at_once(scene: Set) -> None:
    """So many of one caller's, and no more."""
    on = await scene()
    fields = {f"f{n}": f"Tell me of number {n * 7919}." for n in range(MAX_FRAGMENTS)}
    on.vendor.waits = {question: asyncio.Event() for question in fields.values()}
    asking = asyncio.create_task(
        post(on.sidecar, body("".join(f"{{{{{name}}}}}" for name in fields), **fields))
    )
    async with asyncio.timeout(PATIENCE_S):
        while on.vendor.inside < MAX_AT_ONCE:
            await asyncio.sleep(0.005)
    for event in on.vendor.waits.values():
        event.set()
    answer = await asking
    assert answer.body["content"] == "".join(f"<{question}>" for question in fields.values())
    assert on.vendor.most == MAX_AT_ONCE


async def test_what_a_part_says_is_never_a_place(scene: Set) -> None:
    """Nor is what stands in for one."""
    on = await scene()
    on.vendor.answers = {"one": "{{b}} \\{{b}}", "two": 400}
    told = body("{{a}}|{{b}}", a="one", b="two")
    told["fragments"]["b"] |= {"on_failure": "text", "text": "{{a}}"}
    assert (await post(on.sidecar, told)).body["content"] == "{{b}} \\{{b}}|{{a}}"


@pytest.mark.parametrize(
    ("rule", "content", "status"),
    [
        pytest.param({"on_failure": "omit"}, "a: <one>, b: .", "omitted", id="omit"),
        pytest.param({"on_failure": "text", "text": "?"}, "a: <one>, b: ?.", "text", id="text"),
    ],
)
async def test_a_part_that_fails_is_left_out_if_its_rule_says_so(
    scene: Set, rule: dict[str, str], content: str, status: str
) -> None:
    """The others stand, and its own fault is told."""
    on = await scene()
    on.vendor.answers = {"two": 400}
    told = body("a: {{a}}, b: {{b}}.", a="one", b="two")
    told["fragments"]["b"] |= rule
    answer = await post(on.sidecar, told)
    assert (answer.status, answer.body["content"]) == (200, content)
    part = answer.body["fragments"]["b"]
    assert (part["status"], part["error"]["message"]) == (status, "no")
    assert answer.body["fragments"]["a"]["status"] == "answered"


async def test_a_part_that_must_not_fail_fails_the_whole(scene: Set) -> None:
    """With its own status and words, and its name; the others are not waited for."""
    on = await scene()
    on.vendor.answers = {"two": 422}
    on.vendor.waits = {"one": asyncio.Event()}
    answer = await post(on.sidecar, body("{{a}}{{b}}", a="one", b="two"))
    assert answer.status == 422
    assert answer.body["error"] == {"message": "no", "type": "t", "param": "fragments.b"}
    async with asyncio.timeout(PATIENCE_S):
        while len(on.sidecar.lasting.coalesce):
            await asyncio.sleep(0.005)


async def test_an_answer_without_text_fills_no_place(scene: Set) -> None:
    """It is a failure like any other."""
    on = await scene()
    on.vendor.answers = {"two": ""}
    answer = await post(on.sidecar, body("{{b}}", b="two"))
    assert answer.status == 502
    assert answer.body["error"]["param"] == "fragments.b"


async def test_they_share_one_deadline(scene: Set) -> None:
    """Whose time runs out fails by its rule."""
    on = await scene()
    on.vendor.waits = {"two": asyncio.Event()}
    told = body("{{a}}{{b}}", a="one", b="two")
    told["fragments"]["b"] |= {"on_failure": "omit"}
    for budget_ms in ("1000", "10000", "60000"):  # the least that is enough for the first part
        answer = await post(on.sidecar, told, {"x-sidecar-timeout-ms": budget_ms})
        if answer.status != 504:
            break
    assert answer.body["content"] == "<one>"
    part = answer.body["fragments"]["b"]
    assert part["status"] == "omitted"
    assert "timeout" in part["error"]["type"] or "passed" in part["error"]["message"]


async def test_each_part_takes_a_place(scene: Set) -> None:
    """Admission is not dodged: where there is one place, a second part waits or is refused."""
    on = await scene("[server]\nmax_in_flight = 1\nmax_queued = 0\n")
    on.vendor.waits = {"one": asyncio.Event(), "two": asyncio.Event()}
    answer = await post(on.sidecar, body("{{a}}{{b}}", a="one", b="two"))
    assert answer.status == 429
    assert on.vendor.most <= 1
    assert answer.body["error"]["param"] in {"fragments.a", "fragments.b"}


async def test_the_budget_is_split_evenly(scene: Set) -> None:
    """A part's share is part of its key, as any budget is."""
    on = await scene()
    told = body("{{a}}{{b}}", a="one", b="two")
    await post(on.sidecar, told, {"x-sidecar-max-cost-usd": "1.0"})
    alone = {"x-sidecar-max-cost-usd": "0.5"}
    assert (await on.sidecar.ask("one", alone, model="large")).headers[
        "x-sidecar-cache"
    ] == "hit-exact"


async def test_headers_hold_for_every_part(scene: Set) -> None:
    """Namespace, tenant and `Cache-Control` as for a request that comes alone."""
    on = await scene()
    told = body("{{a}}", a="one")
    await post(on.sidecar, told, {"x-sidecar-namespace": "n", "authorization": "Bearer k"})
    for headers in ({"x-sidecar-namespace": "n"}, {"authorization": "Bearer k"}, {}):
        answer = await post(on.sidecar, told, {**headers, "cache-control": "only-if-cached"})
        assert answer.status == 504
        assert answer.body["error"]["code"] == "not_cached"
    both = {"x-sidecar-namespace": "n", "authorization": "Bearer k"}
    answer = await post(on.sidecar, told, {**both, "cache-control": "only-if-cached"})
    assert answer.body["fragments"]["a"]["cache"] == "hit-exact"


async def streamed(
    sidecar: Running, told: dict[str, Any], pieces: list[str] | None = None
) -> tuple[int, list[Any], str]:
    """Status, chunks, and the whole text on the wire; `pieces` grows as they come."""
    chunks, text = [], ""
    url = sidecar.url + "/v1/fragments"
    async with sidecar.session.post(url, json={**told, "stream": True}) as response:
        async for line in response.content:
            text += line.decode()
            if line.startswith(b"data: {"):
                chunk = orjson.loads(line[6:])
                chunks.append(chunk)
                if pieces is not None and "choices" in chunk:
                    pieces.append(chunk["choices"][0]["delta"].get("content", ""))
        return response.status, chunks, text


async def test_a_stream_tells_each_piece_when_all_before_it_are_out(scene: Set) -> None:
    """In the template's order, whoever is ready first; the account comes last."""
    on = await scene()
    on.vendor.waits = {"one": asyncio.Event(), "three": asyncio.Event()}
    pieces: list[str] = []
    told = body("Here: {{a}}, {{b}}, {{c}}!", a="one", b="two", c="three")
    asking = asyncio.create_task(streamed(on.sidecar, told, pieces))
    async with asyncio.timeout(PATIENCE_S):
        while len(on.vendor.asked) < 3 or "".join(pieces) != "Here: ":
            await asyncio.sleep(0.005)
        on.vendor.waits["one"].set()
        while "".join(pieces) != "Here: <one>, <two>, ":
            await asyncio.sleep(0.005)
        on.vendor.waits["three"].set()
        status, chunks, text = await asking
    assert status == 200
    assert "".join(pieces) == "Here: <one>, <two>, <three>!"
    assert text.endswith("data: [DONE]\n\n")
    last = chunks[-1]
    assert last["choices"][0]["finish_reason"] == "stop"
    assert {part["status"] for part in last["fragments"].values()} == {"answered"}
    assert last["usage"] == {
        "prompt_tokens": 30,
        "completion_tokens": 15,
        "total_tokens": 45,
    }
    assert float(last["sidecar"]["cost_usd"]) == pytest.approx(3 * 15e-5)
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"


async def test_a_stream_that_fails_before_its_first_word_has_a_status(scene: Set) -> None:
    """Afterwards it is an error event, and no [DONE]."""
    on = await scene()
    on.vendor.answers = {"two": 422}
    status, chunks, text = await streamed(on.sidecar, body("{{b}}", b="two"))
    assert (status, "fragments.b" in text) == (422, True)
    status, chunks, text = await streamed(on.sidecar, body("a {{b}}", b="two"))
    assert status == 200
    assert chunks[-1]["error"]["param"] == "fragments.b"
    assert "[DONE]" not in text


async def test_who_leaves_a_stream_leaves_nothing_behind(scene: Set) -> None:
    """Calls upstream are cancelled, places given back."""
    on = await scene()
    on.vendor.waits = {"one": asyncio.Event()}
    asking = asyncio.create_task(streamed(on.sidecar, body("a {{a}}", a="one")))
    async with asyncio.timeout(PATIENCE_S):
        while not on.vendor.asked:
            await asyncio.sleep(0.005)
        asking.cancel()
        while len(on.sidecar.lasting.coalesce) or on.sidecar.lasting.admission.in_flight:
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    ("told", "param"),
    [
        pytest.param([], "body", id="no-object"),
        pytest.param({}, "template", id="nothing"),
        pytest.param({"template": "x"}, "fragments", id="no-fragments"),
        pytest.param({"template": "x", "fragments": {}}, "fragments", id="none"),
        pytest.param(body("x {{b}}", a="q"), "fragments.a", id="unused"),
        pytest.param(body("{{a}} {{b}}", a="q"), "template", id="unknown-place"),
        pytest.param(body("{{a}} {{", a="q"), "template", id="open-braces"),
        pytest.param({**body("{{a}}", a="q"), "streams": True}, "streams", id="unknown-field"),
        pytest.param({**body("{{a}}", a="q"), "stream": 1}, "stream", id="stream"),
        pytest.param(body("{{a}}", a={}), "fragments.a.request", id="no-request"),
        pytest.param(body("{{a}}", a=7), "fragments.a", id="no-fragment"),
        pytest.param(
            body("{{a}}", a={"request": {"model": "auto"}}),
            "fragments.a.request.messages",
            id="no-messages",
        ),
        pytest.param(
            body("{{a}}", a={"request": asked("q", stream=True)}),
            "fragments.a.request.stream",
            id="stream-within",
        ),
        pytest.param(
            body("{{a}}", a={"request": asked("q", n=2)}), "fragments.a.request.n", id="two-choices"
        ),
        pytest.param(
            body("{{a}}", a={"request": body("{{b}}", b="q")}),
            "fragments.a.request.messages",
            id="nested",
        ),
        pytest.param(
            body("{{a}}", a={"request": asked("q"), "on_failure": "retry"}),
            "fragments.a.on_failure",
            id="unknown-rule",
        ),
        pytest.param(
            body("{{a}}", a={"request": asked("q"), "text": "t"}),
            "fragments.a.text",
            id="text-without-rule",
        ),
        pytest.param(
            body("{{a}}", a={"request": asked("q"), "on_failure": "text"}),
            "fragments.a.text",
            id="rule-without-text",
        ),
        pytest.param(
            body("{{a}}", a={"request": asked("q"), "on_failure": "text", "text": "x" * 20_001}),
            "fragments.a.text",
            id="long-text",
        ),
        pytest.param(
            body("{{a}}", a={"request": asked("q"), "retries": 1}),
            "fragments.a.retries",
            id="unknown-key",
        ),
        pytest.param(
            body("".join(f"{{{{f{n}}}}}" for n in range(33)), **{f"f{n}": "q" for n in range(33)}),
            "fragments",
            id="too-many",
        ),
        pytest.param(
            {"template": "{{a}}", "fragments": {"a b": {"request": asked("q")}}},
            "fragments",
            id="strange-name",
        ),
    ],
)
async def test_what_is_not_understood_is_refused_by_name(scene: Set, told: Any, param: str) -> None:
    """Before anything is asked."""
    on = await scene()
    answer = await post(on.sidecar, told)
    assert answer.status == 400
    assert answer.body["error"]["param"] == param
    assert not on.vendor.asked


async def test_an_unknown_model_is_the_fragments_own_fault(scene: Set) -> None:
    """OpenAI's shape, and whose it is."""
    on = await scene()
    told = body("{{a}}", a={"request": asked("q", model="gpt-7")})
    answer = await post(on.sidecar, told)
    assert (answer.status, answer.body["error"]["code"]) == (404, "model_not_found")
    assert answer.body["error"]["param"] == "fragments.a"


async def test_each_part_counts_as_a_request_of_its_tenant(scene: Set) -> None:
    """And the call that holds them as one more: a rate is not dodged by asking for many at once."""
    on = await scene('[[tenants]]\nname = "t"\nkeys = ["k"]\nrequests_per_minute = 4\n')
    told = body("{{a}}{{b}}", a="one", b="two")
    first = await post(on.sidecar, told, {"authorization": "Bearer k"})
    assert first.status == 200
    assert first.headers["x-ratelimit-limit-requests"] == "4"
    second = await post(on.sidecar, told, {"authorization": "Bearer k"})
    assert second.status == 429
    assert second.body["error"]["code"] == "rate_limit_exceeded"
    assert second.body["error"]["param"].startswith("fragments.")
