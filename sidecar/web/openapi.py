"""`GET /openapi.json`: both planes' paths as one OpenAPI 3.1 document, written by hand.

It is data and not made from the code, so that a change of what is promised is seen as one. Tests
hold it: every registered route stands in it and none else, and what it allows is asked of a real
sidecar (tests/fuzz). Paths of the contract that are not built yet are not promised here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from router.release import MAX_REASON
from sidecar import __version__
from sidecar.oversight.reviews import WHYS
from sidecar.web.admin_api import MAX_FOUND
from sidecar.web.middleware import json_response
from sidecar.web.openapi_parts import (
    ANYTHING,
    SCHEMAS,
    STEERING,
    STRING,
    TOLD,
    VERDICT,
    Schema,
    answered,
    closed,
    faults,
    json_body,
    open_to_more,
    query,
    ref,
    words,
)
from sidecar.web.review_api import MAX_SHOWN

_DATA: Final = "data"
_OPERATOR: Final = "operator"
_PROBES: Final = "probes"

_READ: Final = ("408", "413", "415")
"""What may become of a body on its way in."""
_ANSWERS: Final = ("400", "401", "403", "404", "429", "502", "503", "504", *_READ)
_REASON: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": MAX_REASON}


def _operation(plane: str, told: str, responses: Mapping[str, Any], **more: Any) -> Schema:
    security: dict[str, Any] = {} if plane != _PROBES else {"security": []}
    return {"tags": [plane], "summary": told, "responses": dict(responses), **security, **more}


def _told(told: str, schema: Schema = ANYTHING, *refusals: str) -> Schema:
    """An operator's question without a body."""
    responses = {"200": answered(schema, told), **faults("400", "401", *refusals)}
    return _operation(_OPERATOR, told, responses)


def _done(told: str, body: Schema, *refusals: str, required: bool = True) -> Schema:
    """An operator's deed."""
    responses = {"200": answered(ANYTHING, told), **faults("400", "401", *_READ, *refusals)}
    return _operation(_OPERATOR, told, responses, requestBody=json_body(body, required=required))


def _probe(told: str, *statuses: str) -> Schema:
    return _operation(_PROBES, told, {status: answered(ANYTHING, told) for status in statuses})


def _chat(told: str, body: str, answer: str) -> Schema:
    whole = answered(ref(answer), told, streams=True, headers=dict(TOLD))
    return _operation(
        _DATA,
        told,
        {"200": whole, **faults(*_ANSWERS)},
        parameters=list(STEERING),
        requestBody=json_body(ref(body)),
    )


_METRICS: Final = {
    "200": {"description": "Prometheus' text", "content": {"text/plain": {"schema": STRING}}}
}
_RELOADED: Final = {
    "200": answered(ANYTHING, "The new one holds"),
    "400": answered(
        open_to_more(["status", "faults"], status=STRING), "Unchanged, with all its faults"
    ),
    **faults("401"),
}
_SEARCH: Final = [
    query("tenant", "Whose"),
    query("tag", "One of its tags"),
    query("model", "The model or the tier that gave it"),
    query("prompt", "The version of its prompt"),
    query("text", "Words of its question"),
    query("limit", "At most so many", {"type": "integer", "minimum": 1, "maximum": MAX_FOUND}),
]
_ENTRY: Final[Schema] = {"type": "string", "pattern": "^[0-9]{1,18}$"}

