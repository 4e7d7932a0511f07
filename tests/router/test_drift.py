"""Drift: nothing is said of traffic like the training rows, and much of traffic unlike them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.drift import BINS, KINDS, WINDOW, Known, Watch

RNG = np.random.default_rng(0)
CENTRES = RNG.normal(size=(8, 32)).astype(np.float32)
CENTRES /= np.linalg.norm(CENTRES, axis=1, keepdims=True)
TENTHS = np.linspace(0.1, 0.9, 9, dtype=np.float32)


def near(count: int, spread: float = 0.1) -> np.ndarray:
    """(count, 32) unit vectors about the centres."""
    rows = CENTRES[RNG.integers(0, 8, count)] + spread * RNG.normal(size=(count, 32))
    unit: np.ndarray = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


def known() -> Known:
    similarity = (near(4_000) @ CENTRES.T).max(axis=1)
    return Known(
        centroids=CENTRES,
        similarity=np.quantile(similarity, np.linspace(1, 0, 101)).astype(np.float32),
        shares=np.full(BINS, 1 / BINS, np.float32),
        scores=np.stack([TENTHS, TENTHS]),
        gain=np.zeros(3),
    )


KNOWN = known()


@settings(max_examples=30)
@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_what_lies_farther_is_stranger(left: float, right: float) -> None:
    """Strangeness never falls as a vector is turned away from what was known, and is a share."""
    away = np.linalg.svd(CENTRES)[2][-1].astype(np.float32)  # at right angles to all of them
    strange = [
        KNOWN.strangeness((np.cos(t) * CENTRES[0] + np.sin(t) * away).astype(np.float32))
        for t in sorted((left, right))
    ]
    assert 0.0 <= strange[0] <= strange[1] <= 1.0


def test_of_rows_like_the_training_rows_few_are_strange() -> None:
    """By its very meaning: the share beyond .99 is about a hundredth."""
    strange = np.array([KNOWN.strangeness(row) for row in near(3_000)])
    assert strange.mean() == pytest.approx(0.5, abs=0.03)
    assert (strange > 0.99).mean() < 0.03
    far = RNG.normal(size=(300, 32)).astype(np.float32)
    far /= np.linalg.norm(far, axis=1, keepdims=True)
    assert np.mean([KNOWN.strangeness(row) > 0.99 for row in far]) > 0.95


def test_alarm_is_raised_by_a_shift_and_cleared_when_it_is_over() -> None:
    """Between the two limits it stays as it was."""
    watch = Watch(KNOWN)
    for strange in RNG.uniform(size=WINDOW):
        watch.decided(float(strange), RNG.uniform(size=2).tolist())
    assert not any(each.is_alarmed for each in watch.standings.values())
    assert watch.standings["input"].value < 0.1
    for strange in 1.0 - RNG.uniform(size=WINDOW) ** 2 / 2:
        watch.decided(float(strange), (RNG.uniform(size=2) ** 3).tolist())
    assert watch.standings["input"].is_alarmed
    assert watch.standings["score"].is_alarmed
    states = []
    for strange in RNG.uniform(size=WINDOW):
        watch.decided(float(strange), RNG.uniform(size=2).tolist())
        states.append(watch.standings["input"].is_alarmed)
    assert states == sorted(states, reverse=True)
    assert not states[-1]


def test_agreement_is_held_against_its_own_beginning() -> None:
    """Whoever is asked twice was chosen for it, so that no share is right by itself."""
    watch = Watch(None)
    for same in RNG.uniform(size=800) < 0.8:
        watch.agreed(same=bool(same))
    assert not watch.standings["agreement"].is_alarmed
    for same in RNG.uniform(size=WINDOW) < 0.5:
        watch.agreed(same=bool(same))
    assert watch.standings["agreement"].is_alarmed
    assert watch.standings["agreement"].value == pytest.approx(-0.3, abs=0.08)


def test_confidence_is_held_against_scores() -> None:
    """Right as often as it says raises nothing; a fifth less often does."""
    watch = Watch(None)
    for confidence in RNG.uniform(0.4, 0.9, size=WINDOW):
        watch.scored(confidence, float(RNG.uniform() < confidence))
    assert not watch.standings["calibration"].is_alarmed
    for confidence in RNG.uniform(0.4, 0.9, size=WINDOW):
        watch.scored(confidence, float(RNG.uniform() < confidence - 0.2))
    assert watch.standings["calibration"].is_alarmed
    assert watch.standings["calibration"].value == pytest.approx(-0.2, abs=0.07)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=199))
def test_little_traffic_says_nothing(seen: list[tuple[float, float]]) -> None:
    """Below the least number no kind has a value, whatever came."""
    watch = Watch(KNOWN)
    for strange, chance in seen:
        watch.decided(strange, (chance, chance))
        watch.agreed(same=chance > 0.5)
        watch.scored(chance, strange)
    assert all(watch.standings[kind].value == 0.0 for kind in KINDS)


def test_without_a_summary_of_the_rows_the_input_is_not_watched() -> None:
    """An older artifact tells none; what it says of itself is ignored."""
    watch = Watch(None)
    watch.decided(0.5, (0.5,))
    assert watch.standings["input"].seen == 0
