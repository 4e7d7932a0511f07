"""`/admin/budgets` on the operator plane: what each tenant may spend, spent, and has reserved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from sidecar.web.middleware import json_response
from sidecar.web.token import OperatorToken


class BudgetsApi:
    """The operator's door to the purses."""

    def __init__(self, *, read: Callable[[], list[dict[str, Any]]], token: OperatorToken) -> None:
        """`read` is called on the operator plane's thread."""
        self._read = read
        self._token = token

    def routes(self) -> list[web.RouteDef]:
        """Where the handler stands."""
        return [web.get("/admin/budgets", self.budgets)]

    async def budgets(self, request: web.Request) -> web.Response:
        """`GET /admin/budgets`."""
        self._token.check(request)
        return json_response({"budgets": self._read()})
