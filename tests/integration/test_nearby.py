"""Over HTTP: who means the same as a question in flight waits for its answer, and nobody else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice, product
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from cache.epochs import EVERYTHING
from sidecar.overrides.override import Override
from sidecar.traffic.reader import read_folder
from sidecar.traffic.record import RequestRecord
from tests.integration.conftest import PATIENCE_S, Answer, Running, Start

SUM, PARAPHRASE = "What is 12 plus 7?", "How much is 12 plus 7?"
FORMS = (
    "what is 12 plus 7",
    "how much is 12 plus 7",
    "what's 12 plus 7",
    "tell me what 12 plus 7 is",
    "please tell me what 12 plus 7 is",
    "how much is the sum 12 plus 7",
    "what is the sum of 12 plus 7",
    "calculate 12 plus 7",
    "what is 12 plus 7 please",
    "please: how much is 12 plus 7",
    "can you tell me what is 12 plus 7",
)
PARAPHRASES = [f + end for f, end in islice(product(FORMS, ("?", "", " ?", ".", "??")), 50)]


@dataclass(slots=True, eq=False)
class Vendor:
    """Holds every call until it is told how to end it."""

    asked: list[str] = field(default_factory=list)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    finish: str = "stop"
    status: list[int] = field(default_factory=list)  # of the next calls; 200 once they are used up
    breaks_stream: bool = False

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.asked.append(body["messages"][-1]["content"])
        if body.get("stream"):
            return await self._streamed(request)
        await self.go.wait()
        status = self.status.pop(0) if self.status else 200
        if status != 200:
            return web.json_response({"error": {"message": "no"}}, status=status)
        return web.json_response(
            {
                "object": "chat.completion",
                "model": "m",
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": "19"},
                        "finish_reason": self.finish,
                    }
                ],
                "usage": {"prompt_tokens": 10, "completion_tokens": 5},
            }
        )

    async def _streamed(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for text in ("1", "9"):
            delta = {"index": 0, "delta": {"content": text}, "finish_reason": None}
            await response.write(b"data: " + orjson.dumps({"choices": [delta]}) + b"\n\n")
            await self.go.wait()
        if self.breaks_stream:
            self.breaks_stream = False
            request.transport.close() if request.transport else None
            return response
        end = {"choices": [{"index": 0, "delta": {}, "finish_reason": self.finish}]}
        await response.write(b"data: " + orjson.dumps(end) + b"\n\ndata: [DONE]\n\n")
        return response


def tiers(url: str) -> str:
    return f"""
[cache.lookup]
budget_s = 30.0

[router]
streams = "live"

[[upstreams]]
name = "vendor"
kind = "openai"
base_url = "{url}"
api_key = "sk-test"
""" + "".join(
        f"""
[[tiers]]
name = "{name}"
model = "{name}-m"
upstreams = ["vendor"]
price_in_usd_per_mtok = {price}
price_out_usd_per_mtok = {price}
"""
        for name, price in (("small", 1.0), ("large", 10.0))
    )


@dataclass(frozen=True, slots=True)
class Scene:
    """A sidecar, and the vendor that it asks."""

    sidecar: Running
    vendor: Vendor

    def asking(self, content: str, *args: Any, **fields: Any) -> asyncio.Task[Answer]:
        """Ask `large`, and do not wait."""
        return asyncio.create_task(self.sidecar.ask(content, *args, **{"model": "large", **fields}))

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until it is so."""
        async with asyncio.timeout(PATIENCE_S):
            while not is_so():
                await asyncio.sleep(0.005)

    async def led(self, content: str = SUM, *args: Any, **fields: Any) -> asyncio.Task[Answer]:
        """Ask, and wait until the vendor was asked."""
        before = len(self.vendor.asked)
        leader = self.asking(content, *args, **fields)
        await self.until(lambda: len(self.vendor.asked) > before)
        return leader

    def listening(self) -> int:
        """How many wait for a flight that another one leads."""
        coalesce = self.sidecar.lasting.coalesce
        return coalesce.listeners - len(coalesce)


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
        return Scene(await start(tiers(str(server.make_url("/v1"))), extra), vendor)

    yield made
    for server in servers:
        await server.close()


