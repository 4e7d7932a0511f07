"""One request, one piece of feedback or one shadow ask, as it is written to the log and read back.

Rule 1: a record is a msgpack map of plain values; `to_map` and `from_map` are the only two places
that know its keys. Rule 2: fields are only ever added, with a default; SCHEMA rises when the
meaning of an old one changes, and `from_map` refuses a schema that it does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from sidecar.errors import TrafficError
from sidecar.values import value

SCHEMA: Final = 1

Source = Literal["", "review"]


@value(frozen=True, kw_only=True)
class AttemptRecord:
    """One call to one upstream on behalf of one tier.

    Attributes:
        tier: Name of the tier.
        model: The vendor's model id.
        upstream: Name of the upstream.
        outcome: `answered`, or the name of the error class (`UpstreamBusy`).
        tokens_in: Prompt tokens billed.
        tokens_out: Completion tokens billed.
        cost_usd: Decimal as text.
        latency_ms: From asking to the last byte.
        finish_reason: The vendor's word; empty if it did not answer.
        confidence: The judgement's calibrated estimate once this answer was held; None if none.
        answer: The answer's text; empty if it did not answer, or redacted away.
        guardrail: The operator's rule that the answer breaks; empty if it breaks none.
    """

    tier: str
    model: str
    upstream: str
    outcome: str
    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: str = "0"
    latency_ms: float = 0.0
    finish_reason: str = ""
    confidence: float | None = None
    answer: str = ""
    guardrail: str = ""


@value(frozen=True, kw_only=True)
class RequestRecord:
    """All that is known of one request once it is over.

    Attributes:
        request_id: The `x-sidecar-request-id` that the caller saw; feedback names it.
        at: Seconds since the epoch, UTC, when the request came in.
        tenant: Who asked.
        namespace: The caller's partition within the tenant.
        user: Whom the cost is attributed to; empty if nobody.
        tags: The caller's tags.
        alias: The `model` that the caller named.
        question: The text that was embedded; empty if none could be, or redacted away.
        system: The system prompt, if there was one.
        turns: Messages in the conversation.
        parameters: Every field of the request but messages (`temperature`, `tools` ...).
        partition: Hex digest of the semantic partition; empty if exact only.
        vector: The question's unit vector as little-endian float16 bytes; empty if none was made.
        encoder_id: Identity of the encoder that made it.
        tokens_in: Estimated tokens of the whole prompt, before any call.
        cache: `hit-exact`, `hit-semantic`, `miss`, `coalesced` or `bypass`.
        cache_reason: Why a miss; empty on a hit.
        similarity: Cosine of the served or nearest entry; None if none was looked at.
        risk: Calibrated chance that the semantic hit is false; None if no semantic hit.
        entry_id: The entry served or kept; None if neither.
        allowed: Tiers that might have been asked, by name.
        entry_tier: The decision's tier; empty on a hit.
        decision_reason: Its reason.
        rule: The one of `[router] rules` that routed it; empty if none did.
        probabilities: For each tier's name, the calibrated chance that it suffices.
        propensity: Probability with which the entry tier was drawn.
        quality: The point on the cost-quality curve that was asked for.
        attempts: Every call made, in order.
        served_tier: Whose answer the caller got; on a hit, whose answer it once was.
        served_model: Its model.
        degraded: `upstream`, `tier`, `stale` or `static` if one stood in for whom was to answer.
        confidence: The served answer's; None on a hit.
        status: HTTP status that the caller got.
        error: Name of the error class; empty if answered.
        guardrail: The operator's rule that the request breaks; empty if it breaks none.
        overrides: The operator's switches that held for it.
        stream: The caller asked for a stream.
        cost_usd: What this request cost, all attempts; decimal as text.
        saved_usd: Against the top tier; decimal as text.
        latency_ms: From the first byte read to the last byte written.
        overhead_ms: Our own share of it, upstreams excluded.
        artifact: Version of the router's artifact that decided, or would have.
        artifact_role: `serving` or `canary`; empty if no artifact was asked.
        rival: Version of a candidate that was asked beside it, and not heeded; empty if none was.
        rival_tier: Where the rival would have begun; empty if it failed or none was asked.
        config: Short hash of the config in force.
        version: Version of the sidecar.
    """

    request_id: str
    at: float
    tenant: str
    namespace: str = ""
    user: str = ""
    tags: tuple[str, ...] = ()
    alias: str = ""
    question: str = ""
    system: str = ""
    turns: int = 1
    parameters: Mapping[str, Any] | None = None
    partition: str = ""
    vector: bytes = b""
    encoder_id: str = ""
    tokens_in: int = 0
    cache: str = ""
    cache_reason: str = ""
    similarity: float | None = None
    risk: float | None = None
    entry_id: int | None = None
    allowed: tuple[str, ...] = ()
    entry_tier: str = ""
    decision_reason: str = ""
    rule: str = ""
    probabilities: Mapping[str, float] | None = None
    propensity: float = 1.0
    quality: float | None = None
    attempts: tuple[AttemptRecord, ...] = ()
    served_tier: str = ""
    served_model: str = ""
    degraded: str = ""
    confidence: float | None = None
    status: int = 200
    error: str = ""
    guardrail: str = ""
    overrides: tuple[str, ...] = ()
    stream: bool = False
    cost_usd: str = "0"
    saved_usd: str = "0"
    latency_ms: float = 0.0
    overhead_ms: float = 0.0
    artifact: str = ""
    artifact_role: str = ""
    rival: str = ""
    rival_tier: str = ""
    config: str = ""
    version: str = ""


@dataclass(frozen=True, kw_only=True)
class FeedbackRecord:
    """What somebody said of one answer, afterwards.

    Attributes:
        request_id: The request it speaks of.
        at: Seconds since the epoch, UTC.
        tenant: Who said it; feedback counts only if this is the request's own tenant.
        score: 0 (useless) to 1 (right); `good` is 1, `bad` is 0. None if only an answer was given.
        correct_answer: What would have been right; empty if not said.
        comment: Free text.
        source: Empty for whoever asked; `review` for a verdict of the operator's own reviewers,
            which is the surest label there is.
    """

    request_id: str
    at: float
    tenant: str
    score: float | None = None
    correct_answer: str = ""
    comment: str = ""
    source: Source = ""


@dataclass(frozen=True, kw_only=True)
class ShadowRecord:
    """What another tier said to a request, asked behind the caller's back.

    Attributes:
        request_id: The request.
        at: Seconds since the epoch, UTC.
        tenant: Whose it is.
        tier: Who was asked.
        answer: What it said; empty if redacted away.
        cost_usd: What that cost, a judge included; decimal as text.
        propensity: Chance with which the request was drawn.
        label: Of the answer that was served: 1 if both come to the same, 0 if not; None if that
            could not be told, or was not this tier's to tell: the next one's word counts.
        by: Who told: `agreement` (read closely) or `judge` (a tier was asked).
        tokens_in: Prompt tokens billed.
        tokens_out: Completion tokens billed.
    """

    request_id: str
    at: float
    tenant: str
    tier: str
    answer: str = ""
    cost_usd: str = "0"
    propensity: float = 1.0
    label: float | None = None
    by: str = ""
    tokens_in: int = 0
    tokens_out: int = 0


@dataclass(slots=True, eq=False)
class Pattern:
    """What all records of one request have in common that is answered again and again alike.

    Attributes:
        record: The first of them.
        packed: All of it but what is new each time, as the log's thread left it for the next.
    """

    record: RequestRecord
    packed: bytes = b""


@value(frozen=True, slots=True, eq=False)
class AgainRecord:
    """One more of them: the fields that are new, see `RequestRecord`."""

    pattern: Pattern
    request_id: str
    at: float
    latency_ms: float
    overhead_ms: float

    def news(self) -> dict[str, Any]:
        """What is new, ready for msgpack."""
        return {
            "request_id": self.request_id,
            "at": self.at,
            "latency_ms": self.latency_ms,
            "overhead_ms": self.overhead_ms,
        }

    def whole(self) -> RequestRecord:
        """The record that it stands for, and is written as."""
        return replace(self.pattern.record, **self.news())


Record = RequestRecord | FeedbackRecord | ShadowRecord

_KINDS: Final[dict[str, type[RequestRecord | FeedbackRecord | ShadowRecord]]] = {
    "request": RequestRecord,
    "feedback": FeedbackRecord,
    "shadow": ShadowRecord,
}


def to_map(record: Record) -> dict[str, Any]:
    """The record as plain values, ready for msgpack.

    `dataclasses.asdict` less its deep copies, for the values are about to be packed anyway; that
    is why a record has no slots.
    """
    values = {**vars(record), "schema": SCHEMA, "kind": _NAMES[type(record)]}
    if isinstance(record, RequestRecord):
        values["attempts"] = [{**vars(attempt)} for attempt in record.attempts]
    return values


_NAMES: Final = {kind: name for name, kind in _KINDS.items()}


def from_map(values: Mapping[str, Any]) -> Record:
    """The record that `to_map` made; keys added by a later version are passed over.

    Raises:
        TrafficError: It is no record, or of a schema that this version does not know.
    """
    kind = _KINDS.get(str(values.get("kind")))
    if kind is None or values.get("schema") != SCHEMA:
        raise TrafficError(f"no record of schema {SCHEMA}: {sorted(values)[:5]}")
    known = {field.name for field in fields(kind)}
    kept = {name: value for name, value in values.items() if name in known}
    try:
        if kind is RequestRecord:
            attempts = tuple(AttemptRecord(**attempt) for attempt in kept.pop("attempts", ()))
            for name in ("tags", "allowed", "overrides"):
                kept[name] = tuple(kept.get(name, ()))
            return RequestRecord(**kept, attempts=attempts)
        return kind(**kept)
    except TypeError as fault:
        raise TrafficError(f"a record lacks what it needs: {fault}") from fault


def packed_vector(vector: NDArray[np.float32] | None) -> bytes:
    """`vector`, (dim,) float32, as half the bytes; empty for None.

    Measured: a MiniLM vector's cosine to its own float16 copy is 1 within 1e-6.
    """
    return b"" if vector is None else vector.astype("<f2").tobytes()


def unpacked_vector(data: bytes) -> NDArray[np.float32] | None:
    """(dim,) float32, as `packed_vector` made it; None for empty."""
    return np.frombuffer(data, dtype="<f2").astype(np.float32) if data else None
