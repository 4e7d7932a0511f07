"""All that the sidecar may say instead of an answer.

SidecarError
├── RequestError             the caller must change something
│   ├── MalformedRequest     400 invalid_request_error
│   ├── UnknownCaller        401 authentication_error
│   ├── DrillRefused         403 permission_error
│   ├── UnknownModel         404 invalid_request_error
│   ├── NoAbleTier           400 invalid_request_error
│   ├── NotCached            504 only_if_cached; `Cache-Control: only-if-cached` and nothing kept
│   └── NotBuilt             404 invalid_request_error; a part of the contract that is not there yet
├── CapacityError            the caller may come back
│   ├── AdmissionRefused     429 rate_limit_error
│   └── DeadlineExceeded     504 timeout_error
├── ProviderError            502 upstream_error; the rest of its tree is in providers/errors.py
│   └── UpstreamGarbled      502 upstream_error; 200, and yet no answer
├── EncoderError             never reaches the caller: lookup makes it a miss
├── TrafficError             never reaches the caller: the log counts a drop
└── ConfigError              never reaches a caller: the process does not start

Faults of cache and router are not in this tree, for they cost savings and never an answer: lookup
makes the first a miss, the pipeline makes the second the default tier.
tests/sidecar/test_errors.py holds this picture against the code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class SidecarError(Exception):
    """Base of all faults that this process names.

    Attributes:
        status: HTTP status that the web door answers with.
        kind: `error.type` in the OpenAI error body.
        code: `error.code` in it, a string, or None.
        param: `error.param` in it: the field at fault, or None.
        retry_after_s: Seconds after which asking again makes sense; None if never.
    """

    status: int = 500
    kind: ClassVar[str] = "internal_error"
    code: str | None = None
    param: str | None = None

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
    """More requests are in flight than the config admits."""

    code = "over_capacity"


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


class UpstreamGarbled(ProviderError):
    """200, and yet no answer that the protocol allows.

    It stands here and not among its siblings because the canonical answer raises it, which lies
    below every provider.
    """


class EncoderError(SidecarError):
    """The encoder could not make a vector."""


class TrafficError(SidecarError):
    """The traffic log could not be written or read."""


class ConfigError(SidecarError):
    """The configuration cannot be used; holds every fault, not only the first."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)
