"""A config whose sections are each sound in; where they do not fit together out."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sidecar.config.sections import Config
from sidecar.patterns import compiled
from sidecar.schema import unmet


def cross_faults(config: Config) -> list[str]:
    """What no section can see by itself, each fault with its path."""
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
