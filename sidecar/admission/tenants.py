"""Who asks: an API key in, a `Caller` out.

The tenant comes from the key alone. With no `[[tenants]]` in the config every key is a tenant of
its own, known by a hash, so that two applications behind one sidecar never share an answer by
accident; requests without a key are the tenant `anonymous`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from router.budget import Goal
from router.quality import quality_of
from sidecar.errors import UnknownCaller
from sidecar.options import Priority
from sidecar.values import value

ANONYMOUS: Final = "anonymous"
OTHER: Final = "other"
"""What metrics call a tenant that the config does not name; no config may take the word."""

MAX_USER: Final = 128
"""Chosen: as long as a name in a header may be; a body's may be of any length."""

_HASHED: Final = "sha256:"

_LIMITS: Final = (
    "max_in_flight",
    "requests_per_minute",
    "tokens_per_minute",
    "user_requests_per_minute",
    "user_tokens_per_minute",
    "budget_usd",
    "budget_usd_per_day",
    "user_budget_usd_per_day",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantConfig:
    """Whose keys these are, and how much they may ask; a limit left out is none.

    Attributes:
        name: The tenant.
        keys: API keys, plain, as `env:NAME`, or as `sha256:<hex>`; held hashed.
        tiers: Tiers that the tenant may use; empty means all.
        cache_bytes: Of the cache's memory, the part that is its own: all that it gets, and never
            another's; 0 shares what no quota takes.
        priority: Of its requests that say none, and the highest that one may say.
        max_in_flight: Of its requests that may be inside at once; the next one waits.
        requests_per_minute: Requests, hits too.
        tokens_per_minute: Tokens billed, prompts and answers.
        user_requests_per_minute: The same for each of its users.
        user_tokens_per_minute: The same for each of its users.
        budget_usd: Dollars that it may spend in all, until the limit is raised.
        budget_usd_per_day: Dollars that it may spend on one UTC day.
        user_budget_usd_per_day: Dollars that each of its users may spend on one UTC day.
        upstreams: Nobody else is asked for anything of it, also behind its back; empty binds
            nothing.
        quality: The point on the cost-quality curve where its requests name none; empty is the
            router's.
        budget_usd_per_1k: See `router.budget.Goal`, as for the two below; 0 is unset. A goal of
            its own stands in the place of the router's.
        quality_floor: See there.
        usd_per_right_answer: See there.

    Raises:
        ValueError: The name or a key is empty, a hash is none, the quota negative, or a limit not
            positive.
    """

    name: str
    keys: tuple[str, ...] = field(repr=False)
    tiers: tuple[str, ...] = ()
    cache_bytes: int = 0
    priority: Priority = "interactive"
    max_in_flight: int | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    user_requests_per_minute: float | None = None
    user_tokens_per_minute: float | None = None
    budget_usd: Decimal | None = None
    budget_usd_per_day: Decimal | None = None
    user_budget_usd_per_day: Decimal | None = None
    upstreams: tuple[str, ...] = ()
    quality: float | str = ""
    budget_usd_per_1k: float = 0.0
    quality_floor: float = 0.0
    usd_per_right_answer: float = 0.0

    def __post_init__(self) -> None:
        if self.cache_bytes < 0:
            raise ValueError("cache_bytes must not be negative")
        has_goal = self.goal.is_set
        if self.quality != "" and quality_of(self.quality) >= 0.0 and has_goal:
            raise ValueError("quality and a goal exclude each other")
        if not self.name or not self.keys or not all(self.keys):
            raise ValueError("name and keys must not be empty")
        if self.name == OTHER:
            raise ValueError(f"name: {OTHER} is taken: metrics call so whom no config names")
        for key in self.keys:
            if key.startswith(_HASHED) and len(key) != len(_HASHED) + 64:
                raise ValueError("keys: sha256: must be followed by 64 hex digits")
        odd = [name for name in _LIMITS if not _is_limit(getattr(self, name))]
        if odd:
            raise ValueError(f"{', '.join(odd)} must be positive; leave it out for no limit")

    @property
    def goal(self) -> Goal:
        """What is to be held for it."""
        return Goal(
            budget_usd_per_1k=self.budget_usd_per_1k,
            quality_floor=self.quality_floor,
            usd_per_right_answer=self.usd_per_right_answer,
        )

    @property
    def has_budget(self) -> bool:
        """It may not spend without end."""
        budgets = (self.budget_usd, self.budget_usd_per_day, self.user_budget_usd_per_day)
        return any(budget is not None for budget in budgets)


def _is_limit(value: float | Decimal | None) -> bool:
    return value is None or (math.isfinite(value) and value > 0)


@value(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks.

    Attributes:
        tenant: Whose answers may be shared.
        tiers: Names of the tiers that may be used; empty means all.
        priority: Of requests that say none, and the highest that one may say.
        max_in_flight: Of the tenant's requests that may be inside at once; None if not limited.
        upstreams: Nobody else may be asked; None if anybody may.
        quality: The point on the curve where a request names none; None if it is the router's.
    """

    tenant: str
    tiers: tuple[str, ...] = ()
    priority: Priority = "interactive"
    max_in_flight: int | None = None
    upstreams: frozenset[str] | None = None
    quality: float | None = None


def key_hash(key: str) -> str:
    """What is held of an API key: its sha256 as hex."""
    return hashlib.sha256(key.encode()).hexdigest()


def user_key(user: str) -> str:
    """What is held of a user's name: itself, or its hash where it is long."""
    return user if len(user) <= MAX_USER else _HASHED + key_hash(user)


class Tenants:
    """Those that the config names, by the hashes of their keys.

    Attributes:
        configs: By name.
        budgeted: Names of those that may not spend without end.
    """

    def __init__(self, tenants: Sequence[TenantConfig]) -> None:
        self.configs: Final = {tenant.name: tenant for tenant in tenants}
        self.budgeted: Final = frozenset(each.name for each in tenants if each.has_budget)
        self._callers = {
            key.removeprefix(_HASHED) if key.startswith(_HASHED) else key_hash(key): Caller(
                tenant=tenant.name,
                tiers=tenant.tiers,
                priority=tenant.priority,
                max_in_flight=tenant.max_in_flight,
                upstreams=frozenset(tenant.upstreams) or None,
                quality=None if tenant.quality == "" else quality_of(tenant.quality),
            )
            for tenant in tenants
            for key in tenant.keys
        }

    def identify(self, headers: Mapping[str, str]) -> Caller:
        """The tenant that the key belongs to.

        The key is hashed before it is looked up, so that the time of the look-up tells nothing
        about any real key.

        Raises:
            UnknownCaller: Tenants are configured and the key is none of theirs.
        """
        key = _key(headers)
        if not self._callers:
            return Caller(tenant=f"key-{key_hash(key)[:16]}" if key else ANONYMOUS)
        caller = self._callers.get(key_hash(key)) if key else None
        if caller is None:
            raise UnknownCaller("the API key is missing or belongs to no tenant")
        return caller


def _key(headers: Mapping[str, str]) -> str:
    if told := headers.get("authorization", "").strip():
        scheme, _, token = told.partition(" ")
        # Any other scheme is a key like any other word: it belongs to a tenant, or to none.
        bearer = token.strip() if scheme.lower() == "bearer" else told
        if bearer:
            return bearer
    return headers.get("x-api-key", "") or headers.get("api-key", "")
