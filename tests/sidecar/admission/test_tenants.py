"""Tenants: the tenant comes from the key alone, and what a limit is."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from sidecar.admission.tenants import TenantConfig, Tenants, key_hash, user_key
from sidecar.errors import UnknownCaller

SHOP = TenantConfig(name="shop", keys=("sk-shop", "sha256:" + key_hash("sk-hashed")))


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer sk-shop"},
        {"authorization": "bearer sk-hashed"},
        {"x-api-key": "sk-shop"},
        {"api-key": "sk-shop"},
    ],
)
def test_each_kind_of_key_header_names_the_tenant(headers: dict[str, str]) -> None:
    """OpenAI's, Anthropic's and Azure's; plain or hashed in the config."""
    assert Tenants([SHOP]).identify(headers).tenant == "shop"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer sk-wrong"},
        {"authorization": "Bearer sha256:" + key_hash("sk-shop")},
        {"x-sidecar-tenant": "shop"},
    ],
)
def test_any_other_key_is_refused(headers: dict[str, str]) -> None:
    """Nor does the hash open what the key opens."""
    with pytest.raises(UnknownCaller):
        Tenants([SHOP]).identify(headers)


def test_without_tenants_every_key_is_its_own() -> None:
    """Two applications never share an answer by accident, and no key is held."""
    one = Tenants([]).identify({"authorization": "Bearer one"})
    two = Tenants([]).identify({"authorization": "Bearer two"})
    assert one.tenant != two.tenant
    assert "one" not in one.tenant
    assert Tenants([]).identify({}).tenant == "anonymous"


def test_another_scheme_is_a_key_like_any_other() -> None:
    """No error that the bare provider would not have given; with tenants it belongs to none."""
    assert Tenants([]).identify({"authorization": "Basic abc"}).tenant != "anonymous"
    with pytest.raises(UnknownCaller):
        Tenants([SHOP]).identify({"authorization": "Basic sk-shop"})


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        pytest.param({"budget_usd": Decimal(0)}, "budget_usd", id="no-money"),
        pytest.param({"requests_per_minute": -1.0}, "requests_per_minute", id="negative"),
        pytest.param({"max_in_flight": 0}, "max_in_flight", id="no-place"),
        pytest.param({"tokens_per_minute": float("inf")}, "tokens_per_minute", id="endless"),
        pytest.param({"budget_usd_per_day": Decimal("NaN")}, "budget_usd_per_day", id="no-number"),
        pytest.param({"name": "other"}, "taken", id="name-taken"),
    ],
)
def test_a_limit_is_a_positive_number(fields: dict[str, Any], named: str) -> None:
    """A limit of nothing would be read as none by some and as all by others; it is refused."""
    with pytest.raises(ValueError, match=named):
        TenantConfig(**{"name": "shop", "keys": ("k",), **fields})


def test_every_limit_at_fault_is_named() -> None:
    """All faults at once."""
    with pytest.raises(ValueError, match=r"max_in_flight, budget_usd must be positive"):
        TenantConfig(name="shop", keys=("k",), max_in_flight=-1, budget_usd=Decimal(-1))


def test_a_long_user_is_held_as_its_hash() -> None:
    """A body's `user` may be of any length; what is held of it is not."""
    assert user_key("ann") == "ann"
    assert len(user_key("a" * 100_000)) < 80
    assert user_key("a" * 1000) != user_key("a" * 1001)
