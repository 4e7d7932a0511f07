"""The operator's view of the cache, over HTTP, from the operator plane's own thread."""

from __future__ import annotations

import asyncio
import json
import logging
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from sidecar.__main__ import main
from sidecar.app import Sidecar, inspection
from sidecar.assembly.lasting import build_lasting
from sidecar.config.file import parse_config
from sidecar.web.admin_api import AdminApi
from sidecar.web.listen import MainLoop, ThreadedDoor
from sidecar.web.middleware import errors_told
from sidecar.web.token import OperatorToken
from tests.integration.conftest import BUNDLE, DEMO, Answer, Running, opened, unhurried
from tests.integration.test_upstreams import config as ladder
from tests.integration.vendor import Vendors
from tests.patience import until as until_so

TOKEN = "operator-secret"
SUM, PARAPHRASE = "What is 12 plus 7?", "How much is 12 plus 7?"
OTHER = "How many hours are in 3 days?"


@dataclass(frozen=True, slots=True)
class Operated(Running):
    """A running sidecar and its operator plane."""

    admin_url: str

    async def admin(self, path: str, body: Any = None, token: str = TOKEN) -> Answer:
        """GET, or POST if there is a body."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        method, url = "GET" if body is None else "POST", self.admin_url + path
        async with self.session.request(method, url, json=body, headers=headers) as response:
            return Answer(response.status, {}, await response.json())

    async def forget(self, by: str, value: str | None = None, **fields: Any) -> Answer:
        """Invalidate, in earnest."""
        named = {} if value is None else {"value": value}
        body = {"by": by, **named, "dry_run": False, **fields}
        return await self.admin("/admin/cache/invalidate", body)

    async def cache_of(self, content: str, headers: dict[str, str] | None = None) -> str:
        """Ask, and tell what the cache did."""
        return (await self.ask(content, headers)).headers["x-sidecar-cache"]


Operate = Callable[..., Awaitable[Operated]]


@pytest.fixture
async def operate() -> AsyncIterator[Operate]:
    """Starts a sidecar with its operator plane; `until` ends it earlier than the test."""
    if not BUNDLE.exists():
        pytest.skip("no encoder bundle in .sidecar/encoder: run `make encoder`")
    logger = logging.getLogger("test")
    async with AsyncExitStack() as stack:

        async def started(
            extra: str = "", until: AsyncExitStack = stack, text: str = DEMO
        ) -> Operated:
            config = parse_config(unhurried(tomllib.loads(extra + text)))
            lasting = await build_lasting(config, until, logger)
            sidecar = Sidecar(config, lasting, lambda: config)
            api = AdminApi(
                cache=inspection(config, sidecar, lasting),
                main=MainLoop(asyncio.get_running_loop()),
                token=OperatorToken(TOKEN),
            )

            def operator_plane() -> web.Application:
                app = web.Application(middlewares=[errors_told(logger)])
                app.add_routes(api.routes())
                return app

            door = ThreadedDoor(operator_plane, "127.0.0.1", 0)
            admin_port = await door.open()
            until.push_async_callback(door.close)
            url, givens = await opened(config, sidecar, lasting, until)
            session = await until.enter_async_context(aiohttp.ClientSession())
            return Operated(url, lasting, session, givens, f"http://127.0.0.1:{admin_port}")

        yield started


@pytest.mark.parametrize("token", [pytest.param("", id="none"), pytest.param("x", id="wrong")])
async def test_without_the_token_nothing_is_told(operate: Operate, token: str) -> None:
    """Every path under /admin/cache asks for it first."""
    sidecar = await operate()
    for path in ("", "/search", "/entries/1"):
        assert (await sidecar.admin("/admin/cache" + path, token=token)).status == 401
    for path in ("/invalidate", "/explain"):
        assert (await sidecar.admin("/admin/cache" + path, {}, token=token)).status == 401


async def test_the_overview_tells_whose_bytes_they_are(operate: Operate) -> None:
    """Entries and bytes add up over the tenants; the semantic tier says what it may do."""
    sidecar = await operate()
    await sidecar.ask(SUM)
    await sidecar.ask(SUM, {"authorization": "Bearer other"})
    await sidecar.settled()
    told = (await sidecar.admin("/admin/cache")).body
    assert (told["entries"], told["partitions"], told["by_meaning"]) == (2, 2, 2)
    assert sum(one["bytes"] for one in told["tenants"].values()) == told["bytes"]
    assert told["semantic"]["mode"] == "on"
    assert 0 < told["semantic"]["risk_limit"] < 1
    assert "served" in told["semantic"]["told"]


async def test_a_bound_that_cannot_be_held_is_said_in_words(
    operate: Operate, caplog: pytest.LogCaptureFixture
) -> None:
    """No verified coverage at the asked bound: no semantic hits, and log and metrics say so too."""
    sidecar = await operate(extra="[cache.semantic]\nmax_false_hit_rate = 0.0001\n")
    told = (await sidecar.admin("/admin/cache")).body["semantic"]
    assert told["risk_limit"] is None
    assert "no risk is shown to hold 0.0001" in told["told"]
    assert "nothing is served by meaning: no risk is shown" in caplog.text
    assert b"sidecar_semantic_risk_limit 0.0" in sidecar.lasting.metrics.exposition.text()


async def test_an_entry_is_found_and_shown_without_secrets(operate: Operate) -> None:
    """By text, tag, tenant and model; addresses, keys and cards are covered."""
    sidecar = await operate()
    await sidecar.ask(f"{SUM} Write to me@example.org.", {"x-sidecar-tags": "sums"})
    await sidecar.ask(OTHER)
    found = (await sidecar.admin("/admin/cache/search?text=12+plus&tag=sums&limit=5")).body
    (one,) = found["entries"]
    assert "me@example.org" not in one["question"]
    assert one["tags"] == ["sums"]
    shown = (await sidecar.admin(f"/admin/cache/entries/{one['id']}")).body
    assert "simulated" in shown["answer_head"]
    assert "me@example.org" not in shown["answer_head"]
    by_model = await sidecar.admin(f"/admin/cache/search?model={one['model']}&tenant=nobody")
    assert by_model.body["entries"] == []
    assert (await sidecar.admin("/admin/cache/entries/999")).status == 404
    assert (await sidecar.admin("/admin/cache/search?limit=0")).status == 400
    assert (await sidecar.admin("/admin/cache/search?name=x")).status == 400


@pytest.mark.parametrize(
    ("by", "value"),
    [
        pytest.param("tag", "sums", id="tag"),
        pytest.param("namespace", "b", id="namespace"),
        pytest.param("tenant", "anonymous", id="tenant"),
        pytest.param("entry", "1", id="entry"),
        pytest.param("all", None, id="all"),
    ],
)
async def test_what_is_invalidated_is_a_miss_and_the_rest_is_not(
    operate: Operate, by: str, value: str | None
) -> None:
    """First a dry run that removes nothing, then the real one; both kinds of hit are gone."""
    sidecar = await operate()
    named = {"x-sidecar-tags": "sums,x", "x-sidecar-namespace": "b"}
    other = {"authorization": "Bearer other"}
    await sidecar.ask(SUM, named)
    await sidecar.ask(OTHER, other)
    await sidecar.settled()
    body = {"by": by} | ({} if value is None else {"value": value})
    dry = (await sidecar.admin("/admin/cache/invalidate", body)).body
    assert dry["dry_run"]
    assert dry["entries"] == (2 if by == "all" else 1)
    assert dry["sample"][0]["question"] in {SUM, OTHER}
    assert await sidecar.cache_of(PARAPHRASE, named) == "hit-semantic"
    done = (await sidecar.forget(by, value)).body
    assert done["entries"] == dry["entries"]
    assert not done["is_persisted"]
    assert "no disk" in done["told"]
    assert await sidecar.cache_of(PARAPHRASE, named) == "miss"
    assert await sidecar.cache_of(OTHER, other) == ("miss" if by == "all" else "hit-exact")
    await sidecar.settled()
    assert sidecar.lasting.index.statistics().entries == len(sidecar.lasting.store)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"by": "wish", "value": "x"}, id="unknown"),
        pytest.param({"by": "tag"}, id="no-value"),
        pytest.param({"by": "all", "value": "x"}, id="all-of-something"),
        pytest.param({"by": "tag", "value": "x", "dry_run": "no"}, id="dry-run"),
        pytest.param({"by": "tenant", "value": "x", "tenant": "y"}, id="two-tenants"),
    ],
)
async def test_an_invalidation_that_is_not_understood_is_refused(
    operate: Operate, body: dict[str, Any]
) -> None:
    """Nothing is guessed where the answer is a deletion."""
    sidecar = await operate()
    assert (await sidecar.admin("/admin/cache/invalidate", body)).status == 400


async def test_what_was_answered_under_a_prompt_is_found_and_forgotten_by_its_version(
    operate: Operate, tmp_path: Path
) -> None:
    """The version is the digest of its text; the debug header, the entry and the search tell it."""
    extra = f'[cache.disk]\npath = "{tmp_path}/cache.sqlite"\n'
    text = "You answer in one word."
    prompt = "sha-" + sha256(text.encode()).hexdigest()[:12]
    under = [{"role": "system", "content": text}, {"role": "user", "content": SUM}]
    async with AsyncExitStack() as stack:
        sidecar = await operate(extra=extra, until=stack)
        told = await sidecar.ask("", {"x-sidecar-debug": "1"}, messages=under)
        assert told.headers["x-sidecar-prompt"] == prompt
        assert "x-sidecar-prompt" not in (await sidecar.ask(OTHER)).headers
        again = await sidecar.ask("", {"x-sidecar-debug": "1"}, messages=under)
        assert (again.headers["x-sidecar-cache"], again.headers["x-sidecar-prompt"]) == (
            "hit-exact",
            prompt,
        )
        found = (await sidecar.admin(f"/admin/cache/search?prompt={prompt}")).body["entries"]
        assert [one["prompt"] for one in found] == [prompt]
        assert (await sidecar.forget("prompt", "sha-000000000000")).body["entries"] == 0
        assert (await sidecar.forget("prompt", prompt)).body["entries"] == 1
    restarted = await operate(extra=extra)
    told = await restarted.ask("", messages=under)
    assert told.headers["x-sidecar-cache"] == "miss"
    assert await restarted.cache_of(OTHER) == "hit-exact"
    # What was asked without a prompt has an empty version, which must be said.
    refused = {"by": "prompt", "dry_run": False}
    assert (await restarted.admin("/admin/cache/invalidate", refused)).status == 400
    assert (await restarted.forget("prompt", "")).body["entries"] == 1
    assert await restarted.cache_of(OTHER) == "miss"


@pytest.mark.parametrize("by", ["tag", "tenant", "all"])
async def test_what_was_on_its_way_is_not_kept(
    operate: Operate, vendors: Vendors, root: str, by: str
) -> None:
    """Asked before the invalidation, answered after it: served to who asked, kept for nobody.

    Who asks after it makes a call of his own, and that answer is kept.
    """
    sidecar = await operate(text=ladder(root))
    vendors.faults |= dict.fromkeys("abc", "hang")
    value = {"tag": "sums", "tenant": "anonymous", "all": None}[by]
    asking = asyncio.ensure_future(sidecar.ask(SUM, {"x-sidecar-tags": "sums"}))
    await until_so(lambda: vendors.calls.total() == 1)
    await sidecar.forget(by, value)
    assert not asking.done()
    later = asyncio.ensure_future(sidecar.ask(SUM, {"x-sidecar-tags": "sums"}))
    await until_so(lambda: vendors.calls.total() == 2)
    vendors.gone.set()
    assert (await asking).headers["x-sidecar-cache"] == "miss"
    assert (await later).headers["x-sidecar-cache"] == "miss"
    (kept,) = sidecar.lasting.store
    assert kept.epoch == 1


async def test_a_restart_does_not_bring_back_what_was_invalidated(
    operate: Operate, tmp_path: Path
) -> None:
    """The disk has the invalidation in writing before the operator is told so."""
    extra = f'[cache.disk]\npath = "{tmp_path}/cache.sqlite"\n'
    async with AsyncExitStack() as stack:
        sidecar = await operate(extra=extra, until=stack)
        await sidecar.ask(SUM, {"x-sidecar-tags": "sums"})
        await sidecar.ask(OTHER)
        assert (await sidecar.forget("tag", "sums")).body["is_persisted"]
        assert (await sidecar.forget("tenant", "nobody")).body["is_persisted"]
    again = await operate(extra=extra)
    assert (await again.admin("/admin/cache")).body["epoch"] == 2
    assert await again.cache_of(SUM) == "miss"
    assert await again.cache_of(OTHER) == "hit-exact"


async def test_explain_tells_the_decision_that_would_be_made(operate: Operate) -> None:
    """A paraphrase, a look-alike, the same words, and a question that may not be cached."""
    sidecar = await operate()
    await sidecar.ask(SUM)
    await sidecar.settled()

    async def explained(content: str, **fields: Any) -> dict[str, Any]:
        request = {"model": "auto", "messages": [{"role": "user", "content": content}]}
        body = {"request": request, **fields}
        answer = await sidecar.admin("/admin/cache/explain", body)
        assert answer.status == 200, answer.body
        told: dict[str, Any] = answer.body
        return told

    same = await explained(SUM)
    assert same["verdict"]["cache"] == "hit-exact"
    assert same["exact"]["state"] == "fresh"
    paraphrase = await explained(PARAPHRASE)
    assert paraphrase["verdict"] == {"cache": "hit-semantic", "id": 1, "reason": "", "detail": ""}
    (near,) = paraphrase["semantic"]["candidates"]
    assert near["risk"] <= paraphrase["semantic"]["risk_limit"]
    assert near["facets"]["number"] == 0.0
    other = await explained("How much is 12 plus 8?")
    assert other["verdict"]["reason"] == "veto"
    assert other["semantic"]["candidates"][0]["veto"]
    assert other["semantic"]["candidates"][0]["facets"]["number"] == 1.0
    elsewhere = await explained(PARAPHRASE, namespace="b")
    assert elsewhere["semantic"]["candidates"] == []
    assert elsewhere["verdict"]["reason"] == "empty"
    fresh = await explained("What is the weather today?")
    assert not fresh["permit"]["read"]
    assert fresh["verdict"]["detail"] == "time-bound"
    assert await sidecar.cache_of("How much is 12 plus 8?") == "miss"


async def test_explain_refuses_what_the_data_plane_would(operate: Operate) -> None:
    """In the same words."""
    sidecar = await operate()
    messages = [{"role": "user", "content": SUM}]
    for body, status in (
        ({"request": {"model": "gpt-7", "messages": messages}}, 404),
        ({"request": {"model": "auto", "messages": []}}, 400),
        ({"request": "x"}, 400),
        ({"request": {"model": "auto", "messages": messages}, "headers": {"a": 1}}, 400),
    ):
        assert (await sidecar.admin("/admin/cache/explain", body)).status == status


async def test_warming_goes_through_the_ordinary_door(operate: Operate, tmp_path: Path) -> None:
    """What is warmed is a hit for those of the same key and namespace, and carries its tags."""
    sidecar = await operate()
    file = tmp_path / "questions.jsonl"
    file.write_text(f"{SUM}\n" + '{"messages": [{"role": "user", "content": "Why now?"}]}\n')
    words = ["cache", "warm", str(file), "--base-url", sidecar.url + "/v1", "--tags", "faq"]
    assert await asyncio.get_running_loop().run_in_executor(None, main, words) == 0
    assert await sidecar.cache_of(SUM) == "hit-exact"
    assert await sidecar.cache_of(SUM, {"x-sidecar-namespace": "b"}) == "miss"
    found = (await sidecar.admin("/admin/cache/search?tag=faq")).body["entries"]
    assert SUM in {one["question"] for one in found}


async def test_a_partition_that_is_off_is_told_with_its_evidence(operate: Operate) -> None:
    """Whose it is, its counts, its estimate; and `explain` says it of the request at hand."""
    sidecar = await operate()
    sums = [(f"What is {n} plus 7?", f"How much is {n} plus 7?") for n in range(12, 18)]
    for first, second in sums:
        await sidecar.ask(first)
        await sidecar.settled()
        served = await sidecar.ask(second, {"x-sidecar-namespace": ""})
        said = {"request_id": served.headers["x-sidecar-request-id"], "label": "bad"}
        await sidecar.post("/v1/feedback", said)
    learnt = (await sidecar.admin("/admin/cache")).body["semantic"]["learnt"]
    [off] = learnt["watched"]
    assert (off["state"], off["tenant"], off["namespace"]) == ("off", "anonymous", "")
    assert off["estimate"]["lower"] <= off["estimate"]["value"] <= off["estimate"]["upper"]
    assert learnt["busiest"] == []
    body = {"request": {"model": "auto", "messages": [{"role": "user", "content": sums[0][1]}]}}
    told = (await sidecar.admin("/admin/cache/explain", body)).body
    assert told["semantic"]["standing"] == off
    assert {"risk_by_its_checks", "is_promoted", "veto", "facets"} <= set(
        told["semantic"]["candidates"][0]
    )


async def test_the_debug_header_tells_the_whole_decision(operate: Operate) -> None:
    """Candidates, facets, vetoes, risk, threshold and reason, of a hit and of a miss."""
    sidecar = await operate()
    debug = {"x-sidecar-debug": "1"}
    await sidecar.ask(SUM)
    await sidecar.settled()
    hit = json.loads((await sidecar.ask(PARAPHRASE, debug)).headers["x-sidecar-trace"])
    [near] = hit["near"]
    assert hit["served"] == near["id"]
    assert near["risk"] <= hit["limit"]
    other = await sidecar.ask("What is 13 plus 7?", debug)
    miss = json.loads(other.headers["x-sidecar-trace"])
    assert (miss["served"], miss["reason"]) == (None, "veto")
    assert miss["near"][0]["veto"]
    assert "x-sidecar-trace" not in (await sidecar.ask(SUM, debug)).headers
