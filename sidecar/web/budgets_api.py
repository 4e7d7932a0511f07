"""`/admin/budgets` on the operator plane: what each tenant may spend, spent, and has reserved."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from sidecar.admission.admission import Admission
from sidecar.web.listen import MainLoop
from sidecar.web.middleware import json_response
from sidecar.web.token import OperatorToken


class BudgetsApi:
    """The operator's door to the purses, which live on the main loop."""

    def __init__(self, *, admission: Admission, main: MainLoop, token: OperatorToken) -> None:
        self._admission = admission
        self._main = main
        self._token = token

    def routes(self) -> list[web.RouteDef]:
        """Where the handler stands."""
        return [web.get("/admin/budgets", self.budgets)]

    async def budgets(self, request: web.Request) -> web.Response:
        """`GET /admin/budgets`."""
        self._token.check(request)

        async def told() -> list[dict[str, Any]]:
            return self._admission.budgets()

        return json_response({"budgets": await self._main.run(told)})
