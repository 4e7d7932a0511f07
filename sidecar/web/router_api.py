"""`/admin/router` on the operator plane: what is released, how a trial goes, the word on both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from aiohttp import web

from router.errors import RouterError
from router.release import MAX_REASON, State
from sidecar.errors import MalformedRequest
from sidecar.rollout.rollout import Rollout
from sidecar.web.bodies import parse_object, read_body
from sidecar.web.listen import MainLoop
from sidecar.web.middleware import json_response
from sidecar.web.token import OperatorToken

OPERATOR: Final = "operator"


class RouterApi:
    """The operator's door to the router's releases."""

    def __init__(self, *, rollout: Rollout, main: MainLoop, token: OperatorToken) -> None:
        self._rollout = rollout
        self._main = main
        self._token = token

    def routes(self) -> list[web.RouteDef]:
        """Where the handlers stand."""
        return [
            web.get("/admin/router", self.overview),
            web.post("/admin/router/activate", self.activate),
            web.post("/admin/router/canary", self.canary),
            web.post("/admin/router/rollback", self.rollback),
        ]

    async def overview(self, request: web.Request) -> web.Response:
        """`GET /admin/router`."""
        self._token.check(request)
        return json_response(await self._main.run(self._rollout.overview))

    async def activate(self, request: web.Request) -> web.Response:
        """`POST` {"version", "reason"}: it serves at once, without a trial."""
        body = await self._body(request, {"version", "reason"})
        version, note = _text(body, "version"), self._rollout.noted(OPERATOR, _text(body, "reason"))
        return await self._change(lambda state: state.activating(version, note), version)

    async def canary(self, request: web.Request) -> web.Response:
        """`POST` {"version", "share"?, "reason"}: a trial from this share on, 0 being shadow."""
        body = await self._body(request, {"version", "share", "reason"})
        version, note = _text(body, "version"), self._rollout.noted(OPERATOR, _text(body, "reason"))
        share = body.get("share", 0.0)
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share < 1:
            raise MalformedRequest("share", "must be a number from 0 up to, not with, 1")
        return await self._change(lambda state: state.trying(version, note, float(share)), version)

    async def rollback(self, request: web.Request) -> web.Response:
        """`POST` {"reason"}: the trial ends; without one, what served before serves again."""
        body = await self._body(request, {"reason"})
        note = self._rollout.noted(OPERATOR, _text(body, "reason"))
        return await self._change(lambda state: state.rolling_back(note))

    async def _change(self, step: Callable[[State], State], version: str = "") -> web.Response:
        async def done() -> dict[str, Any]:
            if version and not await self._rollout.holds(version):
                raise MalformedRequest("version", "is no version of the registry")
            await self._rollout.change(step)
            return await self._rollout.overview()

        try:
            return json_response(await self._main.run(done))
        except RouterError as fault:
            raise web.HTTPConflict(text=str(fault)) from fault

    async def _body(self, request: web.Request, known: set[str]) -> dict[str, Any]:
        self._token.check(request)
        body = parse_object(await read_body(request))
        if strange := sorted(body.keys() - known):
            raise MalformedRequest(strange[0][:64], f"is none of {', '.join(sorted(known))}")
        return body


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_REASON:
        raise MalformedRequest(name, f"must be a string of 1 to {MAX_REASON} characters")
    return value.strip()
