"""Other precisions of the encoder are admitted where decisions stay, and only there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from router.artifact import DEFAULT, Artifact
from train.fitting.precisions import admitted
from train.samples.examples import Answered, Example
from train.samples.vectors import Vectors


@dataclass(frozen=True)
class FakeVectorised:
    vectors: Vectors


@dataclass(frozen=True)
class FakePrecision:
    """Vectors of a text's own, moved by noise."""

    noise: float
    encoder_id: str

    def encode(self, texts: Sequence[str]) -> FakeVectorised:
        rows = []
        for text in texts:
            dice = np.random.default_rng(sum(text.encode()))
            plain = dice.standard_normal(384)
            plain = plain / np.linalg.norm(plain) + self.noise * dice.standard_normal(384)
            rows.append(plain / np.linalg.norm(plain))
        return FakeVectorised(np.array(rows, np.float32))


def test_near_vectors_are_admitted_and_far_ones_are_not(tmp_path: Path) -> None:
    """The manifest names whom the artifact may serve, and how far each was apart."""
    artifact = Artifact.load(DEFAULT)
    answers = {
        tier: Answered(text="x", tokens_in=20, tokens_out=9, cost_usd=usd, correct=1.0)
        for tier, usd in (("small", 0.001), ("medium", 0.002), ("large", 0.01))
    }
    examples = [Example(query=f"question {n}?", answers=answers) for n in range(60)]
    own = FakePrecision(0.0, "own").encode([example.query for example in examples]).vectors
    others = {"fp16": FakePrecision(1e-5, "near"), "fp32": FakePrecision(1.0, "far")}
    found = admitted(artifact, examples, own, others, tmp_path).manifest
    assert "near" in found["encoder_ids"]
    assert "far" not in found["encoder_ids"]
    assert found["precisions"]["fp32"]["chances_apart"] > 0.02