async def test_fifty_who_mean_the_same_are_one_call(scene: Set, tmp_path: Path) -> None:
    """One is billed, the others are told how near they were, and what they saved."""
    on = await scene(f'[traffic]\ndir = "{tmp_path}"\n')
    asking = [on.asking(text) for text in PARAPHRASES]
    await on.until(lambda: on.listening() == 49)
    on.vendor.go.set()
    answers = await asyncio.gather(*asking)
    assert len(on.vendor.asked) == 1
    assert {a.body["choices"][0]["message"]["content"] for a in answers} == {"19"}
    statuses = [a.headers["x-sidecar-cache"] for a in answers]
    assert (statuses.count("miss"), statuses.count("coalesced")) == (1, 49)
    followers = [a.headers for a in answers if a.headers["x-sidecar-cache"] == "coalesced"]
    assert all(0.6 <= float(told["x-sidecar-similarity"]) <= 1 for told in followers)
    assert {told["x-sidecar-cost-usd"] for told in followers} == {"0"}
    assert {told["x-sidecar-saved-usd"] for told in followers} == {"0.00015"}
    exposition = on.sidecar.lasting.metrics.exposition.text()
    assert b'sidecar_coalesced_total{by="meaning"} 49.0' in exposition
    assert len(on.sidecar.lasting.nearby) == 0
    on.sidecar.lasting.log.close()
    kept = [one for one in read_folder(tmp_path) if isinstance(one, RequestRecord)]
    followed = [one for one in kept if one.cache == "coalesced"]
    assert all(one.risk is not None and not one.attempts for one in followed)
    assert len({one.entry_id for one in kept}) == 1


async def test_the_very_same_question_follows_by_its_key(scene: Set) -> None:
    """It carries no similarity: nothing of its answer is owed to likeness."""
    on = await scene()
    asking = [await on.led(), on.asking(SUM), on.asking(SUM)]
    await on.until(lambda: on.listening() == 2)
    on.vendor.go.set()
    answers = await asyncio.gather(*asking)
    told = [a.headers for a in answers if a.headers["x-sidecar-cache"] == "coalesced"]
    assert len(told) == 2
    assert not any("x-sidecar-similarity" in headers for headers in told)
    assert b'sidecar_coalesced_total{by="key"} 2.0' in on.sidecar.lasting.metrics.exposition.text()


@pytest.mark.parametrize(
    ("content", "headers", "fields"),
    [
        pytest.param("What is 13 plus 7?", {}, {}, id="number"),
        pytest.param("What is 12 minus 7?", {}, {}, id="operation"),
        pytest.param("What is not 12 plus 7?", {}, {}, id="negation"),
        pytest.param("What is the capital of Peru?", {}, {}, id="another-matter"),
        pytest.param(PARAPHRASE, {"authorization": "Bearer b"}, {}, id="tenant"),
        pytest.param(PARAPHRASE, {"x-sidecar-namespace": "b"}, {}, id="namespace"),
        pytest.param(PARAPHRASE, {"x-sidecar-quality": "best"}, {}, id="quality"),
        pytest.param(PARAPHRASE, {"x-sidecar-max-cost-usd": "0.5"}, {}, id="budget"),
        pytest.param(PARAPHRASE, {"x-sidecar-similarity": "0.99"}, {}, id="asked-to-be-nearer"),
        pytest.param(PARAPHRASE, {"cache-control": "no-cache"}, {}, id="no-cache"),
        pytest.param(PARAPHRASE, {"cache-control": "no-store"}, {}, id="no-store"),
        pytest.param(PARAPHRASE, {}, {"model": "small"}, id="model"),
        pytest.param(PARAPHRASE, {}, {"max_tokens": 7}, id="parameter"),
        pytest.param(
            PARAPHRASE,
            {},
            {
                "messages": [
                    {"role": "system", "content": "Answer in Roman numerals."},
                    {"role": "user", "content": PARAPHRASE},
                ]
            },
            id="system-prompt",
        ),
    ],
)
async def test_what_is_not_the_same_asks_for_itself(
    scene: Set, content: str, headers: dict[str, str], fields: dict[str, Any]
) -> None:
    """However near it is."""
    on = await scene()
    leader = await on.led()
    other = await on.led(content, headers, **fields)
    on.vendor.go.set()
    await leader
    assert (await other).headers["x-sidecar-cache"] in {"miss", "bypass"}
    assert len(on.vendor.asked) == 2


