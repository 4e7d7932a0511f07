"""A TOML file in, a checked `Config` out; or every fault of it at once, each with its path."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import orjson

from cache.policy import CacheConfig, SemanticConfig
from router.policy import RouterConfig
from sidecar.admission.admission import AdmissionConfig
from sidecar.admission.tenants import TenantConfig
from sidecar.caching.lookup import LookupConfig
from sidecar.caching.persistence import DiskConfig
from sidecar.config.faults import cross_faults
from sidecar.config.sections import Config
from sidecar.config.tiers import TierConfig
from sidecar.config.upstreams import UpstreamConfig
from sidecar.degraded import DegradedConfig
from sidecar.encoder.bundle import EncoderConfig
from sidecar.errors import ConfigError
from sidecar.guardrails.rules import GuardrailsConfig
from sidecar.oversight.reviews import ReviewConfig
from sidecar.rollout.guard import CanaryConfig
from sidecar.schema import Reading
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
        reading.faults += cross_faults(config)
    if reading.faults:
        raise ConfigError(reading.faults)
    return config
