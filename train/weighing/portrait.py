"""An artifact and rows it never saw in; how sure one may be of it, and where it got worse, out.

What a page shows beside the figures of `evaluate`: the operating point with its interval,
chances held against what came of them, each domain's interval, and the curve of another artifact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from router.artifact import Artifact
from router.policy import Router, RouterConfig
from router.quality import QUALITY
from router.tiers import Ladder
from train.samples.examples import Example
from train.samples.vectors import Vectors
from train.scoring.metrics import bootstrap
from train.scoring.replay import Remembering, Replayed, ladder_of, replay, tiers_of
from train.weighing import gate

ROUNDS: Final = 400
BINS: Final = 10
LEAST_ROWS: Final = 20
"""Chosen: a bin of fewer rows says nothing that one could see."""

POINTS: Final = (0.0, 0.3, 0.5, 0.65, 0.8, 0.9, 1.0)
_Z95: Final = NormalDist().inv_cdf(0.975)

Numbers = NDArray[np.float64]


def portrait(
    artifact: Artifact, examples: Sequence[Example], vectors: Vectors, seed: int
) -> dict[str, Any]:
    """The default point with its intervals, the reliability of chances, and the domains."""
    ladder = ladder_of(examples, tiers_of(examples))
    router = _router(artifact, ladder)
    run = replay(router, ladder, examples, vectors, QUALITY["balanced"])
    return {
        "balanced": _point(run, seed),
        "reliability": {
            "answer served": bins(run.confidence, run.correct),
            **_foretold(router, ladder, examples, vectors),
        },
        "domains": _domains(run, examples),
    }


def against(
    artifact: Artifact,
    other: Artifact,
    examples: Sequence[Example],
    vectors: Vectors,
    seed: int,
) -> dict[str, Any]:
    """What the gate says of both, paired by row, every domain's change, and the other's curve."""
    tiers = tiers_of(examples)
    report = gate.compare(artifact, other, examples, vectors, tiers=tiers, seed=seed)
    ladder = ladder_of(examples, tiers)
    runs = [replay(_router(other, ladder), ladder, examples, vectors, q) for q in POINTS]
    ours = replay(_router(artifact, ladder), ladder, examples, vectors, QUALITY["balanced"])
    theirs = runs[POINTS.index(QUALITY["balanced"])]
    return {
        "artifact": other.version,
        **report.told(),
        "curve": [[1e3 * float(r.cost_usd.mean()), float(r.correct.mean())] for r in runs],
        "changes": _changes(ours, theirs, examples),
    }


def _router(artifact: Artifact, ladder: Ladder) -> Router:
    router = Router(ladder=ladder, artifact=artifact, config=RouterConfig())
    assert router.estimator is not None, "it has an artifact"  # noqa: S101 - a bug of ours
    router.estimator = Remembering(router.estimator)
    return router


def _point(run: Replayed, seed: int) -> dict[str, Any]:
    rows = len(run.correct)
    return {
        "correct": float(run.correct.mean()),
        "correct_interval": bootstrap(lambda r: float(run.correct[r].mean()), rows, ROUNDS, seed),
        "usd_per_1k": 1e3 * float(run.cost_usd.mean()),
        "usd_per_1k_interval": bootstrap(
            lambda r: 1e3 * float(run.cost_usd[r].mean()), rows, ROUNDS, seed
        ),
    }


def _foretold(
    router: Router, ladder: Ladder, examples: Sequence[Example], vectors: Vectors
) -> dict[str, list[dict[str, float]]]:
    """Each tier's chance before any answer, held against its answer."""
    assert router.estimator is not None, "it has an artifact"  # noqa: S101 - a bug of ours
    chances = []
    for example, vector in zip(examples, vectors, strict=True):
        estimate = router.estimator.estimate(example.task(vector, len(ladder), 0.5), {})
        assert estimate is not None, "the vectors fit"  # noqa: S101 - checked on loading
        chances.append(estimate.right)
    told = np.array(chances)
    return {
        f"{tier.name}, before any answer": bins(
            told[:, place],
            np.array([example.answers[tier.name].correct or 0.0 for example in examples]),
        )
        for place, tier in enumerate(ladder.tiers)
    }


def bins(chance: Numbers, label: Numbers) -> list[dict[str, float]]:
    """Mean chance and share right by bins of equal width, with Wilson's interval."""
    place = np.minimum((chance * BINS).astype(int), BINS - 1)
    kept = [place == b for b in range(BINS) if np.sum(place == b) >= LEAST_ROWS]
    return [
        {
            "chance": float(chance[rows].mean()),
            "right": float(label[rows].mean()),
            "low": wilson(float(label[rows].sum()), int(rows.sum()))[0],
            "high": wilson(float(label[rows].sum()), int(rows.sum()))[1],
            "rows": int(rows.sum()),
        }
        for rows in kept
    ]


def wilson(hits: float, total: int) -> tuple[float, float]:
    """The 95 % interval of a share; it holds at 0 and at all of them too.

    Source: E. B. Wilson, JASA 22 (1927), 209-212, equation 10.
    """
    share, square = hits / total, _Z95**2
    centre = (share + square / (2 * total)) / (1 + square / total)
    spread = np.sqrt(share * (1 - share) / total + square / (4 * total**2))
    half = float(_Z95 * spread / (1 + square / total))
    return max(0.0, centre - half), min(1.0, centre + half)


def _domains(run: Replayed, examples: Sequence[Example]) -> dict[str, tuple[float, float]]:
    """By domain, the interval of the share answered rightly at `balanced`."""
    names = np.array([example.domain for example in examples])
    return {
        str(name): wilson(float(run.correct[names == name].sum()), int(np.sum(names == name)))
        for name in np.unique(names)
    }


def _changes(
    ours: Replayed, theirs: Replayed, examples: Sequence[Example]
) -> list[Mapping[str, Any]]:
    """By domain, both artifacts' quality and cost at `balanced`, and the change's interval."""
    names = np.array([example.domain or "(no domain)" for example in examples])
    told = []
    for name in np.unique(names):
        rows = names == name
        more = ours.correct[rows] - theirs.correct[rows]
        reach = _Z95 * float(more.std(ddof=1)) / np.sqrt(len(more)) if len(more) > 1 else np.inf
        told.append(
            {
                "domain": str(name),
                "rows": int(rows.sum()),
                "before": float(theirs.correct[rows].mean()),
                "after": float(ours.correct[rows].mean()),
                "change": float(more.mean()),
                "interval": (float(more.mean() - reach), float(more.mean() + reach)),
                "usd_per_1k_before": 1e3 * float(theirs.cost_usd[rows].mean()),
                "usd_per_1k_after": 1e3 * float(ours.cost_usd[rows].mean()),
            }
        )
    return sorted(told, key=lambda each: float(each["change"]))