async def test_two_entities_never_share(scene: Set) -> None:
    """Two names in one sentence are two questions."""
    on = await scene()
    leader = await on.led("What is the capital of France?")
    other = await on.led("What is the capital of Spain?")
    on.vendor.go.set()
    await asyncio.gather(leader, other)
    assert len(on.vendor.asked) == 2


@pytest.mark.parametrize("mode", ["shadow", "off"])
async def test_where_nothing_is_served_by_meaning_nobody_follows_by_it(
    scene: Set, mode: str
) -> None:
    """The switch holds for both."""
    on = await scene(f'[cache.semantic]\nmode = "{mode}"\n')
    leader, other = await on.led(), await on.led(PARAPHRASE)
    on.vendor.go.set()
    assert (await leader).status == (await other).status == 200


@pytest.mark.parametrize(
    ("status", "finish", "asked"),
    [
        pytest.param(400, "stop", 2, id="fails"),
        pytest.param(200, "length", 4, id="cut-short"),
        pytest.param(200, "content_filter", 4, id="filtered"),
    ],
)
async def test_an_answer_that_may_not_be_shared_is_not(
    scene: Set, status: int, finish: str, asked: int
) -> None:
    """After a fault the others follow one of theirs; what is not whole nobody follows twice."""
    on = await scene()
    on.vendor.status, on.vendor.finish = [status], finish
    leader = await on.led()
    others = [on.asking(text) for text in PARAPHRASES[:3]]
    await on.until(lambda: on.listening() == 3)
    on.vendor.go.set()
    answers = await asyncio.gather(leader, *others)
    assert len(on.vendor.asked) == asked
    assert answers[0].status == status
    assert all(a.status == 200 for a in answers[1:])


async def test_a_leader_who_leaves_takes_nothing_along(scene: Set) -> None:
    """The flight goes on for who follows by meaning, and the first of them gets the bill."""
    on = await scene()
    leader = await on.led()
    others = [on.asking(text) for text in PARAPHRASES[:3]]
    await on.until(lambda: on.listening() == 3)
    leader.cancel()
    with suppress(asyncio.CancelledError):
        await leader
    await on.until(lambda: on.listening() == 2)
    on.vendor.go.set()
    answers = await asyncio.gather(*others)
    assert len(on.vendor.asked) == 1
    assert {a.headers["x-sidecar-cache"] for a in answers} == {"coalesced"}
    costs = sorted(float(a.headers["x-sidecar-cost-usd"]) for a in answers)
    assert costs == [0.0, 0.0, 0.00015]


async def test_a_leader_out_of_time_hands_over(scene: Set) -> None:
    """Who followed and has time left asks for itself; who has none is told so."""
    on = await scene()
    for budget_ms in ("4000", "20000", "60000"):  # the least that is enough to be asked at all
        leader = on.asking(SUM, {"x-sidecar-timeout-ms": budget_ms})
        await on.until(lambda: bool(on.vendor.asked) or leader.done())  # noqa: B023 - awaited here
        if on.vendor.asked:
            break
    patient = on.asking(PARAPHRASE, {"x-sidecar-timeout-ms": "60000"})
    hasty = on.asking(PARAPHRASES[2], {"x-sidecar-timeout-ms": "1000"})
    await on.until(hasty.done)
    assert (await hasty).status == 504
    assert (await leader).status == 504
    await on.until(lambda: len(on.vendor.asked) > 1)
    on.vendor.go.set()
    assert (await patient).headers["x-sidecar-cache"] == "miss"
    assert on.vendor.asked[-1] == PARAPHRASE


