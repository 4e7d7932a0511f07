"""`POST /v1/feedback`: what somebody thought of an answer, into the log that training reads."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import orjson
from aiohttp import web

from sidecar.admission.admission import Admission
from sidecar.errors import MalformedRequest, ReadOnly
from sidecar.overrides.override import Ruling
from sidecar.traffic.record import FeedbackRecord, Record
from sidecar.web.bodies import read_body
from sidecar.web.middleware import json_response

MAX_TEXT: Final = 20_000
"""Chosen: a long answer with room to spare; the log is bounded in every field."""

_LABELS: Final = {"good": 1.0, "bad": 0.0}


class Log(Protocol):
    """Where records go."""

    def put(self, record: Record) -> None:
        """Take one record."""
        ...


class Meter(Protocol):
    """Where counts go."""

    def feedback(self, score: float | None) -> None:
        """One piece of feedback came in."""
        ...


class Listener(Protocol):
    """Who learns from it at once."""

    def feedback(self, record: FeedbackRecord) -> None:
        """Hear what was said. Never raises, never waits."""
        ...


class FeedbackApi:
    """The door for feedback. A tenant speaks of its own requests only: training joins by both."""

    def __init__(
        self,
        *,
        admission: Admission,
        log: Log,
        meter: Meter,
        listeners: Sequence[Listener],
        rulings: Callable[[str], Ruling],
    ) -> None:
        """`rulings` gives what the operator's switches come to for a tenant."""
        self._rulings = rulings
        self._admission = admission
        self._log = log
        self._meter = meter
        self._listeners = listeners

    def routes(self) -> list[web.RouteDef]:
        """Where the handler stands."""
        return [web.post("/v1/feedback", self.feedback)]

    async def feedback(self, request: web.Request) -> web.Response:
        """`{"request_id", "score" or "label", "correct_answer"?, "comment"?}`."""
        caller = self._admission.identify(request.headers)
        if not self._rulings(caller.tenant).writes:
            raise ReadOnly("the operator lets nothing be written down for a while")
        record = parse_feedback(await read_body(request), tenant=caller.tenant, at=time.time())
        self._log.put(record)
        self._meter.feedback(record.score)
        for listener in self._listeners:
            listener.feedback(record)
        return json_response({"object": "feedback", "request_id": record.request_id})


def parse_feedback(raw: bytes, *, tenant: str, at: float) -> FeedbackRecord:
    """The feedback that `raw` holds.

    Raises:
        MalformedRequest: A field is missing or of the wrong kind; it is named.
    """
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as fault:
        raise MalformedRequest("body", f"is no valid JSON: {fault}") from fault
    if not isinstance(body, dict):
        raise MalformedRequest("body", "must be a JSON object")
    request_id = _text(body, "request_id")
    if not request_id:
        raise MalformedRequest("request_id", "must name the answered request")
    score, correct_answer = _score(body), _text(body, "correct_answer")
    if score is None and not correct_answer:
        raise MalformedRequest("score", "or a label or a correct_answer is needed")
    return FeedbackRecord(
        request_id=request_id,
        at=at,
        tenant=tenant,
        score=score,
        correct_answer=correct_answer,
        comment=_text(body, "comment"),
    )


def _score(body: dict[str, Any]) -> float | None:
    label, score = body.get("label"), body.get("score")
    if label is not None and not (isinstance(label, str) and label in _LABELS):
        raise MalformedRequest("label", "must be good or bad")
    if score is None:
        return _LABELS.get(label) if label is not None else None
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        raise MalformedRequest("score", "must be a number from 0 to 1")
    return float(score)


def _text(body: dict[str, Any], field: str) -> str:
    value = body.get(field, "")
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise MalformedRequest(field, f"must be a string of at most {MAX_TEXT} characters")
    return value
