"""All that the sidecar may say instead of an answer.

SidecarError
├── RequestError             the caller must change something
│   ├── MalformedRequest     400 invalid_request_error
│   ├── UnknownCaller        401 authentication_error
│   ├── DrillRefused         403 permission_error
│   ├── PageRefused          403 permission_error; a web page asked, and none has business here
│   ├── UnknownModel         404 invalid_request_error
│   ├── NoAbleTier           400 invalid_request_error
│   ├── RequestRefused       400 guardrail_error; it breaks a rule of the operator's
│   ├── NotCached            504 only_if_cached; `Cache-Control: only-if-cached` and nothing kept
│   └── NotBuilt             404 invalid_request_error; a part of the contract that is not there yet
├── CapacityError            the caller may come back
│   ├── AdmissionRefused     429 rate_limit_error; no place
│   │   ├── RateLimited      429 rate_limit_error; the minute's requests or tokens are used up
│   │   └── BudgetSpent      429 insufficient_quota; there is no money left
│   ├── ConnectionsFull      503 overloaded_error; no connection more can stand
│   ├── ModelBlocked         503 overloaded_error; switched off by the operator, for a while
│   ├── ReadOnly             503 overloaded_error; as above, and nothing is written down
│   ├── OwnerGone            503 overloaded_error; of a front that outlives its owner
│   └── DeadlineExceeded     504 timeout_error
├── ProviderError            502 upstream_error; the rest of its tree is in providers/errors.py
│   ├── AnswerRefused        502 guardrail_error; no tier gave an answer within the operator's rules
│   └── UpstreamGarbled      502 upstream_error; 200, and yet no answer
├── FragmentFailed           as the fault of the fragment that failed
├── EncoderError             never reaches the caller: lookup makes it a miss
├── AdmissionStoreError      never reaches the caller: budgets live in memory alone meanwhile
├── TrafficError             never reaches the caller: the log counts a drop
└── ConfigError              never reaches a caller: the process does not start

Faults of cache and router are not in this tree, for they cost savings and never an answer: lookup
makes the first a miss, the pipeline makes the second the default tier.
tests/sidecar/test_errors.py holds this picture against the code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar


class SidecarError(Exception):
    """Base of all faults that this process names.

    Attributes:
        status: HTTP status that the web door answers with.
        kind: `error.type` in the OpenAI error body.
        code: `error.code` in it, a string, or None.
        param: `error.param` in it: the field at fault, or None.
        retry_after_s: Seconds after which asking again makes sense; None if never.
        headers: What the answer's headers tell beside that.
    """

    status: int = 500
    kind: ClassVar[str] = "internal_error"
    code: str | None = None
    param: str | None = None
    headers: Mapping[str, str] = MappingProxyType({})

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RequestError(SidecarError):
    """The caller must change something before asking again."""

    status = 400
    kind = "invalid_request_error"


class MalformedRequest(RequestError):
    """The body or a header is none that we can read; `field` is where it stops being one."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.param = field


class UnknownCaller(RequestError):
    """No tenant belongs to this key."""

    status = 401
    kind = "authentication_error"
    code = "invalid_api_key"


class DrillRefused(RequestError):
    """A fault on purpose is the operator's to ask for."""

    status = 403
    kind = "permission_error"
    code = "drill_refused"


class PageRefused(RequestError):
    """A page in somebody's browser asks, in the name of whoever looks at it."""

    status = 403
    kind = "permission_error"
    code = "web_page"


class UnknownModel(RequestError):
    """`model` names neither an alias, nor a tier, nor an upstream model of the config."""

    status = 404
    code = "model_not_found"

    def __init__(self, model: str, known: Sequence[str]) -> None:
        super().__init__(f"the model {model!r} does not exist here; known are {', '.join(known)}")
        self.param = "model"


class NoAbleTier(RequestError):
    """No tier between floor and ceiling can do what the request needs."""

    code = "no_able_tier"


