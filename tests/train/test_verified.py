"""What a verifier would change: an oracle lets no wrong hit pass, a mute one lets no hit pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sidecar.encoder.encoding import Encodings
from tests.train.test_pairs import write
from train.cache import FILES
from train.pairs import Pair
from train.vectorhead import VectorHead
from train.verified import NO, compared, verdicts

HELD = [Pair(f"how do i do {n}", f"how do i do {n}", "written", is_same=True) for n in range(3)]


@dataclass
class ByText:
    """Knows the answers; what it does not know gets no verdict."""

    answers: Mapping[tuple[str, str], float] = field(default_factory=dict)

    def verdict(self, kept: str, asked: str) -> float | None:
        return self.answers.get((kept, asked))


class Letters:
    """Unit vectors of how often each letter stands in a text."""

    def encode(self, texts: Sequence[str]) -> Encodings:
        counts = np.array([[t.count(chr(97 + n)) + 0.1 for n in range(26)] for t in texts])
        lengths = np.linalg.norm(counts, axis=1, keepdims=True)
        vectors = np.asarray(counts / lengths, np.float32)
        sizes = tuple(map(len, texts))
        return Encodings(vectors=vectors, tokens=sizes, truncated=(False,) * len(texts))


def row(dice: np.random.Generator, place: int) -> dict[str, Any]:
    """Good where it is very near, else rarely; the words say nothing."""
    cosine = float(dice.uniform(0.7, 1.0))
    return {
        "cached": f"how is it with matter {chr(97 + place % 26)}",
        "query": f"how is it with the matter {chr(97 + place // 26)}",
        "label": int(dice.uniform() < (1.0 if cosine > 0.85 else 0.4)),
        "cosine": cosine,
        "bucket": 0.7,
        "population_share": 1.0,
    }


@pytest.fixture
def rows(tmp_path: Path) -> list[dict[str, Any]]:
    dice = np.random.default_rng(0)
    made = [row(dice, place) for place in range(26 * 10)]
    for name in FILES:
        write(tmp_path, name, made)
    return made


def test_an_oracle_lets_no_wrong_hit_pass(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    """And as an input it lets the risk serve more."""
    known = {(r["cached"], r["query"]): 4.0 if r["label"] else -4.0 for r in rows}
    report = compared(tmp_path, ByText(known), Letters(), HELD, 0)
    for figures in report["files"].values():
        alone, both = figures["risk"], figures["risk and verifier"]
        assert both["coverage_at_0.02"][0] > alone["coverage_at_0.02"][0]
    assert "0.05" in report["veto"]
    for table in report["veto"].values():
        assert all(told.startswith("0 of") for told in table["risk and veto"]["wrong"].values())
    assert all(each["0.05"] is not None for each in report["allowed"]["risk and verifier"])


def test_no_verdict_is_a_no(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    """The firmest there is, so that a verifier that fails serves nothing."""
    assert verdicts(ByText(), [(rows[0]["cached"], rows[0]["query"])]).tolist() == [NO]
    report = compared(tmp_path, ByText(), Letters(), HELD, 0)
    assert "0.05" in report["veto"]
    for table in report["veto"].values():
        assert all(told == "0 of 0" for told in table["risk and veto"]["wrong"].values())
        assert table["risk and veto"]["look-alikes"] == {"written": "0 of 0"}


def test_a_head_on_the_vectors_learns_what_they_say() -> None:
    """The same letters serve, others do not."""
    pairs = [
        Pair(one, other, "banking", is_same=set(one) == set(other))
        for one in ("abc", "cba", "xyz", "zzyx", "acb")
        for other in ("abc", "bca", "xyz", "yxz")
    ]
    head = VectorHead(Letters())
    head.fit(pairs)
    same, other = head.verdict("bac", "cab"), head.verdict("bac", "zyx")
    assert same is not None
    assert other is not None
    assert same > other
