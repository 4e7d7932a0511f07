"""Off-policy evaluation on simulated logs, where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.scoring import ope

ROWS = 1_500
TIERS = 3


def simulated(seed: int, *, explored: float, bias: float = 0.0) -> tuple[ope.Logged, np.ndarray]:
    """A log of a greedy policy that explores a share, and every tier's true mean, by row.

    `bias` is how far the model of what is to be expected is off.
    """
    dice = np.random.default_rng(seed)
    hard = dice.random(ROWS)
    truth = np.clip(np.array([0.9, 0.95, 0.98]) - hard[:, None] * [0.8, 0.4, 0.1], 0.0, 1.0)
    logged = ope.greedy((hard > 0.5).astype(np.int64), TIERS, explored)
    chosen = np.array([dice.choice(TIERS, p=row) for row in logged])
    rows = np.arange(ROWS)
    outcome = (dice.random(ROWS) < truth[rows, chosen]).astype(float)
    return (
        ope.Logged(
            chosen=chosen,
            propensity=logged[rows, chosen],
            outcome=outcome,
            model=np.clip(truth + bias, 0.0, 1.0),
        ),
        truth,
    )


def always(place: int) -> np.ndarray:
    return ope.greedy(np.full(ROWS, place), TIERS)


@pytest.mark.parametrize("way", ["ips", "snips", "dr"])
def test_intervals_hold_the_truth_as_often_as_they_say(way: str) -> None:
    """Of forty logs, nearly all 95 % intervals hold what the policy would have come to."""
    held = 0
    for seed in range(40):
        logged, truth = simulated(seed, explored=0.3)
        low, high = ope.estimates(logged, always(2), seed)[way]["interval"]
        held += low <= truth[:, 2].mean() <= high
    assert held >= 34  # at 95 % each, so few come once in a thousand times


def test_doubly_robust_is_narrower_and_stands_a_wrong_model() -> None:
    """A model that is off by .2 everywhere moves the model's own word, and not the estimate."""
    widths: dict[str, list[float]] = {"ips": [], "dr": []}
    errors = []
    for seed in range(20):
        logged, truth = simulated(seed, explored=0.3, bias=-0.2)
        told = ope.estimates(logged, always(1), seed)
        errors.append(told["dr"]["value"] - truth[:, 1].mean())
        for way, found in widths.items():
            low, high = told[way]["interval"]
            found.append(high - low)
    assert abs(np.mean(errors)) < 0.02
    assert np.mean(widths["dr"]) < np.mean(widths["ips"])


def test_a_lead_is_paired(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A policy leads itself by nothing at all; a better one by more than nothing."""
    logged, _ = simulated(1, explored=0.5)
    assert ope.lead(logged, always(2), always(2), 0) == {"value": 0.0, "interval": (0.0, 0.0)}
    found = ope.lead(logged, always(2), always(0), 0)
    assert found["interval"][0] > 0.0


def test_what_was_never_chosen_tells_nothing() -> None:
    """Without exploration no row counts, and the effective number says so."""
    logged, _ = simulated(2, explored=0.0)
    told = ope.estimates(logged, always(2), 0)
    assert told["effective_rows"] == 0.0
    assert "snips" not in told


@given(st.lists(st.floats(0.0, 10.0), min_size=1, max_size=50))
def test_rows_are_never_worth_more_than_there_are(values: list[float]) -> None:
    """Kish's number lies between 0 and the count."""
    assert 0.0 <= ope.effective_rows(np.array(values)) <= len(values) + 1e-6
