"""The figures of the parity report are what their names say."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from train.encoder import compare, draw, read_texts, wilson

CORNER = np.array([[1, 0], [0.8, 0.6], [0, 1], [-0.6, 0.8]], np.float32)


def test_an_encoder_agrees_with_itself() -> None:
    """Every cosine 1, every nearest the same, and near are those at .8 or more."""
    parity = compare(CORNER, CORNER, ms_per_text=0.0)
    assert parity.cosine_min == pytest.approx(1.0)
    assert parity.same_nearest_ratio == 1.0
    assert (parity.near_texts, parity.near_same_nearest) == (4, 4)


def test_a_moved_vector_shows() -> None:
    """In the least cosine, and in whose nearest it was."""
    moved = CORNER.copy()
    moved[1] = (-1.0, 0.0)
    parity = compare(moved, CORNER, ms_per_text=0.0)
    assert parity.cosine_min == pytest.approx(-0.8)
    assert parity.same_nearest_ratio < 1.0


def test_wilson_is_the_score_interval() -> None:
    """Source: Newcombe 1998, table I: 81 of 263 gives .2553 to .3662."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_texts_are_read_once_each_and_drawn_by_seed(tmp_path: Path) -> None:
    """Lines or rows, packed or not."""
    (tmp_path / "a.txt").write_text("one\ntwo\n\none\n", "utf-8")
    with gzip.open(tmp_path / "a.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write('{"q": "one"}\n{"q": "two"}\n')
    assert read_texts(tmp_path / "a.txt", "q") == ["one", "two"]
    assert read_texts(tmp_path / "a.jsonl.gz", "q") == ["one", "two"]
    many = [str(number) for number in range(50)]
    assert draw(many, 5, seed=1) == draw(many, 5, seed=1) != draw(many, 5, seed=2)
    assert draw(["one"], 5, seed=0) == ["one"]
