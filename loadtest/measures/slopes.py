"""Samples over time in, the line through them out; neighbours alike do not fool it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

BATCHES: Final = 10
"""Chosen: of 25 minutes each is 150 seconds long, and the samples of two are hardly alike."""

_T95: Final = 2.306
"""Source: Student's t, 97.5 % point at 8 degrees of freedom, which ten batches leave a line."""


@dataclass(frozen=True, slots=True)
class Slope:
    """What a quantity gains in an hour, with its 95 % interval; NaN of too few samples."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """`str(Slope(0.5, -1, 2)) == "+0.50 [-1.00, +2.00]"`."""
        return f"{self.value:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"


def slope_per_hour(at_s: Sequence[float], values: Sequence[float]) -> Slope:
    """Least squares through the means of ten batches, in time's order.

    A sample resembles the one before it, so that the usual interval of all of them would be too
    narrow. The means of long batches are nearly independent, and to them Student's applies.
    Source: B. Schmeiser, Batch Size Effects in the Analysis of Simulation Output, Operations
    Research 30 (1982), 556-568: ten to thirty batches.
    """
    if len(values) < BATCHES:
        return Slope(math.nan, math.nan, math.nan)
    hours = [second / 3_600 for second in _means(at_s)]
    means = _means(values)
    slope, error = _line(hours, means)
    return Slope(slope, slope - _T95 * error, slope + _T95 * error)


def _means(values: Sequence[float]) -> list[float]:
    edges = [round(batch * len(values) / BATCHES) for batch in range(BATCHES + 1)]
    return [math.fsum(values[start:end]) / (end - start) for start, end in pairwise(edges)]


def _line(xs: Sequence[float], ys: Sequence[float]) -> tuple[float, float]:
    """The slope of least squares, and its standard error."""
    x_mean, y_mean = math.fsum(xs) / len(xs), math.fsum(ys) / len(ys)
    spread = math.fsum((x - x_mean) ** 2 for x in xs)
    slope = math.fsum((x - x_mean) * (y - y_mean) for x, y in zip(xs, ys, strict=True)) / spread
    left = (y - y_mean - slope * (x - x_mean) for x, y in zip(xs, ys, strict=True))
    return slope, math.sqrt(math.fsum(rest**2 for rest in left) / (len(xs) - 2) / spread)
