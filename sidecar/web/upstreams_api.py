"""How each model at each upstream stands, for the operator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web

from sidecar.providers.breaker import State
from sidecar.replicas.fleet import Standing
from sidecar.web.middleware import json_response
from sidecar.web.token import OperatorToken


class UpstreamsApi:
    """`GET /admin/upstreams`: breaker, latency and retry budget of every one."""

    def __init__(self, *, read: Callable[[], Sequence[Standing]], token: OperatorToken) -> None:
        """`read` is called on the operator plane's thread and must only look."""
        self._read = read
        self._token = token

    def routes(self) -> list[web.RouteDef]:
        """Where the handlers stand."""
        return [web.get("/admin/upstreams", self.upstreams)]

    async def upstreams(self, request: web.Request) -> web.Response:
        """All of them, the config's order."""
        self._token.check(request)
        return json_response({"upstreams": [_told(each) for each in self._read()]})


def shut(standings: Sequence[Standing]) -> str:
    """`2 of 3 shut`, for those who ask whether all is well; no word of which."""
    count = sum(each.state is State.OPEN for each in standings)
    return f"{count} of {len(standings)} shut"


def _told(standing: Standing) -> dict[str, Any]:
    return {
        "upstream": standing.upstream,
        "model": standing.model,
        "breaker": standing.state.value,
        "retry_after_s": round(standing.retry_after_s, 3),
        "in_flight": standing.in_flight,
        "latency_ms": round(standing.latency_ms, 1),
        "retries_left": round(standing.retries_left, 1),
    }
