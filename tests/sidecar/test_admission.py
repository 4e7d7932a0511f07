"""Admission: the tenant comes from the key alone, and places are counted."""

from __future__ import annotations

import pytest

from sidecar.admission import Admission, TenantConfig, key_hash
from sidecar.errors import AdmissionRefused, UnknownCaller

SHOP = TenantConfig(name="shop", keys=("sk-shop", "sha256:" + key_hash("sk-hashed")))


def admission(*tenants: TenantConfig, max_in_flight: int = 1) -> Admission:
    return Admission(tenants=tenants, max_in_flight=max_in_flight)


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
    assert admission(SHOP).identify(headers).tenant == "shop"


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
        admission(SHOP).identify(headers)


def test_without_tenants_every_key_is_its_own() -> None:
    """Two applications never share an answer by accident, and no key is held."""
    one = admission().identify({"authorization": "Bearer one"})
    two = admission().identify({"authorization": "Bearer two"})
    assert one.tenant != two.tenant
    assert "one" not in one.tenant
    assert admission().identify({}).tenant == "anonymous"


def test_another_scheme_is_a_key_like_any_other() -> None:
    """No error that the bare provider would not have given; with tenants it belongs to none."""
    assert admission().identify({"authorization": "Basic abc"}).tenant != "anonymous"
    with pytest.raises(UnknownCaller):
        admission(SHOP).identify({"authorization": "Basic sk-shop"})


def test_places_are_counted_and_given_back() -> None:
    """One more than admitted is refused, and told when to come back."""
    door = admission()
    with door.admitted(), pytest.raises(AdmissionRefused) as caught, door.admitted():
        pass
    assert caught.value.retry_after_s == 1.0
    with door.admitted():
        assert door.in_flight == 1
    assert door.in_flight == 0


def test_the_tenants_may_change_while_requests_are_inside() -> None:
    """A reload replaces who is known and forgets nobody's place."""
    door = admission(SHOP)
    with door.admitted():
        door.know([TenantConfig(name="bank", keys=("sk-bank",))])
        assert door.in_flight == 1
    assert door.identify({"x-api-key": "sk-bank"}).tenant == "bank"
    with pytest.raises(UnknownCaller):
        door.identify({"x-api-key": "sk-shop"})
