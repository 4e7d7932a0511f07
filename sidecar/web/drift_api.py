"""`/admin/router/drift` on the operator plane: how far traffic is from what the router knows."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from sidecar.oversight.drifting import Drifting
from sidecar.web.listen import MainLoop
from sidecar.web.middleware import json_response
from sidecar.web.token import OperatorToken


class DriftApi:
    """The operator's door to the watch."""

    def __init__(self, *, drifting: Drifting, main: MainLoop, token: OperatorToken) -> None:
        self._drifting = drifting
        self._main = main
        self._token = token

    def routes(self) -> list[web.RouteDef]:
        """Where the handler stands."""
        return [web.get("/admin/router/drift", self.drift)]

    async def drift(self, request: web.Request) -> web.Response:
        """`GET /admin/router/drift`."""
        self._token.check(request)

        async def told() -> dict[str, Any]:
            return self._drifting.report()

        return json_response(await self._main.run(told))
