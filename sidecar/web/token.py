"""The operator's token: a request in, nothing out, or the refusal."""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from aiohttp import web

from sidecar.errors import UnknownCaller


@dataclass(frozen=True, slots=True)
class OperatorToken:
    """What `/admin/` asks for; an empty one lets everybody in whom the loopback does."""

    token: str

    def check(self, request: web.Request) -> None:
        """Raises UnknownCaller."""
        told = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self.token and not hmac.compare_digest(told.encode(), self.token.encode()):
            raise UnknownCaller("the operator's token is missing or wrong")
