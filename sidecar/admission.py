"""Who asks, and whether there is room: an API key in, a `Caller` and a place out, or a refusal.

The tenant comes from the key alone. With no `[[tenants]]` in the config every key is a tenant of
its own, known by a hash, so that two applications behind one sidecar never share an answer by
accident; requests without a key are the tenant `anonymous`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from sidecar.errors import AdmissionRefused, UnknownCaller

ANONYMOUS: Final = "anonymous"
_HASHED: Final = "sha256:"


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantConfig:
    """Whose keys these are.

    Attributes:
        name: The tenant.
        keys: API keys, plain, as `env:NAME`, or as `sha256:<hex>`; held hashed.
        tiers: Tiers that the tenant may use; empty means all.
        cache_bytes: Of the cache's memory, the part that is its own: all that it gets, and never
            another's; 0 shares what no quota takes.

    Raises:
        ValueError: The name or a key is empty, a hash is none, or the quota negative.
    """

    name: str
    keys: tuple[str, ...]
    tiers: tuple[str, ...] = ()
    cache_bytes: int = 0

    def __post_init__(self) -> None:
        if self.cache_bytes < 0:
            raise ValueError("cache_bytes must not be negative")
        if not self.name or not self.keys or not all(self.keys):
            raise ValueError("name and keys must not be empty")
        for key in self.keys:
            if key.startswith(_HASHED) and len(key) != len(_HASHED) + 64:
                raise ValueError("keys: sha256: must be followed by 64 hex digits")


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks.

    Attributes:
        tenant: Whose answers may be shared.
        tiers: Names of the tiers that may be used; empty means all.
    """

    tenant: str
    tiers: tuple[str, ...] = ()


def key_hash(key: str) -> str:
    """What is held of an API key: its sha256 as hex."""
    return hashlib.sha256(key.encode()).hexdigest()


class Admission:
    """Knows the tenants, and counts who is inside. Lives on the event loop's thread."""

    def __init__(self, *, tenants: Sequence[TenantConfig], max_in_flight: int) -> None:
        self._max_in_flight = max_in_flight
        self.in_flight = 0
        self.know(tenants)

    def know(self, tenants: Sequence[TenantConfig]) -> None:
        """Know these tenants from now on, and no others."""
        self._callers = {
            key.removeprefix(_HASHED) if key.startswith(_HASHED) else key_hash(key): Caller(
                tenant=tenant.name, tiers=tenant.tiers
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

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """A place among those in flight, for as long as the block runs.

        Raises:
            AdmissionRefused: All places are taken.
        """
        if self.in_flight >= self._max_in_flight:
            raise AdmissionRefused("too many requests are in flight", retry_after_s=1.0)
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1


def _key(headers: Mapping[str, str]) -> str:
    told = headers.get("authorization", "").strip()
    scheme, _, token = told.partition(" ")
    # Any other scheme is a key like any other word: it belongs to a tenant, or to none.
    bearer = token.strip() if scheme.lower() == "bearer" else told
    return bearer or headers.get("x-api-key", "") or headers.get("api-key", "")
