"""What the published OpenAPI document is made of: headers, fields, errors, in small pieces.

Each field is here as the parser beside it reads it, and no narrower: what passes through to the
vendor untouched is left open (`additionalProperties`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, get_args

from cache.epochs import KINDS
from router.quality import QUALITY
from sidecar.fragments.asked import MAX_FRAGMENTS, MAX_TEXT, OnFailure
from sidecar.fragments.template import MAX_CHARACTERS, NAME
from sidecar.options import MAX_COST_USD, Priority
from sidecar.overrides.override import MAX_EXPIRES_S, MAX_NAME, SWITCHES
from sidecar.overrides.override import MAX_REASON as MAX_SWITCH_REASON
from sidecar.replicas.drill import Kind
from sidecar.web import feedback_api

Schema = dict[str, Any]

STRING: Final[Schema] = {"type": "string"}
NUMBER: Final[Schema] = {"type": "number"}
BOOLEAN: Final[Schema] = {"type": "boolean"}
ANYTHING: Final[Schema] = {"type": "object"}
PLAIN_NAME: Final[Schema] = {"type": "string", "pattern": r"^[A-Za-z0-9_.:@/-]{1,128}$"}


def ref(name: str) -> Schema:
    """A schema by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def closed(required: Sequence[str], **properties: Schema) -> Schema:
    """An object that holds these fields and no others."""
    return {
        "type": "object",
        "required": list(required),
        "properties": properties,
        "additionalProperties": False,
    }


def open_to_more(required: Sequence[str], **properties: Schema) -> Schema:
    """An object that may hold anything beside these fields."""
    return {"type": "object", "required": list(required), "properties": properties}


def maybe(schema: Schema) -> Schema:
    """The same, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def words(known: Sequence[str]) -> Schema:
    """One of these."""
    return {"type": "string", "enum": list(known)}


def header(name: str, told: str, schema: Schema) -> Schema:
    """A request header; all of them are optional."""
    return {"name": name, "in": "header", "required": False, "description": told, "schema": schema}


STEERING: Final[Sequence[Schema]] = (
    header("Cache-Control", "no-cache, no-store, max-age=N, only-if-cached, ...", STRING),
    header("x-sidecar-namespace", "Partition within the caller's tenant.", PLAIN_NAME),
    header(
        "x-sidecar-quality",
        "A point on the cost-quality curve.",
        {"anyOf": [words(sorted(QUALITY)), {"type": "number", "minimum": 0, "maximum": 1}]},
    ),
    header("x-sidecar-min-tier", "Floor of the cascade.", PLAIN_NAME),
    header("x-sidecar-max-tier", "Ceiling of the cascade.", PLAIN_NAME),
    header(
        "x-sidecar-max-cost-usd",
        "Budget of this request, escalations included.",
        {"type": "number", "minimum": 0, "maximum": MAX_COST_USD},
    ),
    header(
        "x-sidecar-timeout-ms",
        "Deadline of this request.",
        {"type": "number", "minimum": 1, "maximum": 86_400_000},
    ),
    header(
        "x-sidecar-similarity",
        "Stricter hits by meaning.",
        {"type": "number", "minimum": -1, "maximum": 1},
    ),
    header("x-sidecar-tags", "Comma list, at most 16.", STRING),
    header("x-sidecar-user", "Whom the cost is attributed to.", PLAIN_NAME),
    header("x-sidecar-session", "The conversation that it belongs to.", PLAIN_NAME),
    header("x-sidecar-priority", "Who goes first.", words(get_args(Priority))),
    header("x-sidecar-bypass", "1: no cache, no cascade.", words(["0", "1"])),
    header("x-sidecar-debug", "1: the long list of headers.", words(["0", "1"])),
    header(
        "x-sidecar-drill",
        "A fault on purpose, `@upstream` after it; with the operator's token.",
        {"type": "string", "pattern": f"^({'|'.join(get_args(Kind))})(@.+)?$"},
    ),
    header("x-sidecar-drill-token", "The operator's token.", STRING),
)

_TOLD: Final[Mapping[str, str]] = {
    "x-sidecar-request-id": "Ours; feedback names it.",
    "x-sidecar-cache": "hit-exact, hit-semantic, miss, coalesced, stale or bypass.",
    "x-sidecar-tier": "Whose answer it is.",
    "x-sidecar-model": "The same, by the vendor's name.",
    "x-sidecar-similarity": "Of a hit by meaning.",
    "x-sidecar-escalations": "How often a better tier was asked.",
    "x-sidecar-confidence": "That the answer suffices, in [0, 1].",
    "x-sidecar-cost-usd": "What it cost.",
    "x-sidecar-saved-usd": "Against answering it at the top tier.",
    "x-sidecar-overhead-ms": "Our own time, upstream excluded.",
    "x-sidecar-router": "Version of the router's artifact.",
    "x-sidecar-degraded": "Who stood in: upstream, tier, stale or static.",
    "Age": "Seconds since a hit was first answered.",
}
TOLD: Final[Mapping[str, Schema]] = {
    name: {"description": told, "schema": STRING} for name, told in _TOLD.items()
}
"""Of an answer; in a stream, what is known only at its end stands in the last chunk's `sidecar`."""


def query(name: str, told: str, schema: Schema | None = None) -> Schema:
    """A parameter of the query; all of them are optional."""
    return {"name": name, "in": "query", "description": told, "schema": schema or STRING}


def json_body(schema: Schema, *, required: bool = True) -> Schema:
    """A request's body."""
    return {"required": required, "content": {"application/json": {"schema": schema}}}


