"""RiskModel: its file, its risk and its limit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cache.errors import RiskModelError
from cache.facets import facets
from cache.guard import compare
from cache.risk import DEFAULT_PATH, OperatingPoint, RiskModel
from sidecar.encoder.verifier import FOLDER, RISK

MODEL = RiskModel.load()


def point(risk: float, upper: float, hits: float, worst: float = 0.0) -> OperatingPoint:
    return OperatingPoint(
        risk=risk, coverage=0.1, wrong_ratio=0.0, upper=upper, hits=hits, worst=worst
    )


def test_the_shipped_model_serves_at_a_bound_that_it_shows() -> None:
    """And says no where its table shows none."""
    limit = MODEL.limit(0.05)
    assert limit is not None
    assert 0.0 < limit < 0.2
    assert MODEL.limit(0.001) is None


def test_a_looser_bound_never_serves_less() -> None:
    """Among the bounds that an operator sets."""
    limits = [MODEL.limit(bound) or 0.0 for bound in (0.01, 0.02, 0.05, 0.1)]
    assert limits == sorted(limits)


def test_the_walk_ends_at_the_first_point_that_fails() -> None:
    """A later one that holds by luck does not count; points of too few hits are stepped over."""
    table = (point(0.01, 0.9, 10), point(0.02, 0.03, 200), point(0.03, 0.06, 300))
    model = replace(MODEL, points=(*table, point(0.04, 0.01, 400)))
    assert model.limit(0.05) == 0.02


def test_a_corpus_that_refutes_the_bound_ends_the_walk() -> None:
    """Though the mix holds it."""
    table = (point(0.01, 0.03, 200), point(0.02, 0.04, 300, worst=0.06), point(0.03, 0.04, 400))
    assert replace(MODEL, points=table).limit(0.05) == 0.01


def test_risk_falls_with_similarity() -> None:
    """For one pair of wordings."""
    comparison = compare(facets("How do I bake bread?"), facets("How can I bake a bread?"))
    risks = [MODEL.risk(similarity, comparison) for similarity in (0.8, 0.9, 0.97, 1.0)]
    assert risks == sorted(risks, reverse=True)


@pytest.mark.parametrize("path", [None, FOLDER / RISK], ids=["cheap", "verified"])
def test_what_lies_further_than_anything_it_has_seen_is_never_served(path: Path | None) -> None:
    """Whatever its curve says there: nobody has shown what it is worth."""
    model = RiskModel.load(path)
    comparison = compare(facets("How do I bake bread?"), facets("Who wrote Hamlet?"))
    verdict = 6.0 if model.needs_verdict else None
    for similarity in (-1.0, 0.0, 0.3, 0.6, model.lowest - 0.01):
        assert model.risk(similarity, comparison, verdict) == 1.0


@pytest.mark.parametrize(
    "spoil",
    [
        lambda raw: raw[: len(raw) // 2],
        lambda _: b"",
        lambda _: b"[]",
        lambda raw: raw.replace(b"sidecar-cache-risk/2", b"sidecar-cache-risk/0"),
        lambda raw: raw.replace(b'"overlap"', b'"overlop"'),
        lambda raw: raw.replace(b'"scale": ', b'"scale": -'),
        lambda raw: raw + b" " * 2**20,
    ],
)
def test_a_spoilt_file_is_refused(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    """By one error of ours, whatever is wrong with it."""
    path = tmp_path / "risk.json"
    path.write_bytes(spoil(DEFAULT_PATH.read_bytes()))
    with pytest.raises(RiskModelError):
        RiskModel.load(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """By the same error."""
    with pytest.raises(RiskModelError):
        RiskModel.load(tmp_path / "none.json")
