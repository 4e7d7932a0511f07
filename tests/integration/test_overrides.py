"""Kill switches over HTTP: set by the operator, they hold for the very next request."""

from __future__ import annotations

import asyncio
import logging
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from sidecar.app import Sidecar
from sidecar.assembly.lasting import build_lasting
from sidecar.config.file import parse_config
from sidecar.traffic.reader import read_folder
from sidecar.web.listen import MainLoop
from sidecar.web.middleware import errors_told
from sidecar.web.overrides_api import OverridesApi
from sidecar.web.token import OperatorToken
from tests.integration.conftest import BUNDLE, DEMO, Answer, Running, opened, unhurried
from tests.integration.test_upstreams import config as ladder
from tests.integration.vendor import Vendors
from tests.patience import until as until_so

TOKEN = "operator-secret"
SUM, PARAPHRASE, OTHER = "What is 12 plus 7?", "How much is 12 plus 7?", "What is 40 plus 5?"
DEBUG = {"x-sidecar-debug": "1"}


@dataclass(frozen=True, slots=True)
class Switched(Running):
    """A running sidecar, and its operator's switches."""

    admin_url: str

    async def operate(
        self, method: str, body: Any = None, query: str = "", token: str = TOKEN
    ) -> Answer:
        url = f"{self.admin_url}/admin/overrides{query}"
        headers = {"authorization": f"Bearer {token}"} if token else {}
        async with self.session.request(method, url, json=body, headers=headers) as response:
            return Answer(response.status, {}, await response.json())

    async def switch(self, switch: str, **fields: Any) -> Answer:
        told = {"switch": switch, "expires_in_s": 600, "reason": "a test", **fields}
        answer = await self.operate("POST", told)
        assert answer.status == 200, answer.body
        return answer


Operate = Callable[..., Awaitable[Switched]]


@pytest.fixture
async def operate() -> AsyncIterator[Operate]:
    if not BUNDLE.exists():
        pytest.skip("no encoder bundle in .sidecar/encoder: run `make encoder`")
    logger = logging.getLogger("test")
    async with AsyncExitStack() as stack:

        async def started(
            extra: str = "", until: AsyncExitStack = stack, text: str = DEMO
        ) -> Switched:
            config = parse_config(unhurried(tomllib.loads(extra + text)))
            lasting = await build_lasting(config, until, logger)
            sidecar = Sidecar(config, lasting, lambda: config)
            operator_plane = web.Application(middlewares=[errors_told(logger)])
            api = OverridesApi(
                board=lasting.board,
                ladder=lambda: sidecar.pipeline().ladder,
                main=MainLoop(asyncio.get_running_loop()),
                token=OperatorToken(TOKEN),
            )
            operator_plane.add_routes(api.routes())
            server = await until.enter_async_context(TestServer(operator_plane))
            url, givens = await opened(config, sidecar, lasting, until)
            session = await until.enter_async_context(aiohttp.ClientSession())
            admin_url = str(server.make_url("")).rstrip("/")
            return Switched(url, lasting, session, givens, admin_url)

        yield started


async def test_without_the_token_nothing_is_told_or_switched(operate: Operate) -> None:
    """Every method asks for it first."""
    sidecar = await operate()
    for method in ("GET", "POST", "DELETE"):
        assert (await sidecar.operate(method, {}, token="wrong")).status == 401