def answered(schema: Schema, told: str, *, streams: bool = False, **more: Any) -> Schema:
    """A response."""
    content: Schema = {"application/json": {"schema": schema}}
    if streams:
        content["text/event-stream"] = {"schema": STRING}
    return {"description": told, "content": content, **more}


_FAULTS: Final[Mapping[str, str]] = {
    "400": "The body or a header is none that can be read, or breaks a rule of the operator's",
    "401": "The key is missing or unknown",
    "403": "A web page asked, or somebody else than the operator a drill",
    "404": "There is no such thing, or not yet",
    "405": "Another method is meant",
    "408": "The body came too slowly",
    "409": "Not as things stand",
    "413": "The body is too large",
    "415": "The body is packed",
    "429": "No place, no tokens or no money left",
    "502": "Every upstream failed",
    "503": "Switched off for a while, or every upstream is shut",
    "504": "The deadline passed, or only a kept answer was wanted",
}


def faults(*statuses: str) -> dict[str, Schema]:
    """The refusals with these statuses."""
    return {status: answered(ref("Error"), _FAULTS[status]) for status in statuses}


# What each field of a chat request must be where the sidecar reads it: see `sidecar.chat.parse`.
_INTEGER: Final = maybe({"type": "integer"})
_CHAT: Final = open_to_more(
    ["model", "messages"],
    model={"type": "string", "minLength": 1, "description": "auto, a tier, or a model"},
    messages={"type": "array", "minItems": 1, "items": ref("Message")},
    stream=maybe(BOOLEAN),
    stream_options=maybe(open_to_more([], include_usage=BOOLEAN)),
    n=_INTEGER,
    temperature=maybe(NUMBER),
    max_tokens=_INTEGER,
    max_completion_tokens=_INTEGER,
    response_format=maybe(ANYTHING),
    tools=maybe({"type": "array"}),
)
_ERROR: Final = open_to_more(
    ["message", "type"],
    message=STRING,
    type=maybe(STRING),
    param=maybe(STRING),
    code=maybe(STRING),
)
_OVERRIDE: Final[Mapping[str, Schema]] = {
    "switch": words(SWITCHES),
    "value": {"type": "string", "maxLength": MAX_NAME},
    "tenant": {"type": "string", "maxLength": MAX_NAME},
}
_MAX_FEEDBACK: Final[Schema] = {"type": "string", "maxLength": feedback_api.MAX_TEXT}
VERDICT: Final[Schema] = {
    **closed(
        ["request_id", "tenant"],
        request_id={**_MAX_FEEDBACK, "minLength": 1},
        tenant={**_MAX_FEEDBACK, "minLength": 1},
        label=words(["good", "bad"]),
        score={"type": "number", "minimum": 0, "maximum": 1},
        correct_answer=_MAX_FEEDBACK,
        comment=_MAX_FEEDBACK,
    ),
    "anyOf": [{"required": [name]} for name in ("label", "score", "correct_answer")],
}

SCHEMAS: Final[Mapping[str, Schema]] = {
    "Error": open_to_more(["error"], error=_ERROR),
    "Message": open_to_more(
        ["role"],
        role=STRING,
        content=maybe({"anyOf": [STRING, {"type": "array", "items": ANYTHING}]}),
    ),
    "ChatRequest": _CHAT,
    "ChatCompletion": open_to_more(
        ["choices"],
        id=STRING,
        object=STRING,
        created={"type": "integer"},
        model=STRING,
        choices={"type": "array", "minItems": 1, "items": open_to_more(["message"])},
        usage=ANYTHING,
    ),
    "Model": open_to_more(["id", "object", "created", "owned_by"], id=STRING),
    "Models": open_to_more(["object", "data"], data={"type": "array", "items": ref("Model")}),
    "FragmentsRequest": closed(
        ["template", "fragments"],
        template={"type": "string", "maxLength": MAX_CHARACTERS},
        fragments={
            "type": "object",
            "minProperties": 1,
            "maxProperties": MAX_FRAGMENTS,
            "propertyNames": {"pattern": f"^{NAME.pattern}$"},
            "additionalProperties": ref("Fragment"),
        },
        stream=BOOLEAN,
    ),
    "Fragment": closed(
        ["request"],
        request=ref("ChatRequest"),
        on_failure=words(get_args(OnFailure)),
        text=maybe({"type": "string", "maxLength": MAX_TEXT}),
    ),
    "Assembled": open_to_more(
        ["id", "object", "created", "content", "fragments", "usage", "sidecar"],
        content=STRING,
        fragments=ANYTHING,
    ),
    "Feedback": open_to_more(
        ["request_id"],
        request_id={**_MAX_FEEDBACK, "minLength": 1},
        score=maybe({"type": "number", "minimum": 0, "maximum": 1}),
        label=maybe(words(["good", "bad"])),
        correct_answer=_MAX_FEEDBACK,
        comment=_MAX_FEEDBACK,
    ),
    "Invalidation": open_to_more(
        ["by"], by=words(KINDS), value=STRING, tenant=STRING, dry_run=BOOLEAN
    ),
    "Explanation": open_to_more(
        ["request"],
        request=ref("ChatRequest"),
        tenant=STRING,
        namespace=PLAIN_NAME,
        headers={"type": "object", "additionalProperties": STRING},
    ),
    "Override": closed(
        ["switch", "expires_in_s", "reason"],
        **_OVERRIDE,
        expires_in_s={"type": "number", "exclusiveMinimum": 0, "maximum": MAX_EXPIRES_S},
        reason={"type": "string", "minLength": 1, "maxLength": MAX_SWITCH_REASON},
    ),
    "Lift": closed(["switch"], **_OVERRIDE),
}
