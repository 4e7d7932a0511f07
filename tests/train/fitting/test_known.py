"""What traffic is held against: the latest rows, so that a shift that was learnt is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from router.artifact import Artifact, plans_above
from router.drift import LEAST, WINDOW, Known, Watch
from train.fitting.fit import fitted
from train.fitting.known import known_arrays, latest_arrays
from train.fitting.trees import TreesConfig
from train.samples.tier3 import read_tier3
from train.samples.vectors import TextEncoder, vectors_of

QUICK = TreesConfig(trees=6, depth=2, rate=0.4)

RNG = np.random.default_rng(3)
PLACES = RNG.normal(size=(24, 16))
MOVED = RNG.normal(size=(4, 16))


def rows(centres: NDArray[np.float64], count: int, spread: float) -> NDArray[np.float32]:
    """(count, 16) unit vectors about some of the centres."""
    made = centres[RNG.integers(0, len(centres), count)] + spread * RNG.normal(size=(count, 16))
    unit: NDArray[np.float32] = (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(
        np.float32
    )
    return unit


def drift(known: Known, vectors: NDArray[np.float32], chances: NDArray[np.float64]) -> Watch:
    """What is made of traffic that has these vectors, and these chances of both tiers."""
    watch = Watch(known)
    for vector, chance in zip(vectors, chances, strict=True):
        watch.decided(known.strangeness(vector), (chance, chance))
    return watch


@pytest.mark.parametrize("latest", [None, WINDOW])
def test_a_shift_that_was_learnt_is_none(latest: int | None) -> None:
    """Held against all rows the latest ones' like is far away; against the latest it is not."""
    vectors = np.concatenate([rows(PLACES, 3_000, 0.6), rows(MOVED, 800, 0.15)])
    chances = np.concatenate([RNG.uniform(size=3_000), RNG.uniform(size=800) ** 3])
    right, gain = {0: chances, 1: chances}, dict.fromkeys(plans_above((), 2), chances)
    made = known_arrays(vectors, right, gain, 0, latest)
    known = Known(
        centroids=made["known_centroids"].astype(np.float32),
        similarity=made["known_similarity"],
        shares=made["known_shares"],
        scores=made["known_scores"],
        gain=made["known_gain"],
    )
    watch = drift(known, rows(MOVED, WINDOW, 0.15), RNG.uniform(size=WINDOW) ** 3)
    raised = {kind: watch.standings[kind].is_alarmed for kind in ("input", "score")}
    assert raised == dict.fromkeys(raised, latest is None)
    # What is strange is told by all rows, however new: nothing else is.
    assert np.mean([known.strangeness(vector) > 0.99 for vector in vectors]) < 0.03


def test_moved_odds_are_held_against_the_latest_rows(
    tier3_file: Path, session_encoder: TextEncoder, tmp_path: Path
) -> None:
    """Their chances and their strangeness, by the artifact itself; of too few rows nothing."""
    examples = read_tier3([tier3_file])
    vectors = vectors_of(examples, session_encoder, tmp_path)
    artifact = fitted({"encoder_ids": ["fake"]}, examples, vectors, 0, QUICK)
    few = slice(0, LEAST - 1)
    assert latest_arrays(artifact, examples[few], vectors[few]) == {}
    late = slice(-LEAST, None)
    made = latest_arrays(artifact, examples[late], vectors[late])
    moved = Artifact.build(artifact.manifest, {**artifact.arrays, **made})
    assert moved.known is not None
    watch = Watch(moved.known)
    for vector in vectors[late]:
        watch.decided(moved.known.strangeness(vector), ())
    assert watch.standings["input"].value == pytest.approx(0.0, abs=1e-3)
    assert np.all(np.diff(moved.known.scores, axis=1) >= 0)
