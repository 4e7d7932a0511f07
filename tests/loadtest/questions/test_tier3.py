"""Recorded rows: single tiers, their best mix, and the oracle."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from loadtest.questions.tier3 import TIERS, Point, Row, always, mix_quality, oracle, read_rows


def row(query: str, right: str, costs: tuple[float, float, float] = (0.001, 0.002, 0.01)) -> Row:
    """A row whose tiers are right where `right` says 1: `row("q", "011")`."""
    return Row(
        query=query,
        gold="g",
        right={tier: flag == "1" for tier, flag in zip(TIERS, right, strict=True)},
        cost_usd=dict(zip(TIERS, costs, strict=True)),
    )


_ROWS = [row("a", "111"), row("b", "011"), row("c", "001"), row("d", "000")]


def test_single_tiers_and_the_oracle_are_what_the_rows_say() -> None:
    """The oracle pays the cheapest tier that is right, and the cheapest where none is."""
    assert always(_ROWS, "small") == Point(1.0, 0.25)
    assert always(_ROWS, "large") == Point(10.0, 0.75)
    best = oracle(_ROWS)
    assert best.quality == 0.75
    assert best.cost_usd_per_1k == pytest.approx((1 + 2 + 10 + 1) / 4)


def test_the_mix_lies_on_the_highest_line() -> None:
    """Between two tiers their line, past the dearest its own quality."""
    singles = [Point(1.0, 0.2), Point(2.0, 0.7), Point(10.0, 0.9)]
    assert mix_quality(singles, 1.5) == pytest.approx(0.45)
    assert mix_quality(singles, 6.0) == pytest.approx(0.8)
    assert mix_quality(singles, 20.0) == 0.9
    assert mix_quality(singles, 0.5) == 0.2


def test_rows_are_read_and_drawn_by_seed(tmp_path: Path) -> None:
    """Packed or not; the same seed draws the same rows, and no question twice."""
    told = {"correct": 1, "cost_usd": 0.001}
    lines = [
        json.dumps({"query": f"q{n % 8}", "gold": 1, "answers": dict.fromkeys(TIERS, told)})
        for n in range(10)
    ]
    path = tmp_path / "rows.jsonl.gz"
    with gzip.open(path, "wt") as file:
        file.write("\n".join(lines))
    assert read_rows(path, 5, 0) == read_rows(path, 5, 0)
    assert len(read_rows(path, 100, 0)) == 8
