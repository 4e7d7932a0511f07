"""A TOML file in, a checked `Config` out; or every fault of it at once, each with its path.

The settings themselves stand beside the code that they configure; this file reads, composes and
checks what no single section can see.
"""

from __future__ import annotations

import copy
import difflib
import hashlib
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, get_args, get_origin

import cattrs
import orjson
from cattrs.errors import (
    AttributeValidationNote,
    BaseValidationError,
    ForbiddenExtraKeysError,
    IterableValidationNote,
)

from cache.policy import CacheConfig, SemanticConfig
from router.policy import RouterConfig
from router.pricing import Price
from router.tiers import CAPABILITIES, Tier
from sidecar.admission import TenantConfig
from sidecar.encoder.bundle import EncoderConfig
from sidecar.errors import ConfigError
from sidecar.keeper import DiskConfig
from sidecar.lookup import LookupConfig
from sidecar.providers.client import TimeoutsConfig
from sidecar.telemetry.logs import TelemetryConfig
from sidecar.traffic.writer import TrafficConfig
from sidecar.web.listen import ServerConfig

T = TypeVar("T")

NOT_BUILT: Final[Mapping[str, object]] = {
    "server.workers": 1,
    "cache.shared": {},
    "cache.stale_if_error_s": 0,
    "cache.stale_while_revalidate_s": 0,
    "cache.semantic.verifier": False,
    "router.budget_usd_per_1k": 0,
    "router.sticky_sessions": False,
    "router.rules": [],
    "upstreams.retries": 0,
    "upstreams.breaker": False,
    "tenants.budget_usd": 0,
    "tenants.requests_per_minute": 0,
    "tenants.tokens_per_minute": 0,
    "tenants.cache_bytes": 0,
    "guardrails": {},
    "prompts": {},
    "telemetry.otlp_endpoint": "",
    "telemetry.quality_sampling": 0,
    "telemetry.alerts": [],
}
"""Keys of the contract that this version refuses by name, so that nobody believes them in force;
the value that asks for nothing is let pass."""


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
        path: Of a `replay` upstream: its JSON Lines file.
        speed: Of a `demo` upstream: multiplies the simulated latencies; 0 for none.

    Raises:
        ValueError: A field that the kind needs is missing.
    """

    name: str
    kind: Literal["openai", "demo", "replay"]
    base_url: str = ""
    api_key: str = ""
    timeouts: TimeoutsConfig = field(default_factory=TimeoutsConfig)
    headers: Mapping[str, str] = field(default_factory=dict)
    usage_in_streams: bool = True
    path: str = ""
    speed: float = 1.0

    def __post_init__(self) -> None:
        if self.kind == "openai" and not self.base_url.startswith(("http://", "https://")):
            raise ValueError("base_url must begin with http:// or https://")
        if self.kind == "replay" and not self.path:
            raise ValueError("path must name the recording")
        if self.speed < 0:
            raise ValueError("speed must not be negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class TierConfig:
    """One rung of the ladder; `[[tiers]]` stand in rising order.

    Attributes:
        name: The word that callers, headers and artifacts use.
        model: The vendor's model id.
        upstreams: Who is asked for it, in fallback order.
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
    router: RouterConfig
    tenants: tuple[TenantConfig, ...]
    traffic: TrafficConfig
    telemetry: TelemetryConfig


