"""Scenes: what is asked, in which order, and what it means."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from loadtest.hits.rules import Done
from loadtest.hits.trust import rates
from loadtest.questions.scenes import read_clusters, read_traps, scenes

GROUP = {
    "base": "May I bring a dog?",
    "same": ["Are dogs welcome? ", "Is a dog fine?"],
    "near": [{"text": "May I bring a cat?", "trap": "entity"}],
}
PAIRS = [
    {"text_a": "May I pay by card?", "text_b": "Are cards taken?", "label": 1},
    {"text_a": "May I pay by card?", "text_b": "May I pay by cheque?", "label": 0},
]


@pytest.fixture
def groups(tmp_path: Path) -> Path:
    return written(tmp_path / "groups.jsonl", [GROUP])


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    return written(tmp_path / "pairs.jsonl", PAIRS)


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_group_is_one_meaning_and_each_look_alike_another(groups: Path) -> None:
    """Base and same are served by one answer."""
    clusters = read_clusters(groups)
    assert clusters.of["May I bring a dog?"] == clusters.of["Are dogs welcome?"]
    assert clusters.of["May I bring a cat?"] != clusters.of["May I bring a dog?"]


def test_traps_are_look_alikes_right_after_what_they_resemble(groups: Path, pairs: Path) -> None:
    """From groups and from pairs."""
    assert read_traps(groups)[0] == [("May I bring a dog?", ["May I bring a cat?"])]
    assert read_traps(pairs)[0] == [("May I pay by card?", ["May I pay by cheque?"])]


def asked(**fields: Any) -> argparse.Namespace:
    usual: dict[str, Any] = {
        "data": [],
        "traps": None,
        "seed": 0,
        "streams": 2,
        "clusters": 5,
        "requests": 40,
        "distractors": 0.5,
        "exponent": 1.0,
    }
    return argparse.Namespace(**{**usual, **fields})


def test_a_stream_mixes_a_meaning_with_its_look_alikes(groups: Path) -> None:
    """As many requests as asked for, the same ones for the same seed."""
    [(name, [first, second])] = scenes(asked(data=[groups]))
    assert name == "groups.jsonl"
    assert len(first.order) == 40
    assert first.order != second.order
    assert set(first.order) == set(first.meanings)
    assert "May I bring a cat?" in first.order
    [(_, [again, _])] = scenes(asked(data=[groups]))
    assert again.order == first.order


def test_generated_traps_differ_in_meaning_and_hardly_in_words() -> None:
    """Each after the question that it resembles; names differ in their last number."""
    [(name, [scene, _])] = scenes(asked(traps=[]))
    assert name.startswith("generated")
    assert len(scene.order) == 1_600
    four = [scene.meanings[text] for text in scene.order[:4]]
    assert len(set(four)) > 1
    assert all(meaning[1:].isdigit() for meaning in four)


def test_wrong_hits_are_counted_over_hits_and_over_requests() -> None:
    """A miss is never wrong."""
    done = [Done("exact"), Done("semantic", is_right=False), Done("semantic"), Done("miss")]
    shares = {name: rate.value for name, rate in rates(done).items()}
    assert shares["hits"] == 0.75
    assert shares["wrong of hits"] == pytest.approx(1 / 3)
    assert shares["wrong of those by meaning"] == 0.5
    assert shares["wrong of requests"] == 0.25
