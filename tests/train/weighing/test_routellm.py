"""APGR is exact, and labels teach which questions the strong model should have."""

from __future__ import annotations

import numpy as np
import pytest

from train.weighing.routellm import apgr


def test_order_by_the_truth_is_the_best_and_against_it_the_worst() -> None:
    """One gain in two rows: .75 if it comes first, .25 if it comes last."""
    weak, strong = np.array([0.0, 1.0]), np.array([1.0, 1.0])
    assert apgr(strong - weak, weak, strong) == pytest.approx(0.75)
    assert apgr(weak - strong, weak, strong) == pytest.approx(0.25)


def test_any_order_of_equal_gains_is_half() -> None:
    """Where every question gains alike nobody can do better than chance."""
    score = np.random.default_rng(0).random(100)
    assert apgr(score, np.zeros(100), np.ones(100)) == pytest.approx(0.5)
