"""`/admin/review` on the operator plane: answers worth a person's look, and the verdicts on them.

A verdict is feedback of the surest kind: it goes to the log that training reads, and to whoever
learns at once, as if the caller had said it; and it is marked as a reviewer's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from aiohttp import web

from sidecar.errors import MalformedRequest, ReadOnly
from sidecar.overrides.override import Ruling
from sidecar.oversight.reviewing import Reviewing
from sidecar.oversight.reviews import WHYS
from sidecar.traffic.record import FeedbackRecord
from sidecar.web.bodies import parse_object, read_body
from sidecar.web.feedback_api import Listener, Log, parse_feedback
from sidecar.web.listen import MainLoop
from sidecar.web.middleware import json_response
from sidecar.web.token import OperatorToken

MAX_SHOWN: Final = 500
"""Chosen: as many entries as a search of the cache shows."""

FIELDS: Final = frozenset({"request_id", "tenant", "label", "score", "correct_answer", "comment"})


class ReviewApi:
    """The reviewers' door."""

    def __init__(
        self,
        *,
        queue: Reviewing,
        log: Log,
        listeners: Sequence[Listener],
        rulings: Callable[[str], Ruling],
        main: MainLoop,
        token: OperatorToken,
    ) -> None:
        """`listeners` hear of a verdict at once, the queue among them."""
        self._queue = queue
        self._log = log
        self._listeners = listeners
        self._rulings = rulings
        self._main = main
        self._token = token

    def routes(self) -> list[web.RouteDef]:
        """Where the handlers stand."""
        return [
            web.get("/admin/review", self.waiting),
            web.post("/admin/review", self.judge),
        ]

    async def waiting(self, request: web.Request) -> web.Response:
        """`GET /admin/review?tenant=&why=&limit=`: the weightiest first."""
        self._token.check(request)
        tenant, why, limit = _wanted(dict(request.query))

        async def found() -> dict[str, Any]:
            held = self._queue.waiting(tenant=tenant, why=why)
            return {"waiting": len(held), "items": [each.to_map() for each in held[:limit]]}

        return json_response(await self._main.run(found))

    async def judge(self, request: web.Request) -> web.Response:
        """`POST` {"request_id", "tenant", "label" or "score", "correct_answer"?, "comment"?}."""
        self._token.check(request)
        raw = await read_body(request)
        body = parse_object(raw)
        if strange := sorted(body.keys() - FIELDS):
            raise MalformedRequest(strange[0][:64], f"is none of {', '.join(sorted(FIELDS))}")
        tenant = body.get("tenant")
        if not isinstance(tenant, str) or not tenant:
            raise MalformedRequest("tenant", "must name whose request it was")
        record = replace(parse_feedback(raw, tenant=tenant, at=time.time()), source="review")

        async def judged() -> int | None:
            return self._judged(record)

        left = await self._main.run(judged)
        if left is None:
            raise web.HTTPNotFound(text="no such answer waits for a verdict")
        told = {"object": "review", "request_id": record.request_id, "waiting": left}
        return json_response(told)

    def _judged(self, record: FeedbackRecord) -> int | None:
        """How many wait still; None if this one did not. Raises ReadOnly."""
        if not self._rulings(record.tenant).writes:
            raise ReadOnly("the operator lets nothing be written down for a while")
        waiting = self._queue.waiting(tenant=record.tenant)
        if all(each.request_id != record.request_id for each in waiting):
            return None
        self._log.put(record)
        for listener in self._listeners:
            listener.feedback(record)
        return len(self._queue)


def _wanted(query: dict[str, str]) -> tuple[str, str, int]:
    limit = query.pop("limit", "50")
    if not (limit.isascii() and limit.isdigit() and 0 < int(limit) <= MAX_SHOWN):
        raise MalformedRequest("limit", f"must be a whole number from 1 to {MAX_SHOWN}")
    if strange := sorted(query.keys() - {"tenant", "why"}):
        raise MalformedRequest(strange[0][:64], "is none of limit, tenant, why")
    why = query.get("why", "")
    if why and why not in WHYS:
        raise MalformedRequest("why", f"must be one of {', '.join(WHYS)}")
    return query.get("tenant", ""), why, int(limit)
