"""How the upstreams stand: told to the operator, and counted for whoever asks."""

from __future__ import annotations

import logging

from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from sidecar.providers.breaker import State
from sidecar.replicas.fleet import Standing
from sidecar.web.middleware import errors_told
from sidecar.web.token import OperatorToken
from sidecar.web.upstreams_api import UpstreamsApi, shut

STANDINGS = [
    Standing("vendor", "gpt", State.OPEN, 4.5, 0, 12.34, 9.0),
    Standing("local", "llama", State.CLOSED, 0.0, 2, 345.6, 10.0),
]


async def told(token: str) -> tuple[int, dict[str, object]]:
    api = UpstreamsApi(read=lambda: STANDINGS, token=OperatorToken("secret"))
    app = web.Application(middlewares=[errors_told(logging.getLogger("test"))])
    app.add_routes(api.routes())
    async with TestServer(app) as server, ClientSession() as session:
        headers = {"authorization": f"Bearer {token}"}
        async with session.get(server.make_url("/admin/upstreams"), headers=headers) as response:
            return response.status, await response.json()


async def test_the_operator_sees_each_of_them() -> None:
    """Breaker, time until its trial, calls under way, latency, and the budget that is left."""
    status, body = await told("secret")
    assert status == 200
    assert body["upstreams"] == [
        {
            "upstream": "vendor",
            "model": "gpt",
            "breaker": "open",
            "retry_after_s": 4.5,
            "in_flight": 0,
            "latency_ms": 12.3,
            "retries_left": 9.0,
        },
        {
            "upstream": "local",
            "model": "llama",
            "breaker": "closed",
            "retry_after_s": 0.0,
            "in_flight": 2,
            "latency_ms": 345.6,
            "retries_left": 10.0,
        },
    ]


async def test_nobody_else_does() -> None:
    """Names of upstreams and models are the operator's."""
    assert (await told("guess"))[0] == 401


def test_whoever_asks_whether_all_is_well_hears_a_count() -> None:
    """No names: `/readyz` asks for no token."""
    assert shut(STANDINGS) == "1 of 2 shut"
