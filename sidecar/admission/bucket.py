"""A token bucket: so much a minute, a minute's worth at once, settled when the truth is known.

The libraries that were looked at count and do no more: `limits` 5.8 hits, tests and tells what is
left, `aiolimiter` 1.3 waits; neither gives back what was reserved in excess nor charges what was
reserved too little, and an answer's tokens are known only when it stands. So these few lines.
"""

from __future__ import annotations

import math
from typing import Final

_MINUTE_S: Final = 60.0


class Bucket:
    """Fills evenly and holds a minute's worth at most. The clock's instants are handed in."""

    __slots__ = ("_held", "_seen_s", "per_minute")

    def __init__(self, per_minute: float, now_s: float) -> None:
        self.per_minute = per_minute
        self._held = per_minute
        self._seen_s = now_s

    def resize(self, per_minute: float) -> None:
        """Another limit from now on; what is held stays, up to the new one."""
        self.per_minute = per_minute
        self._held = min(self._held, per_minute)

    def held(self, now_s: float) -> float:
        """What may be taken now; below zero after a settlement that cost more than was taken."""
        # A clock that went back fills nothing, and what it filled before is not filled twice.
        if now_s > self._seen_s:
            filled = self._held + (now_s - self._seen_s) * self.per_minute / _MINUTE_S
            self._held = min(self.per_minute, filled)
            self._seen_s = now_s
        return self._held

    def wait_s(self, amount: float, now_s: float) -> float:
        """Seconds until `amount` may be taken; infinity if it is more than a minute's."""
        if amount > self.per_minute:
            return math.inf
        return self._seconds(amount - self.held(now_s))

    def full_s(self, now_s: float) -> float:
        """Seconds until it is as full as it gets."""
        return self._seconds(self.per_minute - self.held(now_s))

    def _seconds(self, missing: float) -> float:
        return max(0.0, missing) * _MINUTE_S / self.per_minute

    def take(self, amount: float) -> None:
        """Take it, whether it is held or not; a negative amount is given back."""
        self._held = min(self.per_minute, self._held - amount)

    def restore(self, held: float, away_s: float) -> None:
        """Go on where a process before this one ended, `away_s` ago."""
        self._held = min(self.per_minute, held + max(0.0, away_s) * self.per_minute / _MINUTE_S)
