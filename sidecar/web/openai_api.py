"""The data plane in OpenAI's shape."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Final, TypeVar

from aiohttp import web

from sidecar.admission.admission import Admission
from sidecar.chat import parse
from sidecar.deadline import Deadline
from sidecar.errors import NotBuilt, UnknownModel
from sidecar.ledger import Inquiry
from sidecar.options import Options, parse_options
from sidecar.pipeline import Pipeline
from sidecar.replies import Reply
from sidecar.stopwatch import Stopwatch
from sidecar.web import sse
from sidecar.web.bodies import read_body
from sidecar.web.connections import SEND_S, send_whole
from sidecar.web.drills import Drills
from sidecar.web.given import Givens
from sidecar.web.heads import CHAT, fresh_request_id
from sidecar.web.middleware import REQUEST_ID, json_response

T = TypeVar("T")

NOT_BUILT: Final = (
    "/v1/completions",
    "/v1/responses",
    "/v1/embeddings",
    "/v1/messages",
    "/v1/files",
    "/v1/batches",
)
"""Paths of the contract that this version refuses by name."""


class OpenAIApi:
    """`/v1/chat/completions` and `/v1/models`.

    Attributes:
        pipeline: Gives the pipeline in force; asked once a request, so that a reload takes hold
            between two requests and never within one.
    """

    def __init__(
        self,
        *,
        pipeline: Callable[[], Pipeline],
        admission: Admission,
        request_timeout_s: float,
        drills: Drills,
        givens: Givens | None = None,
        send_s: float = SEND_S,
    ) -> None:
        """Set up.

        Args:
            pipeline: See above.
            admission: Who may come in.
            request_timeout_s: Of a request that names none.
            drills: Of the operator.
            givens: Holds exact hits for whoever sends the same again; None where nobody does.
            send_s: How long what is sent may lie untaken.
        """
        self._pipeline = pipeline
        self._admission = admission
        self._request_timeout_s = request_timeout_s
        self._drills = drills
        self._begun_at = int(time.time())
        self._givens = givens
        self._send_s = send_s

    def routes(self) -> list[web.RouteDef]:
        """Where the handlers stand."""
        return [
            web.post(CHAT, self.chat),
            web.get("/v1/models", self.models),
            web.get("/v1/models/{id:.+}", self.model),
            *(web.route("*", path + "{rest:(/.*)?}", self.not_built) for path in NOT_BUILT),
        ]

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """`POST /v1/chat/completions`."""
        request[REQUEST_ID] = request_id = fresh_request_id()
        return await self.answered(
            request_id,
            request.headers,
            options_of=parse_options,
            read=lambda: read_body(request),
            send=lambda reply: _sent(request, reply, self._send_s),
        )

    async def answered(
        self,
        request_id: str,
        headers: Mapping[str, str],
        *,
        options_of: Callable[[Mapping[str, str]], Options],
        read: Callable[[], Awaitable[bytes]],
        send: Callable[[Reply], Awaitable[T]],
    ) -> T:
        """What `send` makes of the reply to a chat request; its account is closed after that.

        Args:
            request_id: Its id.
            headers: Its headers.
            options_of: Reads what they ask for, once it is known who asks.
            read: Gives its body, once there is a place for it.
            send: Sends the reply, to its last byte.

        Raises:
            SidecarError: There is none.
        """
        watch, received_at = Stopwatch(), time.time()
        admission = self._admission
        caller = admission.identify(headers)
        options = options_of(headers)
        deadline = Deadline.after_s(
            min(options.timeout_s or self._request_timeout_s, self._request_timeout_s)
        )
        with await admission.place(caller, options.priority, deadline):
            drill = self._drills.find(headers, request_id)
            raw = await read()
            with watch.hop("parse"):
                parsed = parse(raw)
            inquiry = Inquiry(
                request_id=request_id,
                received_at=received_at,
                request=parsed,
                options=options,
                caller=caller,
                deadline=deadline,
                watch=watch,
                drill=drill,
                path=CHAT,
            )
            is_rated = admission.is_rated(caller)
            if is_rated:
                admission.count_user(caller, inquiry.user)
            reply = await self._pipeline().serve(inquiry)
            if is_rated:
                limits = admission.rate_headers(caller, inquiry.user)
                reply = replace(reply, headers={**reply.headers, **limits})
            elif reply.again is not None and self._givens is not None:
                self._givens.keep(headers, raw, reply.again)
            try:
                return await send(reply)
            finally:
                reply.close()

    async def models(self, request: web.Request) -> web.Response:
        """`GET /v1/models`."""
        self._admission.identify(request.headers)
        listed = [self._told(name) for name in self._pipeline().targets.names]
        return json_response({"object": "list", "data": listed})

    async def model(self, request: web.Request) -> web.Response:
        """`GET /v1/models/{id}`."""
        self._admission.identify(request.headers)
        name, known = request.match_info["id"], self._pipeline().targets.names
        if name not in known:
            raise UnknownModel(name, known)
        return json_response(self._told(name))

    def _told(self, name: str) -> dict[str, object]:
        return {"id": name, "object": "model", "created": self._begun_at, "owned_by": "sidecar"}

    async def not_built(self, request: web.Request) -> web.Response:
        """A path of the contract that is not there yet."""
        raise NotBuilt(f"{request.path} is not built in this version")


async def _sent(request: web.Request, reply: Reply, send_s: float) -> web.StreamResponse:
    if reply.pour is not None:
        return await sse.send(request, reply, send_s)
    assert reply.body is not None  # noqa: S101 - whole
    return await send_whole(request, reply.headers, reply.body, send_s)
