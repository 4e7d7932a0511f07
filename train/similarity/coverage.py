"""A score of judged pairs in, what it is good for out: who is served at which share of wrong hits.

Scores are risks: what lies lowest is served first, and what is infinite never.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta  # type: ignore[import-untyped] # scipy ships no types
from sklearn.metrics import (
    average_precision_score,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
)

from cache.risk import CONFIDENCE
from train.similarity.judged import Numbers, Pairs

BOUNDS: Final = (0.01, 0.02, 0.05)

_RESAMPLES: Final = 200
"""Chosen: enough for the edges of a 95 % interval to hold their second digit."""

_CURVE_POINTS: Final = 41
"""Chosen: of a curve so many points are written down."""

_BINS: Final = 10
"""Chosen: of equal weight, for the calibration error."""


def upper_bound(wrong: float, hits: float, confidence: float = CONFIDENCE) -> float:
    """Clopper and Pearson's one-sided upper bound of a share; takes effective numbers too."""
    return 1.0 if wrong >= hits else float(beta.ppf(confidence, wrong + 1.0, hits - wrong))


def lower_bound(wrong: float, hits: float, confidence: float = CONFIDENCE) -> float:
    """The same from below."""
    return 0.0 if wrong <= 0.0 else float(beta.ppf(1.0 - confidence, wrong, hits - wrong + 1.0))


def figures(pairs: Pairs, score: Numbers, rows: NDArray[Any], seed: int) -> dict[str, Any]:
    """AUC, average precision and coverage at each bound, with 95 % intervals by bootstrap."""
    good, share = pairs.good, pairs.share

    def measure(chosen: NDArray[Any]) -> list[float]:
        rank = _ranks(score[chosen])
        return [
            float(roc_auc_score(good[chosen], rank, sample_weight=share[chosen])),
            float(average_precision_score(good[chosen], rank, sample_weight=share[chosen])),
            *(coverage_at(pairs, score, chosen, bound) for bound in BOUNDS),
        ]

    dice = np.random.default_rng(seed)
    again = np.array([measure(dice.choice(rows, len(rows))) for _ in range(_RESAMPLES)])
    low, high = np.quantile(again, (0.025, 0.975), axis=0)
    names = ("auc", "average_precision", *(f"coverage_at_{bound}" for bound in BOUNDS))
    return {
        name: [round(float(value), 3) for value in three]
        for name, three in zip(names, zip(measure(rows), low, high, strict=True), strict=True)
    }


def _ranks(score: Numbers) -> Numbers:
    """The higher the better; what is never served stands last."""
    return -np.where(np.isfinite(score), score, 1e3)


def curves(pairs: Pairs, score: Numbers, rows: NDArray[Any]) -> dict[str, list[list[float]]]:
    """Points of the ROC curve (false, true) and of precision over recall."""
    rank, good, share = _ranks(score[rows]), pairs.good[rows], pairs.share[rows]
    false, true, _ = roc_curve(good, rank, sample_weight=share)
    precision, recall, _ = precision_recall_curve(good, rank, sample_weight=share)
    grid = np.linspace(0.0, 1.0, _CURVE_POINTS)
    return {
        "roc": _points(grid, np.interp(grid, false, true)),
        "precision_recall": _points(grid, np.interp(grid, recall[::-1], precision[::-1])),
    }


def _points(x: Numbers, y: Numbers) -> list[list[float]]:
    return [[round(float(a), 4), round(float(b), 4)] for a, b in zip(x, y, strict=True)]


def calibration_error(pairs: Pairs, risks: Numbers, rows: NDArray[Any]) -> float:
    """Expected calibration error of risks in [0, 1] over `rows`; vetoes are left out.

    The mean over bins of equal weight of |risk said - share wrong|.
    """
    rows = rows[np.isfinite(risks[rows])]
    order = rows[np.argsort(risks[rows], kind="stable")]
    share = pairs.share[order]
    bin_of = np.minimum((np.cumsum(share) - share / 2) / share.sum() * _BINS, _BINS - 1).astype(int)
    total = np.bincount(bin_of, share, _BINS)
    said = np.bincount(bin_of, share * risks[order], _BINS)
    wrong = np.bincount(bin_of, share * ~pairs.good[order], _BINS)
    return round(float(np.abs(said - wrong).sum() / total.sum()), 4)


def coverage_at(pairs: Pairs, score: Numbers, rows: NDArray[Any], bound: float) -> float:
    """The largest share of questions served while no more than `bound` of the hits are wrong."""
    order = rows[np.argsort(score[rows], kind="stable")]
    order = order[np.isfinite(score[order])]
    served = np.cumsum(pairs.share[order])
    wrong = np.cumsum(pairs.share[order] * ~pairs.good[order])
    return float(np.max(served[wrong <= bound * served], initial=0.0))


def served(pairs: Pairs, chosen: NDArray[np.bool_], name: str) -> dict[str, float]:
    """Of one file: the share of its questions that is served, and of wrong hits with 95 %."""
    rows = pairs.of(name)
    rows = rows[chosen[rows]]
    share, wrong = pairs.share[rows], ~pairs.good[rows]
    total = float(share.sum())
    hits = total**2 / float((share**2).sum()) if total else 0.0
    ratio = float((share * wrong).sum()) / total if total else 0.0
    told = {"coverage": total, "hits": len(rows), "wrong": int(wrong.sum()), "wrong_ratio": ratio}
    told |= dict(zip(("low", "high"), interval(ratio * hits, hits), strict=True))
    return {key: round(value, 4) for key, value in told.items()}


def interval(wrong: float, hits: float) -> tuple[float, float]:
    """Clopper and Pearson's two-sided 95 % interval of a share."""
    if hits <= 0.0:
        return 0.0, 1.0
    return lower_bound(wrong, hits, 0.975), upper_bound(wrong, hits, 0.975)


def by_kind(
    kinds: Sequence[str], good: NDArray[np.bool_], score: Numbers, measure: Callable[..., float]
) -> dict[str, float]:
    """`measure(labels, scores)` of each kind's rows."""
    named = np.array(kinds)
    return {
        kind: round(float(measure(good[named == kind], score[named == kind])), 3)
        for kind in sorted(set(kinds))
    }
