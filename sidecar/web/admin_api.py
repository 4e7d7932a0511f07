"""`/admin/cache` on the operator plane: what is kept, why it is served, and how it is forgotten.

The operator plane has a thread and a loop of its own, the cache lives on the main loop: each
handler reads its request here, and has the work done there.
"""

from __future__ import annotations

import time
from typing import Any, Final

import orjson
from aiohttp import web

from cache.epochs import KINDS, Selector
from sidecar.admission.tenants import ANONYMOUS, Caller
from sidecar.chat import parse
from sidecar.deadline import Deadline
from sidecar.errors import MalformedRequest
from sidecar.inspection import Inspection, Wanted
from sidecar.ledger import Inquiry
from sidecar.options import parse_options
from sidecar.stopwatch import Stopwatch
from sidecar.web.bodies import parse_object, read_body
from sidecar.web.listen import MainLoop
from sidecar.web.middleware import json_response
from sidecar.web.token import OperatorToken

MAX_FOUND: Final = 500
"""Chosen: a page that a person can read; more is an export's business."""

EXPLAIN_S: Final = 10.0
"""Chosen: an explanation waits behind the traffic's own texts, and not for ever."""


class AdminApi:
    """The operator's door to the cache."""

    def __init__(self, *, cache: Inspection, main: MainLoop, token: OperatorToken) -> None:
        self._cache = cache
        self._main = main
        self._token = token

    def routes(self) -> list[web.RouteDef]:
        """Where the handlers stand."""
        return [
            web.get("/admin/cache", self.overview),
            web.get("/admin/cache/search", self.search),
            web.get("/admin/cache/entries/{id:[0-9]{1,18}}", self.entry),
            web.post("/admin/cache/invalidate", self.invalidate),
            web.post("/admin/cache/explain", self.explain),
        ]

    async def overview(self, request: web.Request) -> web.Response:
        """`GET /admin/cache`."""
        self._token.check(request)
        return json_response(await self._main.run(self._cache.overview))

    async def search(self, request: web.Request) -> web.Response:
        """`GET /admin/cache/search?tenant=&tag=&model=&text=&limit=`."""
        self._token.check(request)
        wanted = _wanted(dict(request.query))

        async def found() -> list[dict[str, Any]]:
            return self._cache.search(wanted)

        return json_response({"entries": await self._main.run(found)})

    async def entry(self, request: web.Request) -> web.Response:
        """`GET /admin/cache/entries/{id}`."""
        self._token.check(request)
        entry_id = int(request.match_info["id"])

        async def found() -> dict[str, Any] | None:
            return await self._cache.find_entry(entry_id)

        told = await self._main.run(found)
        if told is None:
            raise web.HTTPNotFound(text=f"entry {entry_id} is not kept")
        return json_response(told)

    async def invalidate(self, request: web.Request) -> web.Response:
        """`POST /admin/cache/invalidate` {"by", "value", "tenant"?, "dry_run"?: true}."""
        self._token.check(request)
        body = parse_object(await read_body(request))
        asked, dry_run = _selector(body), body.get("dry_run", True)
        if not isinstance(dry_run, bool):
            raise MalformedRequest("dry_run", "must be true or false")

        async def done() -> dict[str, Any]:
            selector: Selector | None = asked
            if asked.by == "entry":
                selector = await self._cache.entry_selector(asked.value)
            if selector is None:
                return {"dry_run": dry_run, "entries": 0, "told": "no such entry is kept"}
            return await self._cache.invalidate(selector, dry_run=dry_run)

        named = {"by": asked.by, "value": asked.value, "tenant": asked.tenant}
        return json_response({**named, **await self._main.run(done)})

    async def explain(self, request: web.Request) -> web.Response:
        """`POST /admin/cache/explain` {"request": {...}, "tenant"?, "namespace"?, "headers"?}."""
        self._token.check(request)
        inquiry = _inquiry(parse_object(await read_body(request)))
        return json_response(await self._main.run(lambda: self._cache.explain(inquiry)))


def _text(body: dict[str, Any], field: str) -> str:
    value = body.get(field, "")
    if not isinstance(value, str):
        raise MalformedRequest(field, "must be a string")
    return value


def _selector(body: dict[str, Any]) -> Selector:
    by = next((kind for kind in KINDS if kind == body.get("by")), None)
    value, tenant = _text(body, "value"), _text(body, "tenant")
    if by is None:
        raise MalformedRequest("by", f"must be one of {', '.join(KINDS)}")
    # A namespace may have no name, and a request no prompt; that it is meant must be said.
    is_named = bool(value) or (by in {"namespace", "prompt"} and "value" in body)
    if is_named == (by == "all"):
        raise MalformedRequest("value", "must be left out" if by == "all" else "is missing")
    if tenant and by in {"all", "tenant", "entry"}:
        raise MalformedRequest("tenant", "narrows tag, namespace, model and prompt alone")
    return Selector(by, value, tenant)


def _wanted(query: dict[str, str]) -> Wanted:
    limit = query.pop("limit", "20")
    if not (limit.isascii() and limit.isdigit() and 0 < int(limit) <= MAX_FOUND):
        raise MalformedRequest("limit", f"must be a whole number from 1 to {MAX_FOUND}")
    if strange := sorted(query.keys() - {"tenant", "tag", "model", "prompt", "text"}):
        raise MalformedRequest(strange[0][:64], "is no field of a search")
    return Wanted(**query, limit=int(limit))


def _inquiry(body: dict[str, Any]) -> Inquiry:
    headers = body.get("headers", {})
    if not isinstance(headers, dict) or not all(isinstance(v, str) for v in headers.values()):
        raise MalformedRequest("headers", "must be an object of strings")
    if not isinstance(body.get("request"), dict):
        raise MalformedRequest("request", "must be a chat request")
    named = {name.lower(): value for name, value in headers.items()}
    if namespace := _text(body, "namespace"):
        named["x-sidecar-namespace"] = namespace
    return Inquiry(
        request_id="explain",
        received_at=time.time(),
        request=parse(orjson.dumps(body["request"])),
        options=parse_options(named),
        caller=Caller(tenant=_text(body, "tenant") or ANONYMOUS),
        deadline=Deadline.after_s(EXPLAIN_S),
        watch=Stopwatch(),
    )
