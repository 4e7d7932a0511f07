"""When a second replica is asked although the first may still answer: `"p95"` or seconds in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from sidecar.replicas.load import Load

_PERCENTILE: Final = re.compile(r"p(\d\d)\Z")
_LOWEST: Final = 50


@dataclass(frozen=True, slots=True)
class Hedge:
    """A delay: fixed, or that within which a share of the replica's last answers came.

    Source: J. Dean, L. Barroso, "The tail at scale", 2013: a second request after the 95th
    percentile adds about 5 % of load and takes most of the tail away.
    """

    seconds: float | None = None
    ratio: float | None = None

    @classmethod
    def parse(cls, told: float | str) -> Hedge | None:
        """`Hedge.parse("p95") == Hedge(ratio=0.95)`; an empty word is none.

        Raises:
            ValueError: It is neither a percentile nor a positive number of seconds.
        """
        if told == "":
            return None
        found = _PERCENTILE.match(told) if isinstance(told, str) else None
        if found and int(found[1]) >= _LOWEST:
            return cls(ratio=int(found[1]) / 100)
        if isinstance(told, str) or told <= 0:
            raise ValueError('hedge_after must be "p50" to "p99", or a positive number of seconds')
        return cls(seconds=float(told))

    def delay_s(self, load: Load) -> float | None:
        """How long the first replica may take; None while nobody knows."""
        return self.seconds if self.ratio is None else load.quantile_s(self.ratio)
