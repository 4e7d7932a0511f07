"""What may be spent an hour in; whether there is any left, at this instant, out."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Final

_HOUR_S: Final = 3600.0


class Budget:
    """Fills up evenly, holds an hour's worth at most, and may be overdrawn by what was begun."""

    def __init__(self, usd_per_hour: float, clock: Callable[[], float]) -> None:
        """`clock` gives monotonic seconds."""
        self._rate = usd_per_hour / _HOUR_S
        self._most = usd_per_hour
        self._held = usd_per_hour
        self._clock = clock
        self._filled_s = clock()

    @property
    def has_left(self) -> bool:
        """Something may be begun."""
        now_s = self._clock()
        self._held = min(self._most, self._held + self._rate * (now_s - self._filled_s))
        self._filled_s = now_s
        return self._held > 0.0

    def spend(self, cost_usd: Decimal) -> None:
        """It cost so much."""
        self._held -= float(cost_usd)
