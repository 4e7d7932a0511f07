"""Metrics: cases small enough to work out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from train.scoring.metrics import Point, area, brier, calibration_error, cost_at, hull

CHEAP, DEAR = Point(1.0, 0.4), Point(3.0, 0.8)


def test_area_of_the_straight_line_is_its_middle() -> None:
    """Mixing two tiers has the mean of their qualities; a dominating point has its own."""
    assert area([CHEAP, DEAR], CHEAP, DEAR) == pytest.approx(0.6)
    assert area([Point(2.0, 0.8), DEAR], CHEAP, DEAR) == pytest.approx(0.7)


def test_curve_is_flat_beyond_its_last_point() -> None:
    """A method that never spends the dear tier's money keeps its last quality."""
    assert area([CHEAP], CHEAP, DEAR) == pytest.approx(0.4)
    assert area([Point(2.0, 0.6)], CHEAP, DEAR) == pytest.approx((0.5 + 0.6) / 2)


def test_cost_at_a_share_is_read_off_the_line() -> None:
    """Half of the gain lies half way; what is never reached costs nothing that could be told."""
    assert cost_at([CHEAP, DEAR], CHEAP, DEAR, 0.5) == pytest.approx(2.0)
    assert cost_at([CHEAP, Point(2.0, 0.8)], CHEAP, DEAR, 1.0) == pytest.approx(2.0)
    assert cost_at([CHEAP], CHEAP, DEAR, 0.5) is None


def test_hull_drops_what_mixing_beats() -> None:
    """A point under the line between two others, or dearer and worse, is not on the hull."""
    assert hull([CHEAP, Point(2.0, 0.5), DEAR, Point(4.0, 0.7)]) == [CHEAP, DEAR]
    middle = Point(2.0, 0.75)
    assert hull([DEAR, middle, CHEAP]) == [CHEAP, middle, DEAR]


def test_calibration_of_honest_and_of_boastful_chances() -> None:
    """Chances that come true have no error; certainty that is half wrong has a half."""
    label = np.array([1.0, 0.0, 1.0, 0.0])
    assert calibration_error(np.full(4, 0.5), label) == pytest.approx(0.0)
    assert calibration_error(np.ones(4), label) == pytest.approx(0.5)
    assert brier(np.full(4, 0.5), label) == pytest.approx(0.25)