class RequestRefused(RequestError):
    """It breaks a rule of `[guardrails]`; `rule` is which, by its name in the metrics."""

    kind = "guardrail_error"

    def __init__(self, rule: str, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.rule = rule
        self.param = field
        self.code = f"guardrail_{rule.replace('-', '_')}"


class NotCached(RequestError):
    """The caller asked for a kept answer only, and none is kept (RFC 9111, section 5.2.1.7)."""

    status = 504
    kind = "only_if_cached"
    code = "not_cached"


class NotBuilt(RequestError):
    """A part of the contract that this version does not have; says so rather than pretend."""

    status = 404
    code = "not_built"


class CapacityError(SidecarError):
    """Nothing is wrong with the request; there is no room or time for it now."""

    status = 429
    kind = "rate_limit_error"


class AdmissionRefused(CapacityError):
    """More is asked than the config admits.

    Attributes:
        reason: One word of a closed set, for metrics.
    """

    code = "over_capacity"

    def __init__(
        self,
        message: str,
        *,
        reason: str,
        retry_after_s: float | None = None,
        headers: Mapping[str, str] | None = None,
        may_retry: bool = True,
    ) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.reason = reason
        self.headers = dict(headers or {})
        if not may_retry:
            # OpenAI's own clients obey it, and would ask twice more in vain otherwise.
            self.headers["x-should-retry"] = "false"


class RateLimited(AdmissionRefused):
    """The minute's requests or tokens, of the tenant or of one of its users, are used up."""

    code = "rate_limit_exceeded"


class BudgetSpent(AdmissionRefused):
    """A budget has no room for what the request may cost."""

    kind = "insufficient_quota"
    code = "insufficient_quota"


class ConnectionsFull(CapacityError):
    """As many connections stand as may; what this one would have asked is not known."""

    status = 503
    kind = "overloaded_error"
    code = "connections_full"


class ModelBlocked(CapacityError):
    """The operator has taken out of the ladder all that could have answered."""

    status = 503
    kind = "overloaded_error"
    code = "model_blocked"


class ReadOnly(CapacityError):
    """The operator lets nothing be written down for a while."""

    status = 503
    kind = "overloaded_error"
    code = "read_only"


class OwnerGone(CapacityError):
    """The process that a front relays to does not answer: it has just died, or is about to."""

    status = 503
    kind = "overloaded_error"
    code = "owner_gone"


class DeadlineExceeded(CapacityError):
    """The caller's time ran out between two hops; `hop` is the one that noticed."""

    status = 504
    kind = "timeout_error"
    code = "deadline_exceeded"

    def __init__(self, hop: str) -> None:
        super().__init__(f"deadline passed before {hop}")
        self.hop = hop


class ProviderError(SidecarError):
    """An upstream failed us; the cascade climbs past it while it can."""

    status = 502
    kind = "upstream_error"


class AnswerRefused(ProviderError):
    """Every answer that could be had breaks a rule of `[guardrails]`.

    Attributes:
        rule: Which, by its name in the metrics.
    """

    kind = "guardrail_error"

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(f"no answer within the rules could be had: {detail}")
        self.rule = rule
        self.code = f"guardrail_{rule.replace('-', '_')}"


class UpstreamGarbled(ProviderError):
    """200, and yet no answer that the protocol allows.

    It stands here and not among its siblings because the canonical answer raises it, which lies
    below every provider.
    """


class FragmentFailed(SidecarError):
    """A fragment failed that must not: what its fault says, and whose it is.

    Attributes:
        fault: The fragment's own.
    """

    def __init__(self, name: str, fault: SidecarError) -> None:
        super().__init__(str(fault), retry_after_s=fault.retry_after_s)
        self.fault = fault
        self.status, self.code = fault.status, fault.code
        self.param = f"fragments.{name}"


class EncoderError(SidecarError):
    """The encoder could not make a vector."""


class AdmissionStoreError(SidecarError):
    """What was spent could not be written or read."""


class TrafficError(SidecarError):
    """The traffic log could not be written or read."""


class ConfigError(SidecarError):
    """The configuration cannot be used; holds every fault, not only the first."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)
