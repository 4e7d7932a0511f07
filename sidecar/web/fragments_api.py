"""`POST /v1/fragments`: one answer put together from separately cached parts.

Whole, or as a stream in which each piece goes out as soon as all before it are out. A failure is a
status of its own as long as nothing was said; afterwards it is an error event, and the end. The
account of every fragment stands in the answer, or in the last chunk.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from decimal import Decimal
from typing import Any, Final

import orjson
from aiohttp import web

from sidecar import answer
from sidecar.admission.admission import Admission
from sidecar.deadline import Deadline
from sidecar.fragments.asked import FragmentsRequest, parse_fragments
from sidecar.fragments.parts import Fragments, Resolved, assembled
from sidecar.fragments.template import Piece, Place
from sidecar.ledger import Inquiry
from sidecar.options import parse_options
from sidecar.pipeline import Pipeline
from sidecar.replies import Reply, Sink
from sidecar.stopwatch import Stopwatch
from sidecar.web import sse
from sidecar.web.bodies import parse_object, read_body
from sidecar.web.connections import SEND_S, send_whole
from sidecar.web.drills import Drills
from sidecar.web.heads import fresh_request_id
from sidecar.web.middleware import REQUEST_ID, error_body

OBJECT: Final = "fragments"
_TOLD: Final = ("cache", "tier", "model", "similarity")
_USAGE: Final = ("prompt_tokens", "completion_tokens", "total_tokens")


class FragmentsApi:
    """The door for assembled answers. Holds nothing between requests."""

    def __init__(
        self,
        *,
        pipeline: Callable[[], Pipeline],
        admission: Admission,
        request_timeout_s: float,
        drills: Drills,
        send_s: float = SEND_S,
    ) -> None:
        """`send_s` is how long what is sent may lie untaken."""
        self._pipeline = pipeline
        self._admission = admission
        self._request_timeout_s = request_timeout_s
        self._drills = drills
        self._send_s = send_s

    def routes(self) -> list[web.RouteDef]:
        """Where the handler stands."""
        return [web.post("/v1/fragments", self.fragments)]

    async def fragments(self, request: web.Request) -> web.StreamResponse:
        """`{"template", "fragments": {name: {"request", "on_failure"?, "text"?}}, "stream"?}`."""
        request[REQUEST_ID] = request_id = fresh_request_id()
        watch, received_at = Stopwatch(), time.time()
        caller = self._admission.identify(request.headers)
        options = parse_options(request.headers)
        deadline = Deadline.after_s(
            min(options.timeout_s or self._request_timeout_s, self._request_timeout_s)
        )
        # While its body is read and taken apart; then each fragment takes a place of its own.
        with await self._admission.place(caller, options.priority, deadline):
            drill = self._drills.find(request.headers, request_id)
            raw = await read_body(request)
            with watch.hop("parse"):
                asked = parse_fragments(parse_object(raw))
        whole = Inquiry(
            request_id=request_id,
            received_at=received_at,
            request=next(iter(asked.fragments.values())).request,  # each part puts its own in
            options=options,
            caller=caller,
            deadline=deadline,
            watch=watch,
            drill=drill,
            path=request.path,
        )
        fragments = Fragments(asked, whole, serve=self._pipeline().serve, place=self._place)
        if asked.stream:
            return await _streamed(request, asked, fragments, whole, self._send_s)
        body = await _whole(asked, fragments, whole)
        limits = self._admission.rate_headers(caller, whole.user)
        headers = {**_headers(body["sidecar"]), **limits}
        return await send_whole(request, headers, orjson.dumps(body), self._send_s)

    @asynccontextmanager
    async def _place(self, inquiry: Inquiry) -> AsyncIterator[None]:
        """One among those in flight: a fragment counts as much as a request that comes alone."""
        admission, options = self._admission, inquiry.options
        with await admission.place(inquiry.caller, options.priority, inquiry.deadline):
            admission.count_user(inquiry.caller, inquiry.user)
            yield


async def _whole(asked: FragmentsRequest, fragments: Fragments, inquiry: Inquiry) -> dict[str, Any]:
    async with fragments:
        with inquiry.watch.hop("upstream"):
            resolved = await fragments.all()
    content = assembled(asked.pieces, {name: one.content for name, one in resolved.items()})
    return {
        "id": inquiry.request_id,
        "object": OBJECT,
        "created": int(inquiry.received_at),
        "content": content,
        **_account(resolved, inquiry),
    }


async def _streamed(
    request: web.Request,
    asked: FragmentsRequest,
    fragments: Fragments,
    inquiry: Inquiry,
    send_s: float,
) -> web.StreamResponse:
    events = _events(asked.pieces, fragments, inquiry)
    try:
        # Before any header is out, a fault is a status of its own.
        first = await anext(events)
    except BaseException:
        await events.aclose()
        raise
    headers = {"x-sidecar-request-id": inquiry.request_id}

    async def pour(sink: Sink) -> Sequence[bytes]:
        async with aclosing(events):
            sink.write([first])
            await sink.room()
            async for payload in events:
                sink.write([payload])
                await sink.room()
        return ()

    return await sse.send(request, Reply(headers=headers, pour=pour, close=lambda: None), send_s)


async def _events(
    pieces: tuple[Piece, ...], fragments: Fragments, inquiry: Inquiry
) -> AsyncGenerator[bytes, None]:
    head = {
        "id": inquiry.request_id,
        "object": "chat.completion.chunk",
        "created": int(inquiry.received_at),
        "model": OBJECT,
    }
    resolved: dict[str, Resolved] = {}
    role: dict[str, str] = {"role": "assistant"}  # told once, as vendors do
    async with fragments:
        for piece in pieces:
            if isinstance(piece, Place):
                with inquiry.watch.hop("upstream"):
                    resolved[piece.name] = await fragments.one(piece.name)
                text = resolved[piece.name].content
            else:
                text = piece
            for words in answer.pieces(text):
                yield _chunk(head, {**role, "content": words}, None)
                role = {}
    told = {name: resolved[name] for name in fragments.names}
    yield orjson.dumps(
        {
            **head,
            "choices": [{"index": 0, "delta": role, "finish_reason": "stop"}],
            **_account(told, inquiry),
        }
    )


def _chunk(head: Mapping[str, Any], delta: Mapping[str, str], finish: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return orjson.dumps({**head, "choices": [choice]})


def _account(resolved: Mapping[str, Resolved], inquiry: Inquiry) -> dict[str, Any]:
    """What each fragment came to, and all of them together."""
    parts = resolved.values()
    slowest_ms = max(float(part.headers.get("x-sidecar-overhead-ms", "0")) for part in parts)
    return {
        "fragments": {name: _part(part) for name, part in resolved.items()},
        "usage": {name: sum(part.usage.get(name, 0) for part in parts) for name in _USAGE},
        "sidecar": {
            "request_id": inquiry.request_id,
            "cache": dict(Counter(p.headers["x-sidecar-cache"] for p in parts if p.headers)),
            "escalations": sum(int(p.headers.get("x-sidecar-escalations", "0")) for p in parts),
            "cost_usd": _dollars(sum((p.usd("x-sidecar-cost-usd") for p in parts), Decimal(0))),
            "saved_usd": _dollars(sum((p.usd("x-sidecar-saved-usd") for p in parts), Decimal(0))),
            # They run side by side: our own share is the slowest one's, and the putting together.
            "overhead_ms": round(inquiry.watch.overhead_ms() + slowest_ms, 3),
        },
    }


def _part(part: Resolved) -> dict[str, Any]:
    told: dict[str, Any] = {"status": part.status, "content": part.content}
    told |= {
        name: part.headers[f"x-sidecar-{name}"]
        for name in _TOLD
        if f"x-sidecar-{name}" in part.headers
    }
    told |= {
        "cost_usd": _dollars(part.usd("x-sidecar-cost-usd")),
        "saved_usd": _dollars(part.usd("x-sidecar-saved-usd")),
        "escalations": int(part.headers.get("x-sidecar-escalations", "0")),
        "request_id": part.request_id,
    }
    if part.fault is not None:
        told["error"] = error_body(part.fault).get("error")
    return told


def _headers(totals: Mapping[str, Any]) -> dict[str, str]:
    return {
        "x-sidecar-request-id": totals["request_id"],
        "x-sidecar-escalations": str(totals["escalations"]),
        "x-sidecar-cost-usd": totals["cost_usd"],
        "x-sidecar-saved-usd": totals["saved_usd"],
        "x-sidecar-overhead-ms": f"{totals['overhead_ms']:.3f}",
    }


def _dollars(amount: Decimal) -> str:
    return f"{amount.normalize():f}"
