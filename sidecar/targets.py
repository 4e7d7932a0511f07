"""What the caller's `model` means: the tiers that may be asked, and whether it is pinned to one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Final

from router.rules import RuleConfig
from router.tiers import Ladder
from sidecar.admission.tenants import Caller
from sidecar.chat import ChatRequest, needs_of
from sidecar.errors import MalformedRequest, ModelBlocked, NoAbleTier, UnknownModel
from sidecar.options import Options
from sidecar.overrides.override import UNRULED, Ruling
from sidecar.values import value

AUTO: Final = "auto"


@value(frozen=True, slots=True, kw_only=True)
class Target:
    """Which tiers may take a request.

    Attributes:
        allowed: Their places, rising, never empty.
        is_pinned: The caller named the tier: no router and no cascade.
        upstreams: Nobody else may be asked for anything of it; None if anybody may.
        entry: The tier that a rule gives it to: asked first, and others only where it fails.
    """

    allowed: tuple[int, ...]
    is_pinned: bool
    upstreams: frozenset[str] | None = None
    entry: int | None = None


def bound(upstreams: frozenset[str] | None, rule: RuleConfig) -> frozenset[str] | None:
    """Who may be asked under both the tenant's bounds and the rule's; None if anybody."""
    if not rule.upstreams:
        return upstreams
    own = frozenset(rule.upstreams)
    return own if upstreams is None else own & upstreams


class Targets:
    """The aliases that this config knows."""

    def __init__(self, ladder: Ladder, reach: Sequence[Collection[str]] = ()) -> None:
        """`reach` names each tier's upstreams, by place."""
        self._ladder = ladder
        self._reach = [frozenset(names) for names in reach]
        models = {tier.model: place for place, tier in reversed([*enumerate(ladder.tiers)])}
        names = {name: place for place, name in enumerate(ladder.names)}
        self._pinned = {**models, **names}

    @property
    def names(self) -> tuple[str, ...]:
        """Every `model` that a caller may name."""
        return (AUTO, *self._pinned)

    def resolve(
        self,
        request: ChatRequest,
        options: Options,
        caller: Caller,
        ruling: Ruling = UNRULED,
        rule: RuleConfig | None = None,
    ) -> Target:
        """The tiers that may take `request`, under the operator's switches and `rule`.

        Of `rule` only what binds (upstreams), for every request; its route is `routed`'s matter.

        A tier that is forced, and that this request could not have had, is not.

        Raises:
            UnknownModel: The alias is none of `names`.
            MalformedRequest: A tier that a header names does not exist.
            NoAbleTier: No tier within the bounds can do what the request needs.
            ModelBlocked: Those that can are switched off.
        """
        within = caller.upstreams if rule is None else bound(caller.upstreams, rule)
        place = self._pinned.get(request.alias)
        if place is not None:
            # A caller who names a tier gets that tier, able or not: the vendor's word on it is
            # what he would have heard without us.
            is_free = not caller.tiers and within is None
            if not (is_free or (self._may_use(caller, place) and self._reaches(place, within))):
                raise NoAbleTier(f"this caller may not use the tier {self._ladder[place].name}")
            pinned = self._unblocked((place,), ruling)
            return Target(allowed=pinned, is_pinned=True, upstreams=within)
        if request.alias != AUTO:
            raise UnknownModel(request.alias, self.names)
        needs = needs_of(request)
        floor = self._bound(options.min_tier, "x-sidecar-min-tier", 0)
        ceiling = self._bound(options.max_tier, "x-sidecar-max-tier", self._ladder.top)
        able = self._ladder.able(needs, floor=floor, ceiling=ceiling)
        usable = (place for place in able if self._may_use(caller, place))
        allowed = tuple(place for place in usable if self._reaches(place, within))
        if not allowed:
            wanted = ", ".join(sorted(needs.capabilities)) or f"{needs.tokens} tokens of context"
            raise NoAbleTier(f"no tier that this caller may use offers {wanted}")
        allowed = self._unblocked(allowed, ruling)
        forced = self._ladder.find_place(ruling.forced) if ruling.forced else None
        if forced is not None and forced in allowed:
            return Target(allowed=(forced,), is_pinned=True, upstreams=within)
        if options.bypass:
            return Target(allowed=allowed[-1:], is_pinned=True, upstreams=within)
        return Target(allowed=allowed, is_pinned=False, upstreams=within)

    def routed(self, target: Target, rule: RuleConfig) -> Target:
        """`target` as the rule's route has it; unchanged where no tier of it may be asked."""
        find, route = self._ladder.find_place, rule.route
        if target.is_pinned:
            return target
        if route.tier:
            entry = find(route.tier)
            return replace(target, entry=entry) if entry in target.allowed else target
        floor = find(route.min_tier) or 0
        ceiling = find(route.max_tier) if route.max_tier else None
        last = self._ladder.top if ceiling is None else ceiling
        within = tuple(place for place in target.allowed if floor <= place <= last)
        return replace(target, allowed=within) if within else target

    def _reaches(self, place: int, within: frozenset[str] | None) -> bool:
        """The tier has an upstream that may be asked."""
        return within is None or not self._reach or not within.isdisjoint(self._reach[place])

    def _unblocked(self, places: Sequence[int], ruling: Ruling) -> tuple[int, ...]:
        if not ruling.blocked:
            return tuple(places)
        tiers = self._ladder.tiers
        left = tuple(p for p in places if not ruling.blocks(tiers[p].name, tiers[p].model))
        if not left:
            names = ", ".join(tiers[place].name for place in places)
            raise ModelBlocked(f"switched off by the operator: {names}")
        return left

    def _may_use(self, caller: Caller, place: int) -> bool:
        return not caller.tiers or self._ladder[place].name in caller.tiers

    def _bound(self, name: str, header: str, default: int) -> int:
        if not name:
            return default
        place = self._ladder.find_place(name)
        if place is None:
            raise MalformedRequest(header, f"must be one of {', '.join(self._ladder.names)}")
        return place
