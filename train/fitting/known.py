"""The rows that an artifact was fitted on in, what it keeps of where they lay out.

What is strange is told by all rows. What traffic is held against, to tell that it moves, is the
latest of them: once a shift was learnt, more of the same is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans
from sklearn.model_selection import KFold

from router.artifact import Artifact, plans_above
from router.drift import BINS, LEAST, WINDOW, tenth_of
from router.estimate import ArtifactEstimator
from router.tiers import Ladder, Tier
from train.samples.examples import Example

CENTROIDS: Final = 64
"""Measured: each of 17 domains of the train rows left out in turn, rows of it told from rows kept
apart of the others: area under ROC on average .75 with 32, .78 with 64, .78 with 128; .75 by what
64 principal components leave over, .76 by Mahalanobis' distance, .80 by the fifth neighbour among
all rows, which an artifact cannot carry."""
FOLDS: Final = 5

Numbers = NDArray[np.float64]


def known_arrays(
    vectors: NDArray[np.float32],
    right: Mapping[int, Numbers],
    gain: Mapping[tuple[int, ...], Numbers],
    seed: int,
    latest: int | None = None,
) -> dict[str, NDArray[Any]]:
    """The arrays of `router.drift.Known`; chances and gains before any answer, cross-fitted.

    Traffic is held against the `latest` rows, if they come in the order of time; else against all.
    """
    near = np.empty(len(vectors))
    for fitted_on, kept in KFold(FOLDS, shuffle=True, random_state=seed).split(vectors):
        near[kept] = (vectors[kept] @ _centroids(vectors[fitted_on], seed).T).max(axis=1)
    nearer = np.argsort(np.argsort(-near)) / len(near)
    late = slice(-latest if latest else None, None)
    return {
        "known_centroids": _centroids(vectors, seed).astype(np.float16),
        "known_similarity": np.quantile(near, np.linspace(1.0, 0.0, 101)).astype(np.float32),
        "known_shares": _shares(nearer[late]),
        "known_scores": _tenths([right[place][late] for place in range(len(right))]),
        "known_gain": np.array([gain[plan].mean() for plan in plans_above((), len(right))]),
    }


def latest_arrays(
    artifact: Artifact, examples: Sequence[Example], vectors: NDArray[np.float32]
) -> dict[str, NDArray[Any]]:
    """Those of an artifact whose odds were moved: what traffic is held against is the latest rows.

    Nothing if they are too few to tell, or if the artifact knows not what it was fitted on.
    """
    examples, vectors = examples[-WINDOW:], vectors[-WINDOW:]
    if artifact.known is None or len(examples) < LEAST:
        return {}
    ladder = Ladder([Tier(name=name, model=name) for name in artifact.tiers])
    estimator = ArtifactEstimator(ladder, artifact)
    estimates = [
        estimator.estimate(example.task(vector, len(ladder), 0.5), {})
        for example, vector in zip(examples, vectors, strict=True)
    ]
    right = np.array([estimate.right for estimate in estimates if estimate is not None])
    strange = [artifact.known.strangeness(vector) for vector in vectors]
    return {"known_shares": _shares(strange), "known_scores": _tenths(list(right.T))}


def _shares(strange: Sequence[float] | Numbers) -> NDArray[np.float32]:
    counts = np.bincount([tenth_of(float(each)) for each in strange], minlength=BINS)
    shares: NDArray[np.float32] = (counts / counts.sum()).astype(np.float32)
    return shares


def _tenths(columns: Sequence[Numbers]) -> NDArray[np.float32]:
    at = np.linspace(0.0, 1.0, BINS + 1)[1:-1]
    return np.array([np.quantile(column, at) for column in columns], np.float32)


def _centroids(vectors: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """(k, dim) unit length."""
    count = min(CENTROIDS, len(vectors) // 2)
    means = MiniBatchKMeans(count, random_state=seed, n_init=1, batch_size=2048).fit(vectors)
    centres: NDArray[np.float32] = means.cluster_centers_.astype(np.float32)
    unit: NDArray[np.float32] = centres / np.linalg.norm(centres, axis=1, keepdims=True)
    return unit
