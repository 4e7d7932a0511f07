"""A tenant in, the pacer that holds its requests to a goal out; pacers outlive a reload."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from router.budget import Goal, Pacer, Range

COMMON: Final = ""
"""The goal of all tenants that have none of their own, who share it: one budget for all of them."""


class Steering:
    """Every goal's pacer. Lives on the event loop's thread."""

    def __init__(self) -> None:
        self._goals: dict[str, Goal] = {}
        self._pacers: dict[str, Pacer] = {}

    def know(self, goals: Mapping[str, Goal]) -> None:
        """Hold these from now on, by tenant; one that stood before goes on with what it learnt."""
        self._goals = {tenant: goal for tenant, goal in goals.items() if goal.is_set}
        self._pacers = {
            tenant: pacer
            for tenant, pacer in self._pacers.items()
            if self._goals.get(tenant) == pacer.goal
        }

    def find(self, tenant: str, within: Range | None) -> Pacer | None:
        """Who holds the goal for `tenant`; None if there is none, or nothing to hold it with."""
        if within is None or not self._goals:
            return None
        name = tenant if tenant in self._goals else COMMON
        goal, pacer = self._goals.get(name), self._pacers.get(name)
        if goal is None:
            return None
        if pacer is None:
            pacer = self._pacers[name] = Pacer(goal, within.start, within)
        elif pacer.within != within:
            pacer.fit(within)
        return pacer

    def standings(self) -> Iterator[tuple[str, Pacer]]:
        """Every pacer with its tenant; `all` for the common one."""
        for name, pacer in self._pacers.items():
            yield name or "all", pacer

    def prices(self) -> Iterator[tuple[tuple[str], float]]:
        """By tenant, the points of quality that a dollar must buy."""
        for name, pacer in self.standings():
            yield (name,), pacer.price

    def ratios(self) -> Iterator[tuple[tuple[str], float]]:
        """By tenant, what was had over what was wanted: dollars, or estimated gain."""
        for name, pacer in self.standings():
            if pacer.wanted > 0.0:
                yield (name,), pacer.had / pacer.wanted
