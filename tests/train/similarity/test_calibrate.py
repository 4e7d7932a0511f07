"""Calibration: the bound, the table, and what the second stage may add."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cache.risk import INPUTS, VERDICT
from cache.verifier import LARGEST
from tests.train.judged_rows import made
from train.similarity.calibrate import cross_fit, fit, left_out, operating_points, with_verdicts
from train.similarity.coverage import (
    calibration_error,
    coverage_at,
    curves,
    interval,
    served,
    upper_bound,
)
from train.similarity.restated import restated_bound
from train.similarity.stages import allowed, corpora_left_out, fitted, stages


class Oracle:
    """Knows the answers."""

    digest = "oracle"

    def verdict(self, kept: str, asked: str) -> float | None:
        del kept, asked
        return LARGEST


def test_upper_bound_is_clopper_and_pearson() -> None:
    """Of none wrong in n it is 1 - (1 - confidence)^(1/n)."""
    assert upper_bound(0, 100, 0.95) == pytest.approx(1 - 0.05 ** (1 / 100))
    assert upper_bound(5, 5) == 1.0
    assert interval(0, 0) == (0.0, 1.0)
    low, high = interval(5, 100)
    assert low < 0.05 < high


def test_the_table_never_serves_a_veto() -> None:
    """Coverage rises along it, and stays under the share of pairs without a veto."""
    pairs = made(4_000)
    risks = np.where(pairs.vetoed, np.inf, 1.0 - pairs.x[:, 0])
    points = operating_points(pairs, risks)
    coverage = [point.coverage for point in points]
    assert coverage == sorted(coverage)
    assert coverage[-1] < 2 * 0.92 / 2
    assert all(point.upper >= point.wrong_ratio for point in points)


def test_a_calculation_said_twice_is_hardly_ever_wrong() -> None:
    """Among some ten thousand generated pairs."""
    assert restated_bound() < 0.01


def test_a_verdict_that_knows_lets_more_be_served_at_the_same_bound() -> None:
    """And the model that is told it says so by its names, its doubt and its verifier."""
    pairs = made(3_000)
    told = np.where(pairs.good, LARGEST, -LARGEST)
    models = fitted(pairs, Oracle(), told, 0)
    assert models.cheap.names == INPUTS
    assert models.verified is not None
    assert models.verified.names == (*INPUTS, VERDICT)
    assert models.verified.doubt is not None
    assert models.verified.verifier == "oracle"
    table = stages(pairs, told, None, 0)["equivalence_qqp"]
    assert table["all"]["coverage_at_0.05"][0] > table["risk"]["coverage_at_0.05"][0]
    assert table["all"]["auc"][0] > table["risk"]["auc"][0] > 0.6
    bounds = allowed(pairs, told, 0)
    assert len(bounds["all"]) == len(bounds["risk"]) > 1


def test_what_the_cheap_stage_refuses_the_second_never_serves() -> None:
    """Whatever the verdict."""
    pairs = made(500)
    both = with_verdicts(pairs, np.full(500, LARGEST), pairs.x[:, 0] > 0.5)
    assert np.isinf(cross_fit(both, 0).risks(both)[pairs.x[:, 0] <= 0.5]).all()


def test_a_corpus_left_out_is_judged_by_models_that_never_saw_it() -> None:
    """Another label there changes nothing of what is served."""
    pairs = made(3_000)
    before = corpora_left_out(pairs, None, 0)["quora"]["risk"]["0.05"]
    turned = replace(pairs, good=np.where(pairs.file == 0, ~pairs.good, pairs.good))
    after = corpora_left_out(turned, None, 0)["quora"]["risk"]["0.05"]
    assert (before is None) == (after is None)
    if before is not None and after is not None:
        assert before["equivalence_qqp"]["coverage"] == after["equivalence_qqp"]["coverage"]
    held = pairs.file == 0
    assert (left_out(pairs, held) == left_out(turned, held)).all()


def test_a_risk_that_says_the_truth_has_no_calibration_error() -> None:
    """And one that is sure of the wrong thing has all of it."""
    pairs = replace(made(4_000), vetoed=np.zeros(4_000, bool))
    rows = np.arange(4_000)
    assert calibration_error(pairs, 1.0 - pairs.x[:, 0], rows) < 0.05
    assert calibration_error(pairs, np.where(pairs.good, 1.0, 0.0), rows) > 0.9


def test_coverage_is_the_most_that_the_bound_allows() -> None:
    """An oracle serves all that is good; a curve ends where everything is taken."""
    pairs = made(1_000)
    rows = pairs.of("equivalence_qqp")
    oracle = np.where(pairs.good, 0.0, 1.0)
    assert coverage_at(pairs, oracle, rows, 0.0) == pytest.approx(pairs.good[rows].mean())
    drawn = curves(pairs, oracle, rows)
    assert drawn["roc"][-1] == [1.0, 1.0]
    assert served(pairs, pairs.good, "equivalence_qqp")["wrong"] == 0


def test_the_model_that_is_served_is_the_one_that_was_measured() -> None:
    """Its risk of a row is the scaled logit of its inputs."""
    pairs = made(800)
    model = fit(pairs, cross_fit(pairs, 0), 0.01)
    logits = pairs.x @ np.array(model.weights) + model.intercept
    assert len(model.weights) == len(model.names)
    assert np.isfinite(logits).all()