_TABLES: Final[Mapping[str, tuple[str, type[Any]]]] = {
    "server": ("server", ServerConfig),
    "encoder": ("encoder", EncoderConfig),
    "cache.semantic": ("semantic", SemanticConfig),
    "cache.lookup": ("lookup", LookupConfig),
    "cache.disk": ("disk", DiskConfig),
    "cache": ("cache", CacheConfig),
    "router": ("router", RouterConfig),
    "traffic": ("traffic", TrafficConfig),
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
    reading = _Reading(table)
    parts: dict[str, Any] = {}
    for path, (name, kind) in _TABLES.items():
        parts[name] = reading.section(path, kind)
    for path, kind in _LISTS.items():
        parts[path] = reading.rows(path, kind)
    reading.leftovers()
    if not reading.faults:
        digest = hashlib.sha256(orjson.dumps(table, option=orjson.OPT_SORT_KEYS, default=str))
        config = Config(digest=digest.hexdigest()[:12], **parts)
        reading.faults += _cross_faults(config)
    if reading.faults:
        raise ConfigError(reading.faults)
    return config


class _Reading:
    """One table being read; sections are taken out of it, and what is left over is a fault."""

    def __init__(self, table: Mapping[str, Any]) -> None:
        self.faults: list[str] = []
        self._table = copy.deepcopy(dict(table))
        for path in NOT_BUILT:
            self._refuse(path)

    def _refuse(self, path: str) -> None:
        """Take a key of NOT_BUILT out; say so if it asks for anything."""
        *above, key = path.split(".")
        holders: list[Any] = [self._table]
        for name in above:
            found = [holder.get(name) for holder in holders if isinstance(holder, dict)]
            holders = [f for each in found for f in (each if isinstance(each, list) else [each])]
        asked = [h.pop(key) for h in holders if isinstance(h, dict) and key in h]
        if any(value != NOT_BUILT[path] for value in asked):
            self.faults.append(f"{path}: is not built in this version; remove it")

    def section(self, path: str, kind: type[T]) -> T | None:
        *above, key = path.split(".")
        holder: Any = self._table
        for name in above:
            holder = holder.get(name, {}) if isinstance(holder, dict) else {}
        return self._structured(path, holder.pop(key, {}) if isinstance(holder, dict) else {}, kind)

    def rows(self, path: str, kind: type[T]) -> tuple[T, ...]:
        rows = self._table.pop(path, [])
        if not isinstance(rows, list):
            self.faults.append(f"{path}: must be an array of tables, [[{path}]]")
            return ()
        read = [self._structured(f"{path}[{n}]", row, kind) for n, row in enumerate(rows)]
        return tuple(row for row in read if row is not None)

    def _structured(self, path: str, table: object, kind: type[T]) -> T | None:
        if not isinstance(table, dict):
            self.faults.append(f"{path}: must be a table")
            return None
        revealed = {key: self._revealed(f"{path}.{key}", value) for key, value in table.items()}
        try:
            return _CONVERTER.structure(revealed, kind)
        except BaseValidationError as group:
            self.faults += _told(group, path)
        except (ValueError, TypeError) as fault:
            self.faults.append(f"{path}: {fault}")
        return None

    def _revealed(self, path: str, value: Any) -> Any:
        """`env:NAME` replaced by what the environment holds; never told in a fault."""
        if isinstance(value, list):
            return [self._revealed(path, item) for item in value]
        if isinstance(value, dict):
            return {key: self._revealed(f"{path}.{key}", item) for key, item in value.items()}
        if not isinstance(value, str) or not value.startswith("env:"):
            return value
        name = value.removeprefix("env:")
        if name not in os.environ:
            self.faults.append(f"{path}: the environment has no {name}")
        return os.environ.get(name, "unset")

    def leftovers(self) -> None:
        known = {path.split(".")[0] for path in [*_TABLES, *_LISTS]}
        self.faults += [_unknown(key, known, key) for key in self._table]


def _told(group: BaseValidationError, path: str) -> Iterator[str]:
    """The faults in an exception group, each with its path."""
    for fault in group.exceptions:
        notes = [
            note
            for note in getattr(fault, "__notes__", ())
            if isinstance(note, AttributeValidationNote | IterableValidationNote)
        ]
        where = path + "".join(
            f".{note.name}" if isinstance(note, AttributeValidationNote) else f"[{note.index}]"
            for note in notes
        )
        if isinstance(fault, BaseValidationError):
            yield from _told(fault, where)
        elif isinstance(fault, ForbiddenExtraKeysError):
            known = {each.name for each in fields(fault.cl)}
            for key in sorted(fault.extra_fields):
                yield _unknown(f"{where}.{key}", known, key)
        elif isinstance(fault, KeyError):
            yield f"{where}: is missing"
        else:
            yield f"{where}: {fault}"


def _unknown(path: str, known: Iterable[str], key: str) -> str:
    return f"{path}: unknown key" + _nearest(key, known)


def _unmet(path: str, known: Iterable[str], name: str) -> str:
    return f"{path}: there is no {name!r}" + _nearest(name, known)


def _nearest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, sorted(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


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
        faults += [_unmet(f"tiers[{number}].upstreams", upstreams, name) for name in strange]
        if tier.name == "auto":
            faults.append(f"tiers[{number}].name: auto is taken: it means any tier")
    for number, tenant in enumerate(config.tenants):
        strange = [name for name in tenant.tiers if name not in tiers]
        faults += [_unmet(f"tenants[{number}].tiers", tiers, name) for name in strange]
    default_tier = config.router.default_tier
    if default_tier and default_tier not in tiers:
        faults.append(_unmet("router.default_tier", tiers, default_tier))
    return faults


def _doubles(names: Sequence[str]) -> set[str]:
    return {name for name in names if names.count(name) > 1}


def _is_literal(kind: Any) -> bool:
    return get_origin(kind) is Literal


def _converter() -> cattrs.Converter:
    """Strict: a number is not a word, and an unknown key is a fault."""
    converter = cattrs.Converter(forbid_extra_keys=True, detailed_validation=True)

    def one_of(kinds: tuple[type, ...], told: str, make: Any) -> Any:
        def structured(value: object, _: object) -> Any:
            is_odd_bool = isinstance(value, bool) and bool not in kinds
            if is_odd_bool or not isinstance(value, kinds):
                raise TypeError(f"must be {told}")
            return make(value)

        return structured

    number = one_of((int, float), "a number", float)
    converter.register_structure_hook(int, one_of((int,), "a whole number", int))
    converter.register_structure_hook(float, number)
    converter.register_structure_hook(str, one_of((str,), "a string", str))
    converter.register_structure_hook(bool, one_of((bool,), "true or false", bool))
    # Through text: a price of 0.1 is meant as the decimal that is written, not as its binary kin.
    converter.register_structure_hook(
        Decimal, one_of((int, float), "a number", lambda value: Decimal(str(value)))
    )
    words = one_of((list,), "an array", tuple)
    text = one_of((str,), "an array of strings", str)
    converter.register_structure_hook_func(
        lambda kind: kind == tuple[str, ...],
        lambda value, kind: tuple(text(item, kind) for item in words(value, kind)),
    )
    converter.register_structure_hook_func(
        lambda kind: kind == frozenset[str],
        lambda value, kind: frozenset(text(item, kind) for item in words(value, kind)),
    )

    def word(value: object, kind: Any) -> Any:
        if value not in get_args(kind):
            raise ValueError(f"must be one of {', '.join(map(str, get_args(kind)))}")
        return value

    converter.register_structure_hook_func(_is_literal, word)
    either = one_of((int, float, str), "a number or a name", lambda value: value)
    for kind in (float | str, str | float):
        converter.register_structure_hook(kind, either)
    return converter


_CONVERTER: Final = _converter()
