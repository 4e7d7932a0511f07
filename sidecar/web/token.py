"""The operator's token: a request in, nothing out, or the refusal."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field

from aiohttp import web

from sidecar.errors import UnknownCaller
from sidecar.web.listen import is_loopback


@dataclass(frozen=True, slots=True)
class OperatorToken:
    """What `/admin/` asks for; an empty one lets in whoever is on this machine, but no web page.

    A page in a browser on this machine reaches the loopback too, by its own name or by one that it
    had resolve there. It cannot help sending its `Origin`, or that name as `Host`.
    """

    token: str = field(repr=False)

    def check(self, request: web.Request) -> None:
        """Raises UnknownCaller."""
        if not self.token:
            if "origin" in request.headers or not is_loopback(request.url.host or ""):
                raise UnknownCaller("without an operator's token no web page may ask")
            return
        told = request.headers.get("authorization", "").removeprefix("Bearer ")
        # Bytes that are no UTF-8 reach us as surrogates, which plain `encode` refuses.
        told_bytes = told.encode(errors="surrogateescape")
        if not hmac.compare_digest(told_bytes, self.token.encode()):
            raise UnknownCaller("the operator's token is missing or wrong")
