"""A TOML file in, a checked `Config` out; or every fault of it at once, each with its path.

The settings themselves stand beside the code that they configure; this file reads, composes and
checks what no single section can see.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import orjson

from cache.policy import CacheConfig, SemanticConfig
from router.budget import Goal
from router.policy import RouterConfig
from router.pricing import Price
from router.tiers import CAPABILITIES, Tier
from sidecar.admission.admission import AdmissionConfig
from sidecar.admission.tenants import TenantConfig
from sidecar.caching.lookup import LookupConfig
from sidecar.caching.persistence import DiskConfig
from sidecar.degraded import DegradedConfig
from sidecar.encoder.bundle import EncoderConfig
from sidecar.errors import ConfigError
from sidecar.guardrails.rules import GuardrailsConfig
from sidecar.oversight.reviews import ReviewConfig
from sidecar.patterns import compiled
from sidecar.providers.breaker import BreakerConfig
from sidecar.providers.client import TimeoutsConfig
from sidecar.replicas.balance import Balance
from sidecar.replicas.fleet import Identity, Manner
from sidecar.replicas.hedge import Hedge
from sidecar.rollout.guard import CanaryConfig
from sidecar.schema import Reading, unmet
from sidecar.telemetry.logs import TelemetryConfig
from sidecar.traffic.writer import TrafficConfig
from sidecar.web.listen import ServerConfig

NOT_BUILT: Final[Mapping[str, object]] = {
    "cache.shared": {},
    "prompts": {},
    "telemetry.otlp_endpoint": "",
    "telemetry.quality_sampling": 0,
    "telemetry.alerts": [],
}
"""Keys of the contract that this version refuses by name, so that nobody believes them in force;
the value that asks for nothing is let pass."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class TierConfig:
    """One rung of the ladder; `[[tiers]]` stand in rising order.

    Attributes:
        name: The word that callers, headers and artifacts use.
        model: The vendor's model id.
        upstreams: Who is asked for it, in fallback order.
        balance: Who of them is asked first: `order` (the next where one fails), `weighted`, or
            `latency`.
        hedge_after: A whole answer that takes longer is asked of a second upstream too: seconds,
            or `p50` to `p99` of the first one's last answers; empty asks nobody.
        price_in_usd_per_mtok: Per million prompt tokens.
        price_out_usd_per_mtok: Per million completion tokens.
        context_tokens: Longest prompt plus answer; None if not stated.
        capabilities: What it can do beyond plain text; unset means everything.

    Raises:
        ValueError: A capability is unknown, a price negative or a list empty.
    """

    name: str
    model: str
    upstreams: tuple[str, ...]
    balance: Balance = "order"
    hedge_after: float | str = ""
    price_in_usd_per_mtok: Decimal = Decimal(0)
    price_out_usd_per_mtok: Decimal = Decimal(0)
    context_tokens: int | None = None
    capabilities: frozenset[str] = CAPABILITIES

    def __post_init__(self) -> None:
        if not self.upstreams:
            raise ValueError("upstreams must not be empty")
        if strange := sorted(self.capabilities - CAPABILITIES):
            raise ValueError(f"capabilities: {strange[0]!r} is none of {sorted(CAPABILITIES)}")
        if self.context_tokens is not None and self.context_tokens <= 0:
            raise ValueError("context_tokens must be positive")
        Hedge.parse(self.hedge_after)  # refuses what is no delay
        self.tier()  # refuses a negative price

    def tier(self) -> Tier:
        """What the router knows of it."""
        return Tier(
            name=self.name,
            model=self.model,
            price=Price(
                in_usd_per_mtok=self.price_in_usd_per_mtok,
                out_usd_per_mtok=self.price_out_usd_per_mtok,
            ),
            context_tokens=self.context_tokens,
            capabilities=self.capabilities,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All settings of one process.

    Attributes:
        digest: Short hash of the file's content; stands in every traffic record.
        others: One a section.
    """

    digest: str
    server: ServerConfig
    encoder: EncoderConfig
    cache: CacheConfig
    semantic: SemanticConfig
    lookup: LookupConfig
    disk: DiskConfig
    upstreams: tuple[UpstreamConfig, ...]
    tiers: tuple[TierConfig, ...]
    canary: CanaryConfig
    router: RouterConfig
    tenants: tuple[TenantConfig, ...]
    admission: AdmissionConfig
    degraded: DegradedConfig
    guardrails: GuardrailsConfig
    traffic: TrafficConfig
    review: ReviewConfig
    telemetry: TelemetryConfig

    @property
    def state_dir(self) -> Path | None:
        """Where the operator's switches outlive a restart; None: nowhere."""
        if self.server.state_dir:
            return Path(self.server.state_dir)
        if self.disk.path:
            return Path(self.disk.path).parent
        return Path(self.traffic.dir).parent if self.traffic.dir else None

    def goals(self) -> dict[str, Goal]:
        """What the router is to hold, by tenant; the common goal under the empty name.

        A tenant with a point of quality of its own is held to no goal, not even to the common one.
        """
        return {"": self.router.goal()} | {
            tenant.name: tenant.goal for tenant in self.tenants if tenant.goal.is_set
        }

    def cache_quotas(self) -> dict[str, int]:
        """Bytes of the cache that are a tenant's own, by tenant."""
        return {tenant.name: tenant.cache_bytes for tenant in self.tenants if tenant.cache_bytes}


_TABLES: Final[Mapping[str, tuple[str, type[Any]]]] = {
    "server": ("server", ServerConfig),
    "encoder": ("encoder", EncoderConfig),
    "cache.semantic": ("semantic", SemanticConfig),
    "cache.lookup": ("lookup", LookupConfig),
    "cache.disk": ("disk", DiskConfig),
    "cache": ("cache", CacheConfig),
    "router.canary": ("canary", CanaryConfig),
    "router": ("router", RouterConfig),
    "degraded": ("degraded", DegradedConfig),
    "admission": ("admission", AdmissionConfig),
    "guardrails": ("guardrails", GuardrailsConfig),
    "traffic": ("traffic", TrafficConfig),
    "review": ("review", ReviewConfig),
    "telemetry": ("telemetry", TelemetryConfig),
}
_LISTS: Final[Mapping[str, type[Any]]] = {
    "upstreams": UpstreamConfig,
    "tiers": TierConfig,
    "tenants": TenantConfig,
}


def load_config(path: Path) -> Config:
    """The config that the file at `path` holds.

    Raises:
        ConfigError: With all its faults.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise ConfigError([f"{path}: cannot be read: {fault}"]) from fault
    try:
        return parse_config(tomllib.loads(text))
    except tomllib.TOMLDecodeError as fault:
        raise ConfigError([f"{path}: is no TOML: {fault}"]) from fault


def parse_config(table: Mapping[str, Any]) -> Config:
    """The config that a parsed TOML table means.

    Raises:
        ConfigError: With all its faults, each beginning with its path.
    """
    reading = Reading(table)
    for path, neutral in NOT_BUILT.items():
        reading.refuse(path, neutral)
    parts: dict[str, Any] = {}
    for path, (name, kind) in _TABLES.items():
        parts[name] = reading.section(path, kind)
    for path, kind in _LISTS.items():
        parts[path] = reading.rows(path, kind)
    reading.leftovers({path.split(".")[0] for path in [*_TABLES, *_LISTS]})
    if not reading.faults:
        digest = hashlib.sha256(orjson.dumps(table, option=orjson.OPT_SORT_KEYS, default=str))
        config = Config(digest=digest.hexdigest()[:12], **parts)
        reading.faults += _cross_faults(config)
    if reading.faults:
        raise ConfigError(reading.faults)
    return config


def _cross_faults(config: Config) -> list[str]:
    """What no section can see by itself."""
    upstreams, tiers = {u.name for u in config.upstreams}, [t.name for t in config.tiers]
    faults = []
    if not config.tiers:
        faults.append("tiers: at least one [[tiers]] is needed")
    for path, names in (
        ("upstreams", [u.name for u in config.upstreams]),
        ("tiers", tiers),
        ("tenants", [t.name for t in config.tenants]),
    ):
        faults += [f"{path}: two are called {name!r}" for name in sorted(_doubles(names))]
    for number, tier in enumerate(config.tiers):
        strange = [name for name in tier.upstreams if name not in upstreams]
        faults += [unmet(f"tiers[{number}].upstreams", upstreams, name) for name in strange]
        if tier.name == "auto":
            faults.append(f"tiers[{number}].name: auto is taken: it means any tier")
    faults += _tenant_faults(config, tiers)
    faults += _rule_faults(config, tiers, upstreams)
    prices = [tier.price_in_usd_per_mtok + tier.price_out_usd_per_mtok for tier in config.tiers]
    if prices and not any(prices):
        faults += [
            f"tenants[{number}]: a budget holds nothing as long as no tier has a price"
            for number, tenant in enumerate(config.tenants)
            if tenant.has_budget
        ]
    if sum(config.cache_quotas().values()) > config.cache.max_bytes:
        faults.append("tenants: their cache_bytes together are more than cache.max_bytes")
    default_tier = config.router.default_tier
    if default_tier and default_tier not in tiers:
        faults.append(unmet("router.default_tier", tiers, default_tier))
    judge = config.semantic.verify_judge
    if judge and judge not in tiers:
        faults.append(unmet("cache.semantic.verify_judge", tiers, judge))
    return faults


def _tenant_faults(config: Config, tiers: Sequence[str]) -> list[str]:
    """What tenants name that is not there, and where a tenant is named that is not there."""
    faults, names = [], [tenant.name for tenant in config.tenants]
    for number, tenant in enumerate(config.tenants):
        strange = [name for name in tenant.tiers if name not in tiers]
        faults += [unmet(f"tenants[{number}].tiers", tiers, name) for name in strange]
        path, known = f"tenants[{number}].upstreams", {each.name for each in config.upstreams}
        faults += [unmet(path, known, name) for name in tenant.upstreams if name not in known]
    for number, static in enumerate(config.degraded.answers):
        # Without any [[tenants]] each key is a tenant of its own, known by its hash.
        if names and static.tenant and static.tenant not in names:
            faults.append(unmet(f"degraded.answers[{number}].tenant", names, static.tenant))
    return faults


def _rule_faults(config: Config, tiers: Sequence[str], upstreams: Collection[str]) -> list[str]:
    """What rules name that is not there, patterns that are none, bounds that cross."""
    faults, tenants = [], [tenant.name for tenant in config.tenants]
    for number, rule in enumerate(config.router.rules):
        path, route = f"router.rules[{number}]", rule.route
        faults += [unmet(f"{path}.route", tiers, name) for name in route.tiers if name not in tiers]
        strange = [name for name in rule.upstreams if name not in upstreams]
        faults += [unmet(f"{path}.upstreams", upstreams, name) for name in strange]
        # Without any [[tenants]] each key is a tenant of its own, known by its hash.
        strange = [name for name in rule.when.tenants if tenants and name not in tenants]
        faults += [unmet(f"{path}.when.tenants", tenants, name) for name in strange]
        known = set(route.tiers) <= set(tiers) and route.min_tier and route.max_tier
        if known and tiers.index(route.min_tier) > tiers.index(route.max_tier):
            faults.append(f"{path}.route: min_tier lies above max_tier")
        try:
            compiled(rule.when.regex)
        except ValueError as fault:
            faults.append(f"{path}.when.regex: {fault}")
    return faults


def _doubles(names: Sequence[str]) -> set[str]:
    return {name for name in names if names.count(name) > 1}
