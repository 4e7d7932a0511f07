"""Calibration: bounds, coverage, and the figures on the measuring data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cache.risk import INPUTS
from train.cache import (
    FILES,
    Pairs,
    cross_fitted,
    evaluate,
    fit,
    load_pairs,
    operating_points,
    restated_bound,
    upper_bound,
)
from train.errors import DataError

DATA = Path("../shared/data/cache")


def made(count: int, seed: int = 0) -> Pairs:
    """Pairs whose badness is told by their similarity alone."""
    dice = np.random.default_rng(seed)
    x = dice.uniform(size=(count, len(INPUTS)))
    return Pairs(
        x=x,
        good=dice.uniform(size=count) < x[:, 0],
        vetoed=dice.uniform(size=count) < 0.1,
        file=np.arange(count) % 2,
        share=np.full(count, 2.0 / count),
    )


def test_upper_bound_is_clopper_and_pearson() -> None:
    """Of none wrong in n it is 1 - (1 - confidence)^(1/n)."""
    assert upper_bound(0, 100, 0.95) == pytest.approx(1 - 0.05 ** (1 / 100))
    assert upper_bound(5, 5) == 1.0


def test_the_table_never_serves_a_veto() -> None:
    """Coverage rises along it, and stays under the share of pairs without a veto."""
    pairs = made(4_000)
    risks = np.where(pairs.vetoed, np.inf, 1.0 - pairs.x[:, 0])
    points = operating_points(pairs, risks)
    coverage = [point.coverage for point in points]
    assert coverage == sorted(coverage)
    assert coverage[-1] < 0.92
    assert all(point.upper >= point.wrong_ratio for point in points)


def test_the_weights_of_a_file_sum_to_the_same() -> None:
    """Whatever its rows."""
    weights = made(1_000).weight
    assert weights[::2].sum() == pytest.approx(weights[1::2].sum())
    assert weights.mean() == pytest.approx(1.0)


def test_a_calculation_said_twice_is_hardly_ever_wrong() -> None:
    """Among some ten thousand generated pairs."""
    assert restated_bound() < 0.01


def test_missing_data_is_said(tmp_path: Path) -> None:
    """With the file's name."""
    with pytest.raises(DataError, match="none"):
        load_pairs([tmp_path / "none.jsonl.gz"])


@pytest.mark.data
@pytest.mark.skipif(not DATA.exists(), reason="the measuring data is not beside the checkout")
def test_the_risk_serves_more_than_the_cosine_at_five_percent() -> None:
    """On Quora's questions, cross-fitted; and its own bound is not refuted on any file."""
    pairs = load_pairs([DATA / f"{name}.jsonl.gz" for name in FILES])
    logits = cross_fitted(pairs, 0)
    report = evaluate(pairs, logits, fit(pairs, logits, restated_bound()), 0)
    for name in FILES[:2]:
        figures = report["files"][name]
        assert figures["risk"]["coverage_at_0.05"][0] > figures["cosine"]["coverage_at_0.05"][0]
    for figures in report["limits"]["0.02"]["files"].values():
        assert figures["low"] <= 0.02
