"""An artifact and rows in, what it serves and spends at several qualities out, over real HTTP.

Two artifacts are compared at equal cost: each one's curve is what its dials reached, with straight
lines between them, which is what a mix of two dials would reach. Intervals are 95 %, by the
bootstrap over rows, paired: both artifacts were asked the same rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import aiohttp

from loadtest.callers.answers import Reply
from loadtest.callers.client import ask, in_turns, session
from loadtest.learning.lessons import Line
from loadtest.measures.intervals import bootstrap
from loadtest.questions.tier3 import TIERS
from loadtest.servers.processes import own_sidecar, replay_upstream

DIALS: Final = ("0.3", "0.6", "balanced", "0.9", "best")
ROUNDS: Final = 300
GRID: Final = 25

FRESH: Final = {"cache-control": "no-cache"}
"""Each row is to be answered by a tier."""


PATIENT: Final = "[cache.lookup]\nbudget_s = 30.0\n\n"
"""Chosen: the encoder is waited for. On a busy machine a question else has no vector in time, and
the router goes by its default tier: that is measured elsewhere."""


@dataclass(frozen=True, slots=True)
class Curve:
    """By dial, then by row: whether the answer was right, and what it cost."""

    right: Sequence[Sequence[float]]
    cost_usd: Sequence[Sequence[float]]

    def of(self, rows: Sequence[int]) -> list[tuple[float, float]]:
        """Mean cost of 1,000 questions and share right, by rising cost."""
        pairs = zip(self.cost_usd, self.right, strict=True)
        return sorted((1e3 * _mean(cost, rows), _mean(right, rows)) for cost, right in pairs)

    def quality_at(self, usd_per_1k: float, rows: Sequence[int]) -> float:
        """On the curve; beyond its ends, as at them."""
        points = self.of(rows)
        if usd_per_1k <= points[0][0]:
            return points[0][1]
        for (low, before), (high, after) in pairwise(points):
            if usd_per_1k <= high:
                return before + (after - before) * (usd_per_1k - low) / max(1e-12, high - low)
        return points[-1][1]

    def level(self, low: float, high: float, rows: Sequence[int]) -> float:
        """The mean quality over costs between two ends."""
        costs = [low + (high - low) * step / (GRID - 1) for step in range(GRID)]
        return sum(self.quality_at(cost, rows) for cost in costs) / GRID


@dataclass(frozen=True, slots=True)
class Lead:
    """How much better one curve is than another, with its interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


def _mean(values: Sequence[float], rows: Sequence[int]) -> float:
    return sum(values[row] for row in rows) / len(rows)


def lead_at(after: Curve, before: Curve, usd_per_1k: float, rows: int, seed: int) -> Lead:
    """Of quality at equal cost."""

    def more(drawn: Sequence[int]) -> float:
        return after.quality_at(usd_per_1k, drawn) - before.quality_at(usd_per_1k, drawn)

    return Lead(more(range(rows)), *bootstrap(rows, more, rounds=ROUNDS, seed=seed))


def lead_between(
    after: Curve, before: Curve, ends: tuple[float, float], rows: int, seed: int
) -> Lead:
    """Of the mean quality over the costs between `ends`."""

    def more(drawn: Sequence[int]) -> float:
        return after.level(*ends, drawn) - before.level(*ends, drawn)

    return Lead(more(range(rows)), *bootstrap(rows, more, rounds=ROUNDS, seed=seed))


async def measure(
    folder: Path, artifact: Path, recording: Path, rows: Sequence[Line], at_once: int
) -> Curve:
    """A sidecar of its own that serves `artifact` alone; every row asked at each dial.

    `folder` is there, and empty.
    """
    more = f'{PATIENT}[router]\nartifact = "{artifact}"\nexploration = 0.0\n\n'
    async with (
        own_sidecar(folder, replay_upstream(recording), more=more) as server,
        session() as http,
    ):
        dials = [await _dialled(http, f"{server.url}/v1", rows, dial, at_once) for dial in DIALS]
    return Curve([right for right, _ in dials], [cost for _, cost in dials])


async def _dialled(
    http: aiohttp.ClientSession, base_url: str, rows: Sequence[Line], dial: str, at_once: int
) -> tuple[list[float], list[float]]:
    headers = {**FRESH, "x-sidecar-quality": dial}

    async def asked(row: Line) -> Reply:
        return await ask(http, base_url, row["query"], headers=headers)

    replies = await in_turns(rows, asked, at_once=at_once)
    pairs = list(zip(rows, replies, strict=True))
    return (
        [is_right(row, reply) for row, reply in pairs],
        [reply.number("cost-usd") for _, reply in pairs],
    )


def is_right(row: Any, reply: Reply) -> float:
    """1 if the tier that answered was right; no answer is a wrong one."""
    told = row["answers"].get(reply.headers.get("x-sidecar-tier", ""))
    return float(told["correct"]) if told and reply.is_whole else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """One artifact held against another on rows kept apart.

    Attributes:
        what: Which, on which rows.
        rows: How many.
        before: Quality of the other at this cost.
        after: The artifact's.
        usd_per_1k: The cost.
        lead: After less before.
        over_all: The same of the mean over all costs between the cheapest and the dearest tier.
    """

    what: str
    rows: int
    before: float
    after: float
    usd_per_1k: float
    lead: Lead
    over_all: Lead


def worth_of(what: str, after: Curve, before: Curve, rows: Sequence[Line], seed: int) -> Worth:
    """`after` held against `before`, at what `after` spends at `balanced`."""
    count = len(rows)
    ends = [sum(row["answers"][tier]["cost_usd"] for row in rows) for tier in (TIERS[0], TIERS[-1])]
    low, high = (1e3 * end / count for end in ends)
    cost = 1e3 * sum(after.cost_usd[DIALS.index("balanced")]) / count
    return Worth(
        what=what,
        rows=count,
        before=before.quality_at(cost, range(count)),
        after=after.quality_at(cost, range(count)),
        usd_per_1k=cost,
        lead=lead_at(after, before, cost, count, seed),
        over_all=lead_between(after, before, (low, high), count, seed),
    )