async def test_what_is_set_is_listed_counted_and_shown(operate: Operate) -> None:
    """In the list, in the metrics, and in the debug header of the next request."""
    sidecar = await operate()
    assert (await sidecar.operate("GET")).body == {"overrides": [], "is_persisted": False}
    told = (await sidecar.switch("semantic-off", reason="wrong hits")).body
    assert told["set"]["reason"] == "wrong hits"
    (listed,) = (await sidecar.operate("GET")).body["overrides"]
    assert (listed["switch"], listed["reason"]) == ("semantic-off", "wrong hits")
    assert 0 < listed["expires_in_s"] <= 600
    exposed = sidecar.lasting.metrics.exposition.text()
    assert b'sidecar_override_active{switch="semantic-off"} 1.0' in exposed
    assert b'sidecar_override_active{switch="read-only"} 0.0' in exposed
    assert (await sidecar.ask(SUM, DEBUG)).headers["x-sidecar-overrides"] == "semantic-off"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"switch": "all-off"}, id="unknown"),
        pytest.param({"reason": ""}, id="no-reason"),
        pytest.param({"expires_in_s": 0}, id="no-time"),
        pytest.param({"expires_in_s": 1e12}, id="for-ever"),
        pytest.param({"expires_in_s": "60"}, id="time-as-text"),
        pytest.param({"expires_in_s": True}, id="time-as-truth"),
        pytest.param({"switch": "force-tier", "value": "huge"}, id="no-such-tier"),
        pytest.param({"switch": "block-model"}, id="no-value"),
        pytest.param({"tenant": "a\r\nb"}, id="line-break"),
        pytest.param({"until": 5}, id="unknown-field"),
    ],
)
async def test_a_switch_that_is_not_understood_is_refused(
    operate: Operate, body: dict[str, Any]
) -> None:
    """An operator must not believe in force what is not."""
    sidecar = await operate()
    whole = {"switch": "cache-off", "expires_in_s": 60, "reason": "x"}
    answer = await sidecar.operate("POST", {**whole, **body} if body else {})
    assert answer.status == 400
    assert answer.body["error"]["param"]
    assert (await sidecar.operate("GET")).body["overrides"] == []


async def test_semantic_off_leaves_exact_hits(operate: Operate) -> None:
    """And once lifted, meaning serves again."""
    sidecar = await operate()
    await sidecar.ask(SUM)
    await sidecar.settled()
    await sidecar.switch("semantic-off")
    kept_only = {"cache-control": "only-if-cached"}
    assert (await sidecar.ask(PARAPHRASE, kept_only)).status == 504
    assert (await sidecar.ask(SUM)).headers["x-sidecar-cache"] == "hit-exact"
    assert (await sidecar.operate("DELETE", query="?switch=semantic-off")).status == 200
    hit = await sidecar.ask(PARAPHRASE, kept_only)
    assert hit.headers["x-sidecar-cache"] == "hit-semantic"
    assert (await sidecar.operate("DELETE", {"switch": "semantic-off"})).status == 404


async def test_cache_off_neither_reads_nor_keeps(operate: Operate) -> None:
    """What was kept before is there again once it is lifted."""
    sidecar = await operate()
    await sidecar.ask(SUM)
    await sidecar.switch("cache-off")
    for content in (SUM, OTHER):
        assert (await sidecar.ask(content)).headers["x-sidecar-cache"] == "bypass"
    await sidecar.operate("DELETE", {"switch": "cache-off"})
    assert (await sidecar.ask(OTHER)).headers["x-sidecar-cache"] == "miss"
    assert (await sidecar.ask(SUM)).headers["x-sidecar-cache"] == "hit-exact"


async def test_force_tier_takes_every_auto_and_nothing_else(operate: Operate) -> None:
    """Bypass is `auto` too; a tier that the caller names is his own choice."""
    sidecar = await operate()
    await sidecar.switch("force-tier", value="medium")
    for headers in ({}, {"x-sidecar-bypass": "1"}, {"x-sidecar-quality": "best"}):
        answer = await sidecar.ask(SUM, {"cache-control": "no-store", **headers})
        assert answer.headers["x-sidecar-tier"] == "medium"
        assert answer.headers["x-sidecar-escalations"] == "0"
    assert (await sidecar.ask(SUM, model="large")).headers["x-sidecar-tier"] == "large"


async def test_block_model_takes_a_rung_out_of_the_ladder(operate: Operate) -> None:
    """By tier or by model; 503 where nothing is left."""
    sidecar = await operate()
    await sidecar.switch("block-model", value="demo-large")
    past = {"cache-control": "no-store"}
    bypassed = await sidecar.ask(SUM, {**past, "x-sidecar-bypass": "1"})
    assert bypassed.headers["x-sidecar-tier"] == "medium"
    refused = await sidecar.ask(SUM, past, model="large")
    assert (refused.status, refused.body["error"]["code"]) == (503, "model_blocked")
    for value in ("small", "medium"):
        await sidecar.switch("block-model", value=value)
    assert (await sidecar.ask(SUM, past)).status == 503


