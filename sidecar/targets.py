"""What the caller's `model` means: the tiers that may be asked, and whether it is pinned to one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from router.tiers import Ladder
from sidecar.admission.tenants import Caller
from sidecar.chat import ChatRequest, needs_of
from sidecar.errors import MalformedRequest, ModelBlocked, NoAbleTier, UnknownModel
from sidecar.options import Options
from sidecar.overrides.override import UNRULED, Ruling

AUTO: Final = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Which tiers may take a request.

    Attributes:
        allowed: Their places, rising, never empty.
        is_pinned: The caller named the tier: no router and no cascade.
    """

    allowed: tuple[int, ...]
    is_pinned: bool


class Targets:
    """The aliases that this config knows."""

    def __init__(self, ladder: Ladder) -> None:
        self._ladder = ladder
        models = {tier.model: place for place, tier in reversed([*enumerate(ladder.tiers)])}
        names = {name: place for place, name in enumerate(ladder.names)}
        self._pinned = {**models, **names}

    @property
    def names(self) -> tuple[str, ...]:
        """Every `model` that a caller may name."""
        return (AUTO, *self._pinned)

    def resolve(
        self, request: ChatRequest, options: Options, caller: Caller, ruling: Ruling = UNRULED
    ) -> Target:
        """The tiers that may take `request`, under the operator's switches.

        A tier that is forced, and that this request could not have had, is not.

        Raises:
            UnknownModel: The alias is none of `names`.
            MalformedRequest: A tier that a header names does not exist.
            NoAbleTier: No tier within the bounds can do what the request needs.
            ModelBlocked: Those that can are switched off.
        """
        place = self._pinned.get(request.alias)
        if place is not None:
            # A caller who names a tier gets that tier, able or not: the vendor's word on it is
            # what he would have heard without us.
            if not self._may_use(caller, place):
                raise NoAbleTier(f"this caller may not use the tier {self._ladder[place].name}")
            return Target(allowed=self._unblocked((place,), ruling), is_pinned=True)
        if request.alias != AUTO:
            raise UnknownModel(request.alias, self.names)
        needs = needs_of(request)
        floor = self._bound(options.min_tier, "x-sidecar-min-tier", 0)
        ceiling = self._bound(options.max_tier, "x-sidecar-max-tier", self._ladder.top)
        able = self._ladder.able(needs, floor=floor, ceiling=ceiling)
        allowed = tuple(place for place in able if self._may_use(caller, place))
        if not allowed:
            wanted = ", ".join(sorted(needs.capabilities)) or f"{needs.tokens} tokens of context"
            raise NoAbleTier(f"no tier that this caller may use offers {wanted}")
        allowed = self._unblocked(allowed, ruling)
        forced = self._ladder.find_place(ruling.forced) if ruling.forced else None
        if forced is not None and forced in allowed:
            return Target(allowed=(forced,), is_pinned=True)
        if options.bypass:
            return Target(allowed=allowed[-1:], is_pinned=True)
        return Target(allowed=allowed, is_pinned=False)

    def _unblocked(self, places: Sequence[int], ruling: Ruling) -> tuple[int, ...]:
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
