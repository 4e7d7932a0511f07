"""A point on the cost-quality curve in, the price of quality there out, by an artifact's table."""

from __future__ import annotations

import math

import numpy as np

from router.artifact import Artifact
from router.budget import Range
from router.quality import QUALITY


class Curve:
    """What a dollar must buy, along the curve. Immutable."""

    def __init__(self, artifact: Artifact | None) -> None:
        """Without an artifact nothing is worth any dollar."""
        self._artifact = artifact
        self._log_prices = np.log1p(artifact.price) if artifact is not None else None
        # Of each request the same few are asked for.
        self._price_of = {quality: self._read(quality) for quality in QUALITY.values()}

    def price(self, quality: float) -> float:
        """Points of quality that a dollar must buy at `quality`; infinite at 0, nothing at 1."""
        told = self._price_of.get(quality)
        return self._read(quality) if told is None else told

    def _read(self, quality: float) -> float:
        if quality <= 0.0 or self._artifact is None or self._log_prices is None:
            return math.inf
        return float(np.expm1(np.interp(quality, self._artifact.quality, self._log_prices)))

    def prices(self, start: float) -> Range | None:
        """Between which prices anything changes, beginning at that of the point `start`.

        None without an artifact.
        """
        if self._artifact is None:
            return None
        told = self._artifact.price[self._artifact.price > 0.0]
        low, high = float(told.min()) / 10.0, float(told.max())
        return Range(low, high, min(high, max(low, self.price(start))))