async def test_cascade_off_lets_the_entry_tiers_answer_stand(operate: Operate) -> None:
    """However wrong the small one is; with the cascade on, some of these escalate."""
    sidecar = await operate()
    past = {"cache-control": "no-store", "x-sidecar-quality": "0.9"}
    asked = [f"What is {n} times {n + 13}, minus {n}?" for n in range(20, 60)]
    free = [(await sidecar.ask(q, past)).headers["x-sidecar-escalations"] for q in asked]
    assert set(free) > {"0"}
    await sidecar.switch("cascade-off")
    held = [(await sidecar.ask(q, past)).headers["x-sidecar-escalations"] for q in asked]
    assert set(held) == {"0"}


async def test_read_only_writes_nothing_down(operate: Operate, tmp_path: Path) -> None:
    """Kept answers are served; none is kept, logged or learnt from, and feedback is told so."""
    async with AsyncExitStack() as until:
        sidecar = await operate(f'[traffic]\ndir = "{tmp_path}/log"\n', until)
        known = await sidecar.ask(SUM)
        await sidecar.switch("read-only")
        assert (await sidecar.ask(SUM)).headers["x-sidecar-cache"] == "hit-exact"
        for _ in range(2):
            assert (await sidecar.ask(OTHER)).headers["x-sidecar-cache"] == "miss"
        about = {"request_id": known.headers["x-sidecar-request-id"], "label": "bad"}
        told = await sidecar.post("/v1/feedback", about)
        assert (told.status, told.body["error"]["code"]) == (503, "read_only")
        assert len(sidecar.lasting.store) == 1
    assert len(list(read_folder(tmp_path / "log"))) == 1


async def test_a_tenants_switch_is_nobody_elses(operate: Operate) -> None:
    """The other one's answers are kept and read as before."""
    tenants = '[[tenants]]\nname = "a"\nkeys = ["ka"]\n[[tenants]]\nname = "b"\nkeys = ["kb"]\n'
    sidecar = await operate(text=DEMO + tenants)
    await sidecar.switch("cache-off", tenant="a")
    for key, cache in (("ka", "bypass"), ("kb", "miss"), ("ka", "bypass"), ("kb", "hit-exact")):
        answer = await sidecar.ask(SUM, {"authorization": f"Bearer {key}"})
        assert answer.headers["x-sidecar-cache"] == cache


async def test_switches_outlive_a_restart(operate: Operate, tmp_path: Path) -> None:
    """They stand beside the cache's file, and hold from the first request on."""
    extra = f'[cache.disk]\npath = "{tmp_path}/cache.sqlite"\n'
    async with AsyncExitStack() as until:
        sidecar = await operate(extra, until)
        assert (await sidecar.switch("cache-off")).body["is_persisted"]
    again = await operate(extra)
    assert (await again.ask(SUM)).headers["x-sidecar-cache"] == "bypass"


async def test_an_answer_on_its_way_is_not_kept_nor_shared_past_a_switch(
    operate: Operate, vendors: Vendors, root: str
) -> None:
    """Asked before `cache-off`, answered after it; who asks after a block joins no old flight."""
    sidecar = await operate(text=ladder(root))
    vendors.faults |= dict.fromkeys("abc", "hang")
    asking = asyncio.ensure_future(sidecar.ask(SUM))
    await until_so(lambda: vendors.calls.total() == 1)
    await sidecar.switch("block-model", value="small")
    later = asyncio.ensure_future(sidecar.ask(SUM))
    await until_so(lambda: vendors.calls.total() == 2)
    await sidecar.switch("cache-off")
    assert not asking.done()
    vendors.gone.set()
    assert (await asking).status == 200
    assert (await later).headers["x-sidecar-tier"] != "small"
    assert len(sidecar.lasting.store) == 0