async def read(sidecar: Running, content: str) -> tuple[str, str]:
    """Ask for a stream; what the cache did, and the whole text on the wire."""
    body = {
        "model": "large",
        "stream": True,
        "messages": [{"role": "user", "content": content}],
    }
    url = sidecar.url + "/v1/chat/completions"
    text = ""
    async with sidecar.session.post(url, json=body) as response:
        with suppress(aiohttp.ClientPayloadError):
            text = (await response.read()).decode()
        return response.headers.get("x-sidecar-cache", ""), text


async def test_who_follows_a_stream_hears_it_whole(scene: Set) -> None:
    """Its end tells whether it may be shared; then it is replayed, as a stream or as JSON."""
    on = await scene()
    leader = asyncio.create_task(read(on.sidecar, SUM))
    await on.until(lambda: len(on.vendor.asked) == 1)
    streamed = asyncio.create_task(read(on.sidecar, PARAPHRASE))
    plain = on.asking(PARAPHRASES[2])
    await on.until(lambda: on.listening() == 2)
    on.vendor.go.set()
    assert "[DONE]" in (await leader)[1]
    status, text = await streamed
    assert status == "coalesced"
    assert text.endswith("data: [DONE]\n\n")
    assert '"similarity"' in text
    assert (await plain).body["choices"][0]["message"]["content"] == "19"
    assert len(on.vendor.asked) == 1


async def test_a_stream_that_breaks_is_not_heard_by_who_followed(scene: Set) -> None:
    """The leader is told midway; the other one asks for itself, and none of the words slip out."""
    on = await scene()
    on.vendor.breaks_stream = True
    leader = asyncio.create_task(read(on.sidecar, SUM))
    await on.until(lambda: len(on.vendor.asked) == 1)
    other = on.asking(PARAPHRASE)
    await on.until(lambda: on.listening() == 1)
    on.vendor.go.set()
    assert "[DONE]" not in (await leader)[1]
    assert (await other).headers["x-sidecar-cache"] == "miss"
    assert on.vendor.asked == [SUM, PARAPHRASE]


async def test_a_bad_word_of_who_followed_takes_the_answer_back(scene: Set) -> None:
    """It is a hit by meaning to those who learn: the pair is rejected, the entry is gone."""
    on = await scene()
    leader = await on.led()
    other = on.asking(PARAPHRASE)
    await on.until(lambda: on.listening() == 1)
    on.vendor.go.set()
    await leader
    request_id = (await other).headers["x-sidecar-request-id"]
    assert len(on.sidecar.lasting.store) == 1
    await on.sidecar.post("/v1/feedback", {"request_id": request_id, "label": "bad"})
    assert len(on.sidecar.lasting.store) == 0
    on.vendor.go.clear()
    leader, other = await on.led(), await on.led(PARAPHRASE)  # the pair is rejected in flight too
    on.vendor.go.set()
    await asyncio.gather(leader, other)


async def test_what_was_invalidated_meanwhile_is_not_shared(scene: Set) -> None:
    """Who followed before asks for itself once the answer is void."""
    on = await scene()
    leader = await on.led()
    other = on.asking(PARAPHRASE)
    await on.until(lambda: on.listening() == 1)
    await on.sidecar.lasting.keeper.invalidate(EVERYTHING)
    on.vendor.go.set()
    assert (await leader).headers["x-sidecar-cache"] == "miss"
    assert (await other).headers["x-sidecar-cache"] == "miss"
    assert len(on.vendor.asked) == 2


async def test_a_switch_holds_for_whoever_still_waits(scene: Set) -> None:
    """The operator turns the semantic tier off: nobody hears another's answer after that."""
    on = await scene()
    leader = await on.led()
    other = on.asking(PARAPHRASE)
    await on.until(lambda: on.listening() == 1)
    now_at = time.time()
    switch = Override(
        switch="semantic-off", reason="a test", set_at=now_at, expires_at=now_at + 60.0
    )
    await on.sidecar.lasting.board.set(switch)
    on.vendor.go.set()
    await leader
    assert (await other).headers["x-sidecar-cache"] == "miss"
    assert on.vendor.asked == [SUM, PARAPHRASE]
