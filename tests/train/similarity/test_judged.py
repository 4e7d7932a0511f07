"""Judged pairs: their texts are found again, and their weights say what they stand for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.train.judged_rows import folders, made
from train.errors import DataError
from train.samples.rows import read_rows
from train.similarity.judged import JUDGED, OWN, arrays, calibration_rows, digest, equivalence

QUORA = {
    "file": "judged_quora",
    "use": "calibrate",
    "cached": "kept q",
    "query": "asked q",
    "label": 1,
    "cosine": 0.9,
    "bucket": "0.90-0.95",
    "population_share": 0.2,
}
BANKING = {**QUORA, "file": "judged_banking", "cached": "kept b", "query": "asked b", "label": 0}


def test_a_digest_finds_its_text_again(tmp_path: Path) -> None:
    """In the corpus that it is from; what is there to learn from does not calibrate."""
    data, own = folders(tmp_path, [QUORA, {**BANKING, "use": "learn"}])
    rows = [row for row in calibration_rows(data, own) if row.file.startswith("judged")]
    assert [(row.cached, row.query, row.good, row.share) for row in rows] == [
        ("kept q", "asked q", True, 0.2)
    ]


def test_a_question_that_is_nowhere_is_said(tmp_path: Path) -> None:
    """The corpora are others than those that were judged."""
    data, own = folders(tmp_path, [{**QUORA, "query": "never asked"}])
    with pytest.raises(DataError, match=JUDGED):
        calibration_rows(data, own)


def test_the_shipped_labels_hold_no_text() -> None:
    """Digests alone: the questions' terms forbid to pass them on."""
    rows = read_rows(OWN / JUDGED)
    assert len(rows) > 1000
    for row in rows:
        assert len(row["cached"]) == len(row["query"]) == len(digest(""))
        assert row["label"] in {0, 1}
        assert row["use"] in {"calibrate", "learn"}


def test_the_corpora_weigh_the_same() -> None:
    """Whatever their files and rows."""
    pairs = made(1_000)
    assert pairs.weight[::2].sum() == pytest.approx(pairs.weight[1::2].sum())
    assert pairs.weight.mean() == pytest.approx(1.0)
    some = pairs.take(pairs.file == 0)
    assert len(some.rows) == len(some.good) == 500


def test_missing_data_is_said(tmp_path: Path) -> None:
    """With the file's name."""
    with pytest.raises(DataError, match="none"):
        equivalence(tmp_path / "none.jsonl.gz")


def test_rows_become_arrays(tmp_path: Path) -> None:
    """In their order, by file."""
    data, own = folders(tmp_path, [QUORA, BANKING])
    pairs = arrays(calibration_rows(data, own))
    assert len(pairs.x) == len(pairs.rows)
    assert list(pairs.good[pairs.of("judged_banking")]) == [False]
