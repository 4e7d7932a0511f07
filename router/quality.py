"""A point of the cost-quality curve as the config or a caller names it in, a number out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

QUALITY: Final[Mapping[str, float]] = {"economy": 0.5, "balanced": 0.8, "best": 1.0}
"""Chosen: the points at which half and four fifths of what quality is to be gained over the
cheapest tier have been bought, and the end; the report shows what each costs."""


def quality_of(told: float | str) -> float:
    """The number for a named point or a number, given as text or not.

    Raises:
        ValueError: It is neither a known point nor a number in [0, 1].
    """
    if isinstance(told, str) and told in QUALITY:
        return QUALITY[told]
    try:
        quality = float(told)
    except ValueError:
        quality = math.nan
    if not 0.0 <= quality <= 1.0:
        raise ValueError(f"quality must be in [0, 1] or one of {', '.join(QUALITY)}, is {told!r}")
    return quality
