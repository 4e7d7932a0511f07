"""A raw score in, a calibrated probability out: Platt's two numbers for each head."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

LEAST: Final = 0.005
"""Chosen: no head is surer than 1 in 200 of anything; a few thousand rows cannot prove more."""


def calibrated(
    raw: Numbers, slope: Numbers, offset: Numbers, shift: Numbers | float = 0.0
) -> Numbers:
    """Probabilities in [LEAST, 1 - LEAST] for raw scores near [0, 1]; all arrays of one shape.

    `shift` is added to the log-odds: what is known of the tier besides.

    Source: Platt, "Probabilistic outputs for support vector machines" (1999), on the score's logit.
    """
    probability = 1.0 / (1.0 + np.exp(-(slope * logit(raw) + offset + shift)))
    return np.minimum(np.maximum(probability, LEAST), 1.0 - LEAST)


def logit(raw: Numbers) -> Numbers:
    """Log-odds of scores, which are first brought into [LEAST, 1 - LEAST]."""
    # Not `np.clip`, which takes three times as long on a handful of numbers.
    score = np.minimum(np.maximum(raw, LEAST), 1.0 - LEAST)
    result: Numbers = np.log(score / (1.0 - score))
    return result
