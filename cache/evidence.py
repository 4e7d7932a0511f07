"""Right and wrong hits in, how many hits are wrong out: estimates with bounds, and an alarm.

An estimate answers "how many?" once; it may not be looked at again and again until it says what one
fears. The alarm is made for that: it is asked after every hit, and its false alarms are still few.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

CONFIDENCE: Final = 0.95
"""Chosen: two-sided, what operators expect of an interval that they are shown."""

PRIOR_HITS: Final = 100.0
"""Chosen: the calibration behind a risk stands on some 200 effective hits (docs/cache.md), of other
traffic than this: half of that. A partition outweighs it after so many checked hits of its own."""

ALARM_ODDS: Final = 1e5
"""Chosen: a partition that keeps the bound is called bad less than once in 100,000 hits looked at;
four wrong hits in a row do for one that is wrong throughout (at 0.02)."""

_STEPS: Final = (0.02, 0.1, 0.5)
"""Chosen: how far between the bound and 1 the rates lie that the alarm looks out for: twice the
bound (at 0.02), six times, and half of all."""

_ITERATIONS: Final = 300
"""Chosen: the fraction converges in some dozens; `_HALVINGS` take [0, 1] to a last bit."""
_HALVINGS: Final = 54
_TINY: Final = 1e-300
"""Source: Press et al., "Numerical Recipes", section 6.4: stands where a term would be 0."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share of wrong hits, in [0, 1].

    Attributes:
        value: The estimate; NaN where nothing was counted.
        lower: Of its interval.
        upper: Of its interval.
    """

    value: float
    lower: float
    upper: float


@lru_cache(maxsize=64)  # three gauges and a report ask for the same
def observed(wrong: int, total: int) -> Estimate:
    """The share as it was counted, with its exact interval; (NaN, 0, 1) of nothing.

    Source: Clopper and Pearson, Biometrika 26 (1934), 404-413, by way of the beta distribution.
    """
    if not total:
        return Estimate(math.nan, 0.0, 1.0)
    tail = (1.0 - CONFIDENCE) / 2.0
    lower = beta_quantile(tail, wrong, total - wrong + 1) if wrong else 0.0
    return Estimate(wrong / total, lower, upper_bound(wrong, total, 1.0 - tail))


def upper_bound(wrong: int, total: int, confidence: float) -> float:
    """The one-sided exact bound: a larger share shows so few with at most 1 - `confidence`."""
    return beta_quantile(confidence, wrong + 1, total - wrong) if wrong < total else 1.0


def shrunk(prior_mean: float, wrong: float, total: float) -> Estimate:
    """The share, drawn toward `prior_mean` as if that were `PRIOR_HITS` hits more.

    The beta distribution's posterior mean, and its interval. With nothing counted it is the prior.
    """
    a = prior_mean * PRIOR_HITS + wrong
    b = (1.0 - prior_mean) * PRIOR_HITS + total - wrong
    tail = (1.0 - CONFIDENCE) / 2.0
    return Estimate(a / (a + b), beta_quantile(tail, a, b), beta_quantile(1.0 - tail, a, b))


def shrunk_mean(prior_mean: float, wrong: float, total: float) -> float:
    """`shrunk` without its interval, for the path that callers wait on."""
    return (prior_mean * PRIOR_HITS + wrong) / (PRIOR_HITS + total)


class Alarm:
    """Rings when more hits are wrong than `bound`, however often it is listened to.

    Under each of three higher rates a hit is so much likelier, or less likely, than under `bound`;
    the product of these ratios, never let below 1, is what rings at `ALARM_ODDS`. Of hits that are
    wrong no more often than `bound` it rings among the first n with a chance of n / `ALARM_ODDS`
    at most, and what went well long ago does not make it deaf.
    Source: Shin, Ramdas, Rinaldo, "E-detectors", arXiv 2203.03532, section 3; Lorden, Annals of
    Mathematical Statistics 42 (1971), 1897-1908.
    """

    __slots__ = ("_if_right", "_if_wrong", "_levels")

    def __init__(self, bound: float) -> None:
        rates = [bound + (1.0 - bound) * step for step in _STEPS]
        self._if_wrong = [math.log(rate / bound) for rate in rates]
        self._if_right = [math.log((1.0 - rate) / (1.0 - bound)) for rate in rates]
        self._levels = [0.0] * len(rates)

    @property
    def levels(self) -> tuple[float, ...]:
        """How far it has risen: all that it holds, to be handed to `resume` after a restart."""
        return tuple(self._levels)

    def resume(self, levels: Sequence[float]) -> None:
        """Go on from `levels` of another one with the same bound; what fits no alarm is ignored."""
        if len(levels) == len(self._levels) and all(0.0 <= one < math.inf for one in levels):
            self._levels = list(levels)

    def right(self) -> None:
        """One more hit, and it was right."""
        added = zip(self._levels, self._if_right, strict=True)
        self._levels = [max(0.0, level + one) for level, one in added]

    def wrong(self) -> None:
        """One more hit, and it was wrong."""
        added = zip(self._levels, self._if_wrong, strict=True)
        self._levels = [level + one for level, one in added]

    @property
    def is_ringing(self) -> bool:
        """There are more wrong hits than chance explains."""
        top = max(self._levels)  # taken out of the sum, which would overflow
        mean = sum(math.exp(level - top) for level in self._levels) / len(self._levels)
        return top + math.log(mean) >= math.log(ALARM_ODDS)


def beta_quantile(share: float, a: float, b: float) -> float:
    """The x at which the beta distribution with parameters `a`, `b` > 0 holds `share` below it."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if beta_below(middle, a, b) < share else (low, middle)
    return (low + high) / 2.0


def beta_below(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function: the mass of Beta(`a`, `b`) below `x`.

    Source: NIST Digital Library of Mathematical Functions, 8.17.22 (the continued fraction) and
    8.17.4 (the symmetry that keeps it fast).
    """
    if x <= 0.0 or x >= 1.0:
        return min(1.0, max(0.0, x))
    if x > (a + 1.0) / (a + b + 2.0):
        return 1.0 - beta_below(1.0 - x, b, a)
    log_front = a * math.log(x) + b * math.log1p(-x)
    log_front += math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    return math.exp(log_front) / (a * _fraction(x, a, b))


def _fraction(x: float, a: float, b: float) -> float:
    """1 + d1/(1 + d2/(1 + ...)), by Lentz's method as Thompson and Barnett gave it (1986)."""
    whole, c, d = 1.0, 1.0, 0.0
    for n in range(1, _ITERATIONS):
        m = n // 2
        if n % 2:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1.0 / (1.0 + term * d or _TINY)
        c = 1.0 + term / c or _TINY
        whole *= c * d
        if abs(c * d - 1.0) < 1e-14:  # noqa: PLR2004 - a few units of a double's last place
            break
    return whole
