"""What the caller asks for beside the body: request headers in, checked `Options` out."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from itertools import islice
from typing import Final, Literal, get_args

from cache.policy import CacheControl, parse_cache_control
from router.quality import quality_of
from router.rules import SECRET_HEADERS
from sidecar.errors import MalformedRequest, NotBuilt

MAX_TAGS: Final = 16
"""Chosen: tags are for invalidation and cost attribution; each one is kept with the entry."""

Priority = Literal["interactive", "batch"]
"""Who goes first where not all can: batch waits behind interactive, and is shed before it."""

MAX_COST_USD: Final = 1_000_000
"""Chosen: more than any request costs; without it a few letters (1e999999999) name a number that
nobody can write out."""

_NAME: Final = re.compile(r"[\w.:@/-]{1,128}\Z")
MAX_TOLD_HEADERS: Final = 64
"""Chosen: headers that rules may look at; aiohttp bounds their length."""

_PASSED: Final = ("traceparent", "tracestate", "authorization")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """One request's headers, read.

    Attributes:
        cache_control: What `Cache-Control` allows.
        namespace: Partition within the caller's tenant.
        quality: The point on the cost-quality curve, in [0, 1]; None if not said.
        min_tier: Floor of the cascade, a tier's name; empty if not said.
        max_tier: Ceiling of the cascade.
        max_cost_usd: Budget of this request, escalations included.
        timeout_s: Time until its deadline.
        similarity: Stricter semantic hits than the operator's.
        tags: For invalidation and cost attribution.
        user: Whom the cost is attributed to; empty if not said.
        priority: How urgent it is; None if not said.
        bypass: Straight to the top tier, no cache, no cascade.
        debug: The long list of response headers.
        session: The conversation that it belongs to, by the caller's own name; empty if not said.
        headers: What rules may look at: the `x-` headers that are no keys, names in small letters.
        upstream_headers: What goes upstream with the call.
        steering: What of all this may change the answer, and so belongs to the exact cache's key.
    """

    cache_control: CacheControl
    namespace: str = ""
    quality: float | None = None
    min_tier: str = ""
    max_tier: str = ""
    max_cost_usd: Decimal | None = None
    timeout_s: float | None = None
    similarity: float | None = None
    tags: tuple[str, ...] = ()
    user: str = ""
    priority: Priority | None = None
    bypass: bool = False
    debug: bool = False
    session: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    upstream_headers: Mapping[str, str] = field(default_factory=dict)
    steering: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        told = {
            "quality": self.quality,
            "min_tier": self.min_tier,
            "max_tier": self.max_tier,
            "max_cost_usd": self.max_cost_usd,
        }
        steering = {
            f"x-sidecar-{name}": str(value)
            for name, value in told.items()
            if value is not None and value != ""
        }
        object.__setattr__(self, "steering", steering)


def parse_options(headers: Mapping[str, str]) -> Options:
    """The options that `headers` (names in any case, as aiohttp's mapping reads them) hold.

    Raises:
        MalformedRequest: A header cannot be read; it is named.
        NotBuilt: A header of the contract that this version does not serve.
    """
    if headers.get("x-sidecar-prompt"):
        raise NotBuilt("x-sidecar-prompt: managed prompts are not built in this version")
    return Options(
        cache_control=_cache_control(headers.get("cache-control", "")),
        namespace=_name(headers, "x-sidecar-namespace"),
        quality=_quality(headers.get("x-sidecar-quality")),
        min_tier=_name(headers, "x-sidecar-min-tier"),
        max_tier=_name(headers, "x-sidecar-max-tier"),
        max_cost_usd=_cost(headers.get("x-sidecar-max-cost-usd")),
        timeout_s=_timeout_s(headers.get("x-sidecar-timeout-ms")),
        similarity=_number(headers.get("x-sidecar-similarity"), "x-sidecar-similarity", -1.0, 1.0),
        tags=_tags(headers.get("x-sidecar-tags", "")),
        user=_name(headers, "x-sidecar-user"),
        priority=_priority(headers.get("x-sidecar-priority")),
        bypass=headers.get("x-sidecar-bypass") == "1",
        debug=headers.get("x-sidecar-debug") == "1",
        session=_name(headers, "x-sidecar-session"),
        headers=_told(headers),
        upstream_headers={name: headers[name] for name in _PASSED if name in headers},
    )


def _told(headers: Mapping[str, str]) -> dict[str, str]:
    named = ((name.lower(), value) for name, value in headers.items())
    told = ((name, value) for name, value in named if name.startswith("x-"))
    return dict(islice((pair for pair in told if pair[0] not in SECRET_HEADERS), MAX_TOLD_HEADERS))


def _cache_control(value: str) -> CacheControl:
    try:
        return parse_cache_control(value)
    except ValueError as fault:
        raise MalformedRequest("cache-control", str(fault)) from fault


def _priority(value: str | None) -> Priority | None:
    found = next((known for known in get_args(Priority) if known == value), None)
    if value and found is None:
        raise MalformedRequest("x-sidecar-priority", "must be interactive or batch")
    return found


def _name(headers: Mapping[str, str], header: str) -> str:
    value = headers.get(header, "")
    if value and not _NAME.match(value):
        raise MalformedRequest(header, "must be 1 to 128 letters, digits or . : @ / _ -")
    return value


def _tags(value: str) -> tuple[str, ...]:
    tags = tuple(tag.strip() for tag in value.split(",") if tag.strip())
    if len(tags) > MAX_TAGS or not all(map(_NAME.match, tags)):
        raise MalformedRequest("x-sidecar-tags", f"must be at most {MAX_TAGS} plain words")
    return tags


def _quality(value: str | None) -> float | None:
    try:
        return None if value is None else quality_of(value)
    except ValueError as fault:
        raise MalformedRequest("x-sidecar-quality", str(fault)) from fault


def _number(value: str | None, header: str, low: float, high: float) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not low <= number <= high:
        raise MalformedRequest(header, f"must be a number from {low:g} to {high:g}")
    return number


def _cost(value: str | None) -> Decimal | None:
    if value is None:
        return None
    try:
        number = Decimal(value)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or not 0 <= number <= MAX_COST_USD:
        told = f"must be a number of dollars from 0 to {MAX_COST_USD}"
        raise MalformedRequest("x-sidecar-max-cost-usd", told)
    return number


def _timeout_s(value: str | None) -> float | None:
    timeout_ms = _number(value, "x-sidecar-timeout-ms", 1.0, 86_400_000.0)
    return None if timeout_ms is None else timeout_ms / 1e3
