"""`/admin/router` over HTTP: what is released is told, and the operator's word holds at once."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from router.artifact import DEFAULT, Artifact
from router.registry import Registry
from sidecar.web.listen import MainLoop
from sidecar.web.middleware import errors_told
from sidecar.web.router_api import RouterApi
from sidecar.web.token import OperatorToken
from tests.integration.conftest import DEMO, Answer, Running, Start
from tests.integration.test_rollout import ask, config
from tests.router.test_registry import variant

TOKEN = "operator-secret"


class Operator:
    """A running sidecar, and the door to its releases."""

    def __init__(self, sidecar: Running, url: str) -> None:
        self.sidecar = sidecar
        self._url = url

    async def call(
        self, method: str, path: str = "", body: Any = None, token: str = TOKEN
    ) -> Answer:
        headers = {"authorization": f"Bearer {token}"}
        asked = self.sidecar.session.request(
            method, f"{self._url}/admin/router{path}", json=body, headers=headers
        )
        async with asked as response:
            return Answer(response.status, {}, await response.json())

    async def decides(self, number: int) -> str:
        return (await ask(self.sidecar, number)).headers["x-sidecar-router"]


async def operated(start: Start, text: str, life: AsyncExitStack) -> Operator:
    logger = logging.getLogger("test")
    sidecar = await start(DEMO, text)
    plane = web.Application(middlewares=[errors_told(logger)])
    main = MainLoop(asyncio.get_running_loop())
    api = RouterApi(rollout=sidecar.lasting.rollout, main=main, token=OperatorToken(TOKEN))
    plane.add_routes(api.routes())
    server = await life.enter_async_context(TestServer(plane))
    return Operator(sidecar, str(server.make_url("")).rstrip("/"))


async def test_the_operators_word_holds_for_the_next_request(start: Start, tmp_path: Path) -> None:
    """A trial at a share, an activation, a rollback: each with its reason in the history."""
    async with AsyncExitStack() as life:
        operator = await operated(start, config(tmp_path), life)
        shipped = Artifact.load(DEFAULT).version
        new = Registry(tmp_path / "registry").add(variant(tmp_path / "new", 0.1)).version
        told = {"version": new, "reason": "better on Mondays"}

        tried = await operator.call("POST", "/canary", {**told, "share": 0.5})
        assert (tried.status, tried.body["stage"], tried.body["share"]) == (200, "canary", 0.5)
        decided = {await operator.decides(number) for number in range(20)}
        assert decided == {shipped, new}
        shown = (await operator.call("GET")).body
        assert {one["version"] for one in shown["versions"]} == {shipped, new}
        assert sum(arm["requests"] for arm in shown["arms"].values()) == 20
        assert shown["history"][-1]["reason"] == "better on Mondays"

        back = await operator.call("POST", "/rollback", {"reason": "worse on Tuesdays"})
        assert (back.body["serving"], back.body["stage"]) == (shipped, "none")
        assert await operator.decides(100) == shipped

        assert (await operator.call("POST", "/activate", told)).body["serving"] == new
        assert await operator.decides(101) == new
        again = await operator.call("POST", "/rollback", {"reason": "no"})
        assert again.body["serving"] == shipped
        assert await operator.decides(102) == shipped
        assert (await operator.call("POST", "/rollback", {"reason": "no"})).status == 409


@pytest.mark.parametrize(
    ("path", "body"),
    [
        pytest.param("/activate", {"reason": "x"}, id="no version"),
        pytest.param("/activate", {"version": "nonesuch", "reason": "x"}, id="unknown version"),
        pytest.param("/activate", {"version": "../../etc", "reason": "x"}, id="a path"),
        pytest.param("/activate", {"version": "nonesuch"}, id="no reason"),
        pytest.param("/canary", {"version": "v", "reason": "x", "share": 1}, id="whole share"),
        pytest.param("/canary", {"version": "v", "reason": "x", "share": True}, id="truth"),
        pytest.param("/rollback", {}, id="rollback without a reason"),
        pytest.param("/rollback", {"reason": "x", "force": 1}, id="unknown field"),
    ],
)
async def test_what_is_not_understood_changes_nothing(
    path: str, body: dict[str, Any], start: Start, tmp_path: Path
) -> None:
    """An operator must not believe released what is not."""
    async with AsyncExitStack() as life:
        operator = await operated(start, config(tmp_path), life)
        before = (await operator.call("GET")).body["history"]
        answer = await operator.call("POST", path, body)
        assert answer.status == 400
        assert answer.body["error"]["param"]
        assert (await operator.call("GET")).body["history"] == before


async def test_without_the_token_nothing_is_told(start: Start, tmp_path: Path) -> None:
    """Every path asks for it first."""
    async with AsyncExitStack() as life:
        operator = await operated(start, config(tmp_path), life)
        assert (await operator.call("GET", token="wrong")).status == 401
        for path in ("/activate", "/canary", "/rollback"):
            assert (await operator.call("POST", path, {}, token="wrong")).status == 401


async def test_without_a_registry_there_is_nothing_to_change(start: Start) -> None:
    """It says so, and the artifact of the config decides."""
    async with AsyncExitStack() as life:
        operator = await operated(start, "", life)
        shown = (await operator.call("GET")).body
        assert (shown["registry"], shown["versions"]) == (None, [])
        assert (await operator.call("POST", "/rollback", {"reason": "x"})).status == 409
        assert await operator.decides(1) == Artifact.load(DEFAULT).version
