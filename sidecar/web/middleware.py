"""From a fault to what the caller sees of it: the one place where errors become HTTP."""

from __future__ import annotations

import logging
import math
from http import HTTPStatus
from typing import Any, Final

import orjson
from aiohttp import HttpVersion11, web
from aiohttp.typedefs import Handler, Middleware

from sidecar.errors import FragmentFailed, MalformedRequest, PageRefused, SidecarError
from sidecar.ledger import CALLER_LEFT_STATUS
from sidecar.providers.errors import UpstreamRefused

_READ_ONCE: Final = frozenset(
    {"authorization", "x-api-key", "api-key", "content-encoding", "transfer-encoding", "origin"}
)

REQUEST_ID = web.RequestKey("request_id", str)


def error_body(fault: SidecarError) -> dict[str, Any]:
    """OpenAI's error object; an upstream's own is passed on as it came.

    Source: OpenAI's API reference, "Error codes"; its clients expect `code` to be a string.
    """
    if isinstance(fault, UpstreamRefused) and fault.body is not None:
        return dict(fault.body)
    if isinstance(fault, FragmentFailed):
        told = error_body(fault.fault).get("error")
        return {"error": {**(told if isinstance(told, dict) else {}), "param": fault.param}}
    error = {"message": str(fault), "type": fault.kind, "param": fault.param, "code": fault.code}
    return {"error": error}


def error_response(fault: SidecarError) -> web.Response:
    """The whole answer to a request that ended in `fault`."""
    headers = dict(fault.headers)
    if fault.retry_after_s is not None:
        headers["retry-after"] = str(math.ceil(fault.retry_after_s))
    return json_response(error_body(fault), status=fault.status, headers=headers)


def json_response(
    body: Any, *, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    """`body` as JSON."""
    return web.Response(
        body=orjson.dumps(body), status=status, headers=headers, content_type="application/json"
    )


def fault_told(fault: Exception, path: str, logger: logging.Logger) -> web.Response:
    """The answer to a request that ended in `fault`, whatever that is."""
    if isinstance(fault, SidecarError):
        return error_response(fault)
    if isinstance(fault, ConnectionError):
        # The caller left while he was being answered: nobody reads this.
        return web.Response(status=CALLER_LEFT_STATUS)
    # What nobody foresaw: the caller hears of it, the log holds the trace.
    told = {"facts": {"path": path[:200]}}
    logger.error("unforeseen fault", exc_info=fault, extra=told)
    return error_response(SidecarError("the sidecar failed; the fault is logged"))


def errors_told(logger: logging.Logger) -> Middleware:
    """The middleware that lets no fault out untold."""

    @web.middleware
    async def told(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = await handler(request)
        except web.HTTPException as fault:
            response = _http_error(fault)
        except Exception as fault:  # noqa: BLE001 - see `fault_told`
            response = fault_told(fault, request.path, logger)
        request_id = request.get(REQUEST_ID)
        if request_id is not None and not response.prepared:
            response.headers.setdefault("x-sidecar-request-id", request_id)
        return response

    return told


@web.middleware
async def pages_kept_out(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The middleware that lets no web page ask.

    A page that somebody looks at on this machine, or in this network, reaches the data plane too:
    by its address, or by a name of its own that it had resolve there, and then it also reads the
    answer. Browsers send `Origin` with whatever a page posts, and cannot be made not to; no SDK
    does. Source: the Fetch standard, section 3.2, "`Origin` header", read 2026-09-01.
    """
    if "origin" in request.headers:
        raise PageRefused("no web page may ask here: it has no business with this key or cache")
    return await handler(request)


@web.middleware
async def double_talk_refused(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The middleware that refuses what another reader on the way may have read in another way.

    The parser has refused two lengths, two hosts and the like. What is left to us: a header that
    is read once and was sent twice (whoever stands before us may have looked at the other key), and
    a body whose length only one version of HTTP can tell.
    Source: RFC 9110, section 5.3; RFC 9112, sections 6.1 (HTTP/1.0 has no Transfer-Encoding, and
    a coding that is not known is refused).
    """
    headers = request.headers
    names = {name.lower() for name in headers}
    if len(names) < len(headers):
        for name in names:
            is_read_once = name in _READ_ONCE or name.startswith("x-sidecar-")
            if is_read_once and len(headers.getall(name)) > 1:
                raise MalformedRequest(name, "may be sent once")
    coding = headers.get("transfer-encoding")
    if coding is not None and (request.version < HttpVersion11 or coding.lower() != "chunked"):
        raise MalformedRequest("transfer-encoding", "must be chunked, and of HTTP/1.1")
    return await handler(request)


def _http_error(fault: web.HTTPException) -> web.Response:
    """The server's own refusals (no such path, wrong method, body too large), in OpenAI's shape."""
    error = {
        "message": f"{HTTPStatus(fault.status).phrase}: {fault.text or fault.reason}",
        "type": "invalid_request_error",
        "param": None,
        "code": HTTPStatus(fault.status).phrase.lower().replace(" ", "_"),
    }
    allowed = {name: fault.headers[name] for name in ("Allow",) if name in fault.headers}
    return json_response({"error": error}, status=fault.status, headers=allowed)