PATHS: Final[Mapping[str, Schema]] = {
    "/v1/chat/completions": {
        "post": _chat("A chat completion, in OpenAI's shape", "ChatRequest", "ChatCompletion")
    },
    "/v1/fragments": {
        "post": _chat("One answer from separately kept parts", "FragmentsRequest", "Assembled")
    },
    "/v1/models": {
        "get": _operation(
            _DATA,
            "Names that `model` may hold",
            {"200": answered(ref("Models"), "All of them"), **faults("401", "403")},
        )
    },
    "/v1/models/{id}": {
        "parameters": [{"name": "id", "in": "path", "required": True, "schema": STRING}],
        "get": _operation(
            _DATA,
            "One of them",
            {"200": answered(ref("Model"), "It is known"), **faults("401", "403", "404")},
        ),
    },
    "/v1/feedback": {
        "post": _operation(
            _DATA,
            "What somebody thought of an answer: a score, a label or the right answer",
            {
                "200": answered(open_to_more(["object", "request_id"]), "It is written down"),
                **faults("400", "401", "403", "503", *_READ),
            },
            requestBody=json_body(ref("Feedback")),
        )
    },
    "/healthz": {"get": _probe("The process lives", "200")},
    "/livez": {"get": _probe("The process lives", "200")},
    "/readyz": {"get": _probe("Requests are welcome", "200", "503")},
    "/metrics": {"get": _operation(_PROBES, "What is counted", _METRICS)},
    "/openapi.json": {"get": _probe("This document", "200")},
    "/admin/config/reload": {
        "post": _operation(_OPERATOR, "Read the config's file again", _RELOADED)
    },
    "/admin/cache": {"get": _told("Sizes, and what the semantic tier may do")},
    "/admin/cache/search": {"get": {**_told("Entries in memory"), "parameters": _SEARCH}},
    "/admin/cache/entries/{id}": {
        "parameters": [{"name": "id", "in": "path", "required": True, "schema": _ENTRY}],
        "get": _told("One entry", ANYTHING, "404"),
    },
    "/admin/cache/invalidate": {
        "post": _done("Forget what is named; a dry run unless told otherwise", ref("Invalidation"))
    },
    "/admin/cache/explain": {
        "post": _done(
            "What the cache would do with a request, and why",
            ref("Explanation"),
            *("403", "404", "503"),
        )
    },
    "/admin/review": {
        "get": {
            **_told("Answers that wait for a person's verdict, the weightiest first"),
            "parameters": [
                query("tenant", "Of this tenant alone."),
                query("why", "For this reason alone.", words(WHYS)),
                query(
                    "limit",
                    "How many are shown.",
                    {"type": "integer", "minimum": 1, "maximum": MAX_SHOWN},
                ),
            ],
        },
        "post": _done("A verdict on one, which training believes most", VERDICT, "404", "503"),
    },
    "/admin/upstreams": {"get": _told("Breakers, latencies and retry budgets")},
    "/admin/budgets": {"get": _told("What each tenant may spend, and spent")},
    "/admin/overrides": {
        "get": _told("Switches that are set"),
        "post": _done("Set one", ref("Override")),
        "delete": {
            **_done("Lift one", ref("Lift"), "404", required=False),
            "parameters": [
                query("switch", "Which"),
                query("value", "Of block-model"),
                query("tenant", "Whose"),
            ],
        },
    },
    "/admin/router": {"get": _told("What is released, and how a trial goes")},
    "/admin/router/drift": {"get": _told("How today's traffic differs from what was learnt from")},
    "/admin/router/activate": {
        "post": _done(
            "A version serves at once",
            closed(["version", "reason"], version=_REASON, reason=_REASON),
            "409",
        )
    },
    "/admin/router/canary": {
        "post": _done(
            "A version is tried on a share of the traffic, 0 being shadow",
            closed(
                ["version", "reason"],
                version=_REASON,
                reason=_REASON,
                share={"type": "number", "minimum": 0, "exclusiveMaximum": 1},
            ),
            "409",
        )
    },
    "/admin/router/rollback": {
        "post": _done(
            "The trial ends, or what served before serves again",
            closed(["reason"], reason=_REASON),
            "409",
        )
    },
}

DOCUMENT: Final[Mapping[str, Any]] = {
    "openapi": "3.1.0",
    "info": {
        "title": "Semantic sidecar",
        "version": __version__,
        "description": "`data` is the plane that callers speak to (port 8080), `operator` and "
        "`probes` are the operator's (port 8081). What a field's schema leaves open passes through "
        "to the vendor.",
    },
    "tags": [{"name": _DATA}, {"name": _OPERATOR}, {"name": _PROBES}],
    "paths": PATHS,
    "security": [{"bearer": []}, {}],
    "components": {
        "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        "schemas": SCHEMAS,
    },
}


def routes() -> list[web.RouteDef]:
    """Where the document stands: on the operator plane, without a token."""
    return [web.get("/openapi.json", _published)]


async def _published(_request: web.Request) -> web.Response:
    return json_response(DOCUMENT)
