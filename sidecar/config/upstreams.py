"""One `[[upstreams]]` table in, an endpoint's settings out, checked by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import urlsplit

from sidecar.providers.breaker import BreakerConfig
from sidecar.providers.client import TimeoutsConfig
from sidecar.replicas.fleet import Identity, Manner

MAX_RETRIES: Final = 5
"""Chosen: the fifth wait is eight seconds long; whoever has not answered by then is down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamConfig:
    """One reachable endpoint.

    Attributes:
        name: How tiers name it.
        kind: `openai` (any compatible server), `demo` (simulated) or `replay` (recorded answers).
        base_url: Of an `openai` upstream, up to and with the version.
        api_key: Its bearer token, better as `env:NAME`; `caller` passes the caller's own on.
        timeouts: See TimeoutsConfig.
        headers: Sent with every call.
        usage_in_streams: Ask streams for their usage; a few old servers refuse the field.
        retries: How often one request may ask it again after it failed.
        retry_budget_ratio: Share of its traffic that such further calls may add.
        breaker: See BreakerConfig.
        weight: Its share where a tier balances by weight.
        path: Of a `replay` upstream: its JSON Lines file.
        speed: Of a `demo` upstream: multiplies the simulated latencies; 0 for none.

    Raises:
        ValueError: A field that the kind needs is missing.
    """

    name: str
    kind: Literal["openai", "demo", "replay"]
    base_url: str = ""
    api_key: str = field(default="", repr=False)
    timeouts: TimeoutsConfig = field(default_factory=TimeoutsConfig)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    usage_in_streams: bool = True
    # Chosen: most hiccups end within a second; what does not is another upstream's to answer.
    retries: int = 1
    # Chosen: an upstream in trouble gets a tenth more calls than it would have got without us.
    retry_budget_ratio: float = 0.1
    breaker: BreakerConfig = field(default_factory=BreakerConfig)
    weight: float = 1.0
    path: str = ""
    speed: float = 1.0

    def __post_init__(self) -> None:
        if self.kind == "openai":
            _check_address(self.base_url)
        if self.kind == "replay" and not self.path:
            raise ValueError("path must name the recording")
        if self.speed < 0:
            raise ValueError("speed must not be negative")
        if not 0 <= self.retries <= MAX_RETRIES:
            raise ValueError(f"retries must lie between 0 and {MAX_RETRIES}")
        if not 0.0 <= self.retry_budget_ratio <= 1.0:
            raise ValueError("retry_budget_ratio must lie between 0 and 1")
        if self.weight <= 0:
            raise ValueError("weight must be positive")

    def manner(self) -> Manner:
        """What those who ask it know of it."""
        return Manner(
            identity=Identity.of(self.name, self.base_url or self.path, self.api_key),
            retries=self.retries,
            retry_ratio=self.retry_budget_ratio,
            weight=self.weight,
            breaker=self.breaker,
        )


def _check_address(base_url: str) -> None:
    if not base_url.startswith(("http://", "https://")):
        raise ValueError("base_url must begin with http:// or https://")
    try:
        parts = urlsplit(base_url)
        is_server = bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_server = False
    if not is_server:
        raise ValueError("base_url must name a server, and a port between 1 and 65535 if any")
    if parts.username is not None:
        # Addresses are told in logs and at the operator's plane.
        raise ValueError("base_url must hold no user and no password; headers.authorization may")
