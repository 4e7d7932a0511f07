"""Rivals: each published rule does what it says, on numbers small enough to follow."""

from __future__ import annotations

import numpy as np
import pytest

from router.artifact import subsets
from train.weighing.rivals import Known, cascade_routing, frugal


def _known(seed: int, count: int = 400) -> Known:
    """Two tiers: the cheap one is right on the easy half, and the scorers see that, with noise."""
    dice = np.random.default_rng(seed)
    easy = dice.random(count) < 0.5
    correct = np.stack([easy, np.ones(count)], axis=1).astype(float)
    seen = np.where(easy, 0.9, 0.1) + dice.normal(0, 0.05, count)
    chances = {
        (): np.stack([np.full(count, 0.5), np.ones(count)], axis=1),
        (0,): np.stack([seen, np.ones(count)], axis=1),
        (1,): np.stack([np.full(count, 0.5), np.ones(count)], axis=1),
        (0, 1): correct,
    }
    assert set(chances) == set(subsets(2))
    cost = np.tile([0.001, 0.01], (count, 1))
    return Known(chances, cost, correct, cost)


def test_frugal_lists_find_the_cascade_that_pays() -> None:
    """Cheap first and dear where the scorer doubts: all right, for little more than half."""
    sweep = frugal(_known(0), _known(1))
    within = sweep.cost_usd.mean(axis=1) < 0.0075
    assert sweep.correct.mean(axis=1)[within].max() > 0.98


def test_frugal_never_spends_more_than_its_dearest_list() -> None:
    """Every setting is a list of tiers, each asked once at most."""
    sweep = frugal(_known(0), _known(1))
    assert sweep.cost_usd.max() <= 0.011 + 1e-12


def test_cascade_routing_stops_where_the_answer_suffices() -> None:
    """At some price the easy rows end at the cheap tier and the others go on."""
    told = _known(1)
    sweep = cascade_routing(_known(0), told)
    means = sweep.correct.mean(axis=1), sweep.cost_usd.mean(axis=1)
    best = max(
        quality for quality, cost in zip(*means, strict=True) if cost < told.cost_usd[:, 1].mean()
    )
    assert best > 0.98
    assert sweep.cost_usd.mean(axis=1)[0] == pytest.approx(0.001)
