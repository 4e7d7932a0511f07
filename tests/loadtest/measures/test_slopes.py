"""A slope is found, and its interval holds for samples that resemble their neighbours."""

from __future__ import annotations

import math

import numpy as np
import pytest

from loadtest.measures.slopes import slope_per_hour


def test_a_line_is_its_own_slope() -> None:
    """Two a second are 7,200 an hour, with nothing left to doubt."""
    slope = slope_per_hour(range(100), [2 * second for second in range(100)])
    assert slope.value == pytest.approx(7_200)
    assert slope.high - slope.low == pytest.approx(0, abs=1e-6)


def test_too_few_samples_tell_nothing() -> None:
    """NaN, and no error."""
    assert math.isnan(slope_per_hour(range(9), range(9)).value)


def test_the_interval_holds_for_samples_like_their_neighbours() -> None:
    """Of 400 flat series with correlation 0.8, about 5 % are told to rise or fall, and no tenth."""
    dice, wrong = np.random.default_rng(7), 0
    for _ in range(400):
        values = [0.0]
        for _ in range(399):
            values.append(0.8 * values[-1] + dice.normal())
        slope = slope_per_hour(range(400), values)
        wrong += not slope.low <= 0 <= slope.high
    assert 4 <= wrong <= 40
