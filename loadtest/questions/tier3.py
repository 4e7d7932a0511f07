"""Recorded answers in; what each single tier, their best mix and an oracle would reach out."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any, Final

TIERS: Final = ("small", "medium", "large")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One question with three recorded answers.

    Attributes:
        query: The question.
        gold: The right answer, as the data's own set writes it.
        right: By tier, whether its answer was right.
        cost_usd: By tier, what its answer cost.
    """

    query: str
    gold: str
    right: Mapping[str, bool]
    cost_usd: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Point:
    """A policy on the plane: USD per 1,000 questions, and the share answered rightly."""

    cost_usd_per_1k: float
    quality: float


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON objects of a JSON Lines file, `.gz` too."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        for line in file:
            yield json.loads(line)


def read_rows(path: Path, rows: int, seed: int) -> list[Row]:
    """`rows` of the file drawn by `seed`; all of them if there are fewer. No question twice."""
    found = {told["query"]: _row(told) for told in lines(path)}
    return Random(seed).sample(list(found.values()), min(rows, len(found)))


def _row(told: Mapping[str, Any]) -> Row:
    answers = told["answers"]
    return Row(
        query=told["query"],
        gold=str(told["gold"]),
        right={tier: bool(answers[tier]["correct"]) for tier in TIERS},
        cost_usd={tier: float(answers[tier]["cost_usd"]) for tier in TIERS},
    )


def point(right: Sequence[bool], cost_usd: Sequence[float]) -> Point:
    """Both means."""
    return Point(1_000 * sum(cost_usd) / len(cost_usd), sum(right) / len(right))


def always(rows: Sequence[Row], tier: str) -> Point:
    """Each question asked of one tier."""
    return point([row.right[tier] for row in rows], [row.cost_usd[tier] for row in rows])


def oracle(rows: Sequence[Row]) -> Point:
    """Each question asked of the cheapest tier that gets it right, the cheapest if none does."""
    chosen = [
        min(TIERS, key=lambda tier: (not row.right[tier], row.cost_usd[tier])) for row in rows
    ]
    pairs = list(zip(rows, chosen, strict=True))
    return point(
        [row.right[tier] for row, tier in pairs], [row.cost_usd[tier] for row, tier in pairs]
    )


def mix_quality(singles: Sequence[Point], cost_usd_per_1k: float) -> float:
    """The best that choosing tiers at random reaches at that mean cost.

    A mix of two tiers lies on the line between them; the best of all mixes at a cost is the highest
    such line there. Below the cheapest tier's cost it is that tier's quality, above the dearest's
    it is the best single one's.
    """
    affordable = [p.quality for p in singles if p.cost_usd_per_1k <= cost_usd_per_1k]
    lines_above = [
        _between(low, high, cost_usd_per_1k)
        for low, high in combinations(sorted(singles, key=lambda p: p.cost_usd_per_1k), 2)
        if low.cost_usd_per_1k <= cost_usd_per_1k < high.cost_usd_per_1k
    ]
    cheapest = min(singles, key=lambda p: p.cost_usd_per_1k)
    return max([*affordable, *lines_above], default=cheapest.quality)


def _between(low: Point, high: Point, cost: float) -> float:
    share = (cost - low.cost_usd_per_1k) / (high.cost_usd_per_1k - low.cost_usd_per_1k)
    return low.quality + share * (high.quality - low.quality)
