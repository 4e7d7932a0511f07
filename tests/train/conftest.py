"""Small synthetic rows with a pattern to learn, and an encoder that needs no weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

TIERS = {"small": (0.2, 0.2), "medium": (0.9, 0.9), "large": (2.5, 10.0)}
DIM = 16


@dataclass(frozen=True)
class Encoded:
    vectors: NDArray[np.float32]


class FakeEncoder:
    """Unit vectors drawn from the text's hash; hard questions lean one way."""

    encoder_id = "fake-encoder"

    def __init__(self) -> None:
        self.encoded = 0

    def encode(self, texts: Sequence[str]) -> Encoded:
        self.encoded += len(texts)
        return Encoded(np.array([self._vector(text) for text in texts], np.float32))

    def _vector(self, text: str) -> NDArray[np.float64]:
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
        vector = np.random.default_rng(seed).normal(size=DIM)
        vector[0] += 4.0 if "hard" in text else -4.0
        return np.asarray(vector / np.linalg.norm(vector))


def _answer(tier: str, *, is_right: bool, tokens_in: int, tokens_out: int) -> dict[str, Any]:
    price_in, price_out = TIERS[tier]
    letter = "A" if is_right else "B"
    return {
        "model": tier,
        "text": f"Some words. The answer is ({letter}).",
        "pred": letter,
        "correct": int(is_right),
        "tok_in": tokens_in,
        "tok_out": tokens_out,
        "cost_usd": (price_in * tokens_in + price_out * tokens_out) / 1e6,
    }


def _row(place: int, dice: np.random.Generator) -> dict[str, Any]:
    is_hard = place % 2 == 0
    chances = {"small": 0.1, "medium": 0.4, "large": 0.9} if is_hard else dict.fromkeys(TIERS, 0.95)
    words = "a hard one" if is_hard else "an easy one"
    return {
        "id": str(place),
        "domain": "hard" if is_hard else "easy",
        "query": f"Question {place}, {words}: which is it?\nA. yes\nB. no",
        "answers": {
            tier: _answer(
                tier,
                is_right=bool(dice.random() < chance),
                tokens_in=int(dice.integers(20, 60)),
                tokens_out=int(dice.integers(40, 160)),
            )
            for tier, chance in chances.items()
        },
    }


@pytest.fixture(scope="session")
def tier3_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400 rows: on hard questions the large tier alone is good, on easy ones all are."""
    dice = np.random.default_rng(7)
    path = tmp_path_factory.mktemp("data") / "tier3.jsonl"
    path.write_text("".join(json.dumps(_row(place, dice)) + "\n" for place in range(400)))
    return path


@pytest.fixture(scope="session")
def session_encoder() -> FakeEncoder:
    return FakeEncoder()


@pytest.fixture
def encoder() -> FakeEncoder:
    return FakeEncoder()
