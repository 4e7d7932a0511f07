"""Points of cost and quality in, the figures that are compared out.

The area is the one of research on cascade routing: the piecewise linear curve over cost between
the cheapest and the dearest single tier, the cheapest tier's point put in front, flat beyond the
last point; divided by the width.
Source: Dekoninck et al. (2024), `auc_all` in their published code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Point:
    """Mean cost of a question in USD, and mean quality in [0, 1]."""

    cost_usd: float
    quality: float


def area(points: Sequence[Point], cheapest: Point, dearest: Point) -> float:
    """Area under the curve: `area([c, d], c, d)` of a straight line is its middle's quality."""
    ordered = sorted([cheapest, *points], key=lambda point: (point.cost_usd, point.quality))
    cost = np.array([point.cost_usd for point in ordered])
    quality = np.array([point.quality for point in ordered])
    low, high = cheapest.cost_usd, dearest.cost_usd
    inside = cost[(cost > low) & (cost < high)]
    grid = np.concatenate([[low], inside, [high]])
    heights = np.interp(grid, cost, quality)
    heights[0] = cheapest.quality
    return float(np.trapezoid(heights, grid) / (high - low))


def cost_at(points: Sequence[Point], cheapest: Point, dearest: Point, share: float) -> float | None:
    """USD at which the curve first has that share of the dearest tier's gain over the cheapest.

    None if it never has.
    """
    wanted = cheapest.quality + share * (dearest.quality - cheapest.quality)
    before = cheapest
    for point in sorted([cheapest, *points], key=lambda point: point.cost_usd):
        if point.quality >= wanted:
            step = point.quality - before.quality
            part = (wanted - before.quality) / step if step > 0 else 1.0
            return before.cost_usd + part * (point.cost_usd - before.cost_usd)
        before = point
    return None


def hull(points: Sequence[Point]) -> list[Point]:
    """The upper convex hull, rising: what mixing the points at random can reach."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda point: (point.cost_usd, -point.quality)):
        if kept and point.quality <= kept[-1].quality:
            continue
        while len(kept) > 1 and _turns_left(kept[-2], kept[-1], point):
            kept.pop()
        kept.append(point)
    return kept


def _turns_left(first: Point, middle: Point, last: Point) -> bool:
    rise = (middle.quality - first.quality) * (last.cost_usd - first.cost_usd)
    return rise <= (last.quality - first.quality) * (middle.cost_usd - first.cost_usd)


def calibration_error(chance: Numbers, label: Numbers, bins: int = 15) -> float:
    """Expected calibration error over bins of equal width (Guo et al. 2017)."""
    place = np.minimum((chance * bins).astype(int), bins - 1)
    gaps = [
        abs(float(chance[place == b].mean() - label[place == b].mean()))
        * float(np.mean(place == b))
        for b in range(bins)
        if np.any(place == b)
    ]
    return float(sum(gaps))


def auroc(score: Numbers, label: Numbers) -> float:
    """Chance that a right answer scores above a wrong one; ties count half. NaN without both."""
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    rank = (counts.cumsum() - (counts - 1) / 2)[inverse]
    right = label > 0.5  # noqa: PLR2004 - half right
    positives, negatives = int(right.sum()), int((~right).sum())
    if not positives or not negatives:
        return float("nan")
    return float((rank[right].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def brier(chance: Numbers, label: Numbers) -> float:
    """Mean squared distance of chance and label."""
    return float(np.mean((chance - label) ** 2))


def bootstrap(
    figure: Callable[[NDArray[np.int64]], float], rows: int, rounds: int, seed: int
) -> tuple[float, float]:
    """The 95 % interval of `figure`, a function of row numbers drawn with replacement.

    Rounds in which it is NaN are left out; NaN where it always is.
    """
    dice = np.random.default_rng(seed)
    found = [figure(dice.integers(0, rows, rows)) for _ in range(rounds)]
    if np.isnan(found).all():
        return float("nan"), float("nan")
    low, high = np.nanquantile(found, [0.025, 0.975])
    return float(low), float(high)
