"""What `model` means: every alias, every bound, and who may not."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from router.rules import Route, RuleConfig, When
from router.tiers import Ladder, Tier
from sidecar.admission.tenants import Caller
from sidecar.chat import parse
from sidecar.errors import MalformedRequest, NoAbleTier, UnknownModel
from sidecar.options import parse_options
from sidecar.targets import Target, Targets

LADDER = Ladder(
    [
        Tier(name="small", model="m-8b", capabilities=frozenset(), context_tokens=1000),
        Tier(name="medium", model="m-70b", capabilities=frozenset({"tools"})),
        Tier(name="large", model="m-400b"),
    ]
)


def resolve(
    alias: str, headers: dict[str, str] | None = None, tiers: tuple[str, ...] = (), **fields: Any
) -> Target:
    body = {"model": alias, "messages": [{"role": "user", "content": "q"}], **fields}
    return Targets(LADDER).resolve(
        parse(orjson.dumps(body)),
        parse_options(headers or {}),
        Caller(tenant="t", tiers=tiers),
    )


@pytest.mark.parametrize(
    ("alias", "headers", "fields", "allowed"),
    [
        pytest.param("auto", {}, {}, (0, 1, 2), id="auto"),
        pytest.param("medium", {}, {}, (1,), id="tier"),
        pytest.param("m-400b", {}, {}, (2,), id="model"),
        pytest.param("auto", {"x-sidecar-min-tier": "medium"}, {}, (1, 2), id="floor"),
        pytest.param("auto", {"x-sidecar-max-tier": "medium"}, {}, (0, 1), id="ceiling"),
        pytest.param("auto", {"x-sidecar-bypass": "1"}, {}, (2,), id="bypass"),
        pytest.param("auto", {}, {"tools": [{}]}, (1, 2), id="tools"),
        pytest.param("auto", {}, {"n": 2}, (2,), id="several-choices"),
        pytest.param("auto", {}, {"max_tokens": 2000}, (1, 2), id="context"),
        pytest.param("small", {}, {"tools": [{}]}, (0,), id="a-pinned-tier-is-taken-at-its-word"),
    ],
)
def test_the_tiers_that_may_be_asked(
    alias: str, headers: dict[str, str], fields: dict[str, Any], allowed: tuple[int, ...]
) -> None:
    """A tier that lacks what is needed is never among them, unless the caller named it."""
    assert resolve(alias, headers, **fields).allowed == allowed


def test_a_tenant_is_kept_to_its_tiers() -> None:
    """Whatever the caller asks for."""
    assert resolve("auto", tiers=("small", "medium")).allowed == (0, 1)
    with pytest.raises(NoAbleTier, match="may not use the tier large"):
        resolve("large", tiers=("small",))


def test_what_nobody_offers_is_said() -> None:
    """An answer that cannot be right is not asked for."""
    with pytest.raises(NoAbleTier, match="n"):
        resolve("auto", {"x-sidecar-max-tier": "medium"}, n=3)


def test_unknown_names_are_told() -> None:
    """With what is known instead."""
    with pytest.raises(UnknownModel, match="m-400b"):
        resolve("gpt-9")
    with pytest.raises(MalformedRequest):
        resolve("auto", {"x-sidecar-max-tier": "huge"})


REACH = [["home"], ["home", "away"], ["away"]]


def bound_target(
    alias: str, upstreams: set[str] | None = None, rule: RuleConfig | None = None, **headers: str
) -> Target:
    targets = Targets(LADDER, REACH)
    body = {"model": alias, "messages": [{"role": "user", "content": "q"}]}
    caller = Caller(tenant="t", upstreams=frozenset(upstreams) if upstreams else None)
    options = parse_options({f"x-sidecar-{k.replace('_', '-')}": v for k, v in headers.items()})
    target = targets.resolve(parse(orjson.dumps(body)), options, caller, rule=rule)
    return target if rule is None else targets.routed(target, rule)


def ruled(*upstreams: str, **route: Any) -> RuleConfig:
    when = When(tags=("x",))
    return RuleConfig(name="r", when=when, route=Route(**route), upstreams=upstreams)


@pytest.mark.parametrize(
    ("upstreams", "rule", "allowed"),
    [
        pytest.param(None, None, (0, 1, 2), id="unbound"),
        pytest.param({"home"}, None, (0, 1), id="tenant"),
        pytest.param(None, ruled("away"), (1, 2), id="rule"),
        pytest.param({"away"}, ruled("away", "home"), (1, 2), id="both"),
        pytest.param({"home"}, ruled("home", min_tier="medium"), (1,), id="bounds"),
    ],
)
def test_a_tier_without_an_upstream_that_may_be_asked_is_none(
    upstreams: set[str] | None, rule: RuleConfig | None, allowed: tuple[int, ...]
) -> None:
    """Of tenant and rule alike; and the target carries whom it is bound to."""
    target = bound_target("auto", upstreams, rule)
    assert target.allowed == allowed
    assert (target.upstreams is None) == (upstreams is None and rule is None)


def test_a_pinned_tier_is_bound_too() -> None:
    """And so is a request that no upstream may take at all."""
    with pytest.raises(NoAbleTier):
        bound_target("large", {"home"})
    with pytest.raises(NoAbleTier):
        bound_target("auto", {"home"}, ruled("away"))
    assert bound_target("large", {"away"}).upstreams == frozenset({"away"})
    assert bound_target("auto", {"away"}, bypass="1").upstreams == frozenset({"away"})


def test_a_route_is_taken_as_far_as_its_tiers_may_be_asked() -> None:
    """Caps, bounds and capabilities come first; a pinned request takes none."""
    assert bound_target("auto", None, ruled(tier="large")).entry == 2
    assert bound_target("auto", {"home"}, ruled(tier="large")).entry is None
    assert bound_target("auto", None, ruled(tier="large"), max_tier="medium").entry is None
    assert bound_target("auto", None, ruled(max_tier="small"), min_tier="medium").allowed == (1, 2)
    assert bound_target("auto", None, ruled(max_tier="small")).allowed == (0,)
    assert bound_target("small", None, ruled(min_tier="large")).allowed == (0,)
