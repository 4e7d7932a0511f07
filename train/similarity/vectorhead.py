"""Two vectors of the encoder in, a verdict out: the cheapest verifier, to compare with.

A logistic model on |a - b|, a * b and the cosine. It costs microseconds and no second network, and
it sees only what the encoder kept of each question by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from sklearn.linear_model import LogisticRegression

from sidecar.encoder.encoding import Encodings, Vectors
from train.errors import DataError
from train.similarity.pairs import Pair, mass

_STRENGTH: Final = 0.003
"""Chosen: inverse of the ridge; 769 inputs that lie near one another."""

_AT_ONCE: Final = 500


class Encoder(Protocol):
    """Texts to vectors."""

    def encode(self, texts: Sequence[str]) -> Encodings:
        """Raises EncoderError."""
        ...


class Judge(Protocol):
    """What the verifier and the head have in common."""

    def verdict(self, kept: str, asked: str) -> float | None:
        """The logit, or None for no verdict."""
        ...


class VectorHead:
    """The model, and the vectors of the texts that it was asked of."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._known: dict[str, Vectors] = {}
        self._weights: Vectors = np.zeros(0, np.float32)

    @classmethod
    def load(cls, path: Path, encoder: Encoder) -> VectorHead:
        """The head at `path`; raises DataError."""
        head = cls(encoder)
        try:
            head._weights = np.load(path, allow_pickle=False).astype(np.float32)
        except (OSError, ValueError) as fault:
            raise DataError(f"{path} holds no head: {fault}") from fault
        return head

    def save(self, path: Path) -> None:
        """The weights, the intercept last."""
        with path.open("wb") as file:
            np.save(file, self._weights, allow_pickle=False)

    def fit(self, rows: Sequence[Pair]) -> None:
        """Learn from `rows`, weighed as the network's batches are drawn."""
        self._know(text for pair in rows for text in (pair.one, pair.other))
        x = np.stack([self._inputs(pair.one, pair.other) for pair in rows])
        labels = [pair.is_same for pair in rows]
        head = LogisticRegression(C=_STRENGTH, max_iter=300)
        head.fit(x, labels, sample_weight=mass(rows) * len(rows))
        self._weights = np.append(head.coef_[0], head.intercept_).astype(np.float32)

    def verdict(self, kept: str, asked: str) -> float | None:
        """The logit that one answer serves both."""
        self._know((kept, asked))
        return float(self._weights[:-1] @ self._inputs(kept, asked) + self._weights[-1])

    def _know(self, texts: Iterable[str]) -> None:
        new = sorted({text for text in texts if text not in self._known})
        for at in range(0, len(new), _AT_ONCE):
            some = new[at : at + _AT_ONCE]
            self._known |= dict(zip(some, self._encoder.encode(some).vectors, strict=True))

    def _inputs(self, one: str, other: str) -> Vectors:
        """(2 * dim + 1,) float32, each of about the same size."""
        a, b = self._known[one], self._known[other]
        product = a * b
        return np.concatenate([10 * np.abs(a - b), 100 * product, [5 * product.sum()]])
