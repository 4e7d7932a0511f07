"""How long calls took and how many are under way in, how long the next one may take out.

Source: Finagle's `PeakEwma` load balancer: a moving average over time that jumps to every peak and
forgets it slowly, so that an upstream which turns slow is left at once and tried again by and by.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from typing import Final

DECAY_S: Final = 10.0
"""Source: Finagle's default decay time."""

FAULT_S: Final = 5.0
"""Chosen: a failure counts as an answer this slow, or an upstream that fails fast looks fast."""

_RECENT: Final = 128
_ENOUGH: Final = 20
"""Chosen: of 128 durations the 95th percentile rests on six, of 20 on one; fewer say nothing."""

FEWEST: Final = 5
"""Chosen: a median of five is not swayed by one odd answer."""


class Load:
    """One model at one upstream. Owned by the event loop's thread.

    Attributes:
        in_flight: Calls under way; whoever makes one counts it, and counts it off.
    """

    def __init__(self) -> None:
        self.in_flight = 0
        self._peak_s = 0.0
        self._at_s = 0.0
        self._recent_s: deque[float] = deque(maxlen=_RECENT)

    def answered(self, spent_s: float, now_s: float, *, whole: bool) -> None:
        """A call was answered: `spent_s` to the end of a `whole` one, else to its first chunk."""
        self._observe(spent_s, now_s)
        if whole:
            self._recent_s.append(spent_s)

    def overtaken(self, spent_s: float, now_s: float) -> None:
        """A call was given up after `spent_s`, since another replica had answered.

        It would have taken at least so long. Were it not counted, the slow ones would be missing
        from the percentile by which they were found slow, which would sink with every hedge.
        """
        self.answered(spent_s, now_s, whole=True)

    def failed(self, spent_s: float, now_s: float) -> None:
        """A call failed."""
        self._observe(max(spent_s, FAULT_S), now_s)

    def latency_s(self, now_s: float) -> float:
        """The moving average; 0 where nothing is known, or all of it long ago."""
        return self._peak_s * math.exp(-max(0.0, now_s - self._at_s) / DECAY_S)

    def usual_s(self) -> float:
        """The median of the last whole answers' times; 0 before there are a few."""
        if len(self._recent_s) < FEWEST:
            return 0.0
        return statistics.median(self._recent_s)

    def cost(self, now_s: float) -> float:
        """What one more call would meet: the average times those in the queue, itself included.

        Where nothing is known yet one call finds out, and the others look elsewhere meanwhile.
        """
        latency_s = self.latency_s(now_s) or (FAULT_S if self.in_flight else 0.0)
        return latency_s * (self.in_flight + 1)

    def quantile_s(self, ratio: float) -> float | None:
        """The time within which that share of the last whole answers came; None if too few did."""
        if len(self._recent_s) < _ENOUGH:
            return None
        ranked = sorted(self._recent_s)
        return ranked[min(len(ranked) - 1, math.ceil(ratio * len(ranked)) - 1)]

    def _observe(self, spent_s: float, now_s: float) -> None:
        kept = math.exp(-max(0.0, now_s - self._at_s) / DECAY_S)
        smooth_s = self._peak_s * kept + spent_s * (1.0 - kept)
        self._peak_s, self._at_s = max(spent_s, smooth_s), now_s
