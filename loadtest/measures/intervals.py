"""Counts and samples in; rates with their intervals and percentiles out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

_Z95: Final = 1.959964
"""Source: the standard normal distribution's 97.5 % point."""

_TAIL: Final = 0.025
_HALVINGS: Final = 40
"""Chosen: to one in 10**12."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A share with its 95 % interval; all three NaN where nothing was counted."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """`str(Rate(0.5, 0.4, 0.6)) == "50.0 % [40.0, 60.0]"`."""
        if math.isnan(self.value):
            return "-"
        return f"{100 * self.value:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}]"


def wilson(hits: float, total: float) -> Rate:
    """`hits` of `total` with Wilson's score interval, which holds at 0 and at all of them too.

    Both may be fractions: weighted counts stand in by their effective size.
    Source: E. B. Wilson, JASA 22 (1927), 209-212, equation 10.
    """
    if total <= 0:
        return Rate(math.nan, math.nan, math.nan)
    share, square = hits / total, _Z95**2
    centre = (share + square / (2 * total)) / (1 + square / total)
    spread = math.sqrt(share * (1 - share) / total + square / (4 * total**2))
    half = _Z95 * spread / (1 + square / total)
    return Rate(share, max(0.0, centre - half), min(1.0, centre + half))


def exact(hits: int, total: int) -> Rate:
    """`hits` of `total` with the interval that holds its 95 % at any share, and is wider for it.

    Source: Clopper and Pearson, Biometrika 26 (1934), 404-413; solved by halving.
    """
    if total <= 0:
        return Rate(math.nan, math.nan, math.nan)
    low = _share_at(hits - 1, total, 1 - _TAIL) if hits else 0.0
    high = _share_at(hits, total, _TAIL) if hits < total else 1.0
    return Rate(hits / total, low, high)


def _share_at(hits: int, total: int, chance: float) -> float:
    """The share at which so few or fewer have this `chance`."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _at_most(hits, total, middle) > chance else (low, middle)
    return (low + high) / 2


def _at_most(hits: int, total: int, share: float) -> float:
    """The binomial distribution, added up term by term."""
    if not 0 < share < 1:
        return float(share <= 0)
    top = math.lgamma(total + 1)
    return math.fsum(
        math.exp(
            top
            - math.lgamma(k + 1)
            - math.lgamma(total - k + 1)
            + k * math.log(share)
            + (total - k) * math.log1p(-share)
        )
        for k in range(hits + 1)
    )


def weighted(hits: Sequence[bool], weights: Sequence[float]) -> Rate:
    """The weighted share of `hits`, its interval by Wilson at Kish's effective sample size.

    Source: L. Kish, Survey Sampling (1965), section 11.7: n_eff = (sum w)**2 / sum w**2.
    """
    total = sum(weights)
    if not total:
        return Rate(math.nan, math.nan, math.nan)
    share = sum(weight for hit, weight in zip(hits, weights, strict=True) if hit) / total
    effective = total**2 / sum(weight**2 for weight in weights)
    return wilson(share * effective, effective)


def percentile(samples: Sequence[float], share: float) -> float:
    """The nearest-rank percentile; NaN of nothing. `percentile([3, 1, 2], 0.5) == 2`."""
    if not samples:
        return math.nan
    rank = max(1, math.ceil(share * len(samples)))
    return sorted(samples)[rank - 1]


def bootstrap(
    rows: int, statistic: Callable[[Sequence[int]], float], *, rounds: int, seed: int
) -> tuple[float, float]:
    """The 95 % interval of `statistic` over rows drawn again with replacement.

    `statistic` takes the places of the rows drawn, so that one that is a difference is paired.
    Cost: `rounds` calls of it.
    """
    rng = Random(seed)
    values = [statistic(rng.choices(range(rows), k=rows)) for _ in range(rounds)]
    return percentile(values, 0.025), percentile(values, 0.975)
