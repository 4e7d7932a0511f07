"""Texts in, their vectors out: those that came along or were kept, else encoded and kept."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from sidecar.encoder.bundle import EncoderConfig, Precision
from sidecar.encoder.onnx import OnnxEncoder
from train.samples.examples import Example

Vectors = NDArray[np.float32]

BATCH: Final = 32
"""Chosen: texts of one run."""

SHARD: Final = 1024
"""Chosen: texts encoded between two saves; what an interruption costs at most."""


class Vectorised(Protocol):
    """What encoding gives."""

    @property
    def vectors(self) -> Vectors:
        """(n, dim) float32, each of length 1."""
        ...


class TextEncoder(Protocol):
    """The half of the encoder that training needs."""

    @property
    def encoder_id(self) -> str:
        """Whose vectors these are."""
        ...

    def encode(self, texts: Sequence[str]) -> Vectorised:
        """One vector a text, in order."""
        ...


def load_encoder(precision: Precision | Literal["auto"] = "auto") -> TextEncoder:
    """The encoder that serving uses, or one of its other precisions."""
    return OnnxEncoder.load(EncoderConfig(precision=precision))


def vectors_of(examples: Sequence[Example], encoder: TextEncoder, work: Path) -> Vectors:
    """(n, dim) float32: each example's own vector, or its text encoded.

    What was encoded is kept in `work` shard by shard, so that an interrupted run goes on where it
    stopped; the name tells encoder and text, so that a kept vector never stands for another.
    """
    missing = [example.query for example in examples if example.vector is None]
    made = iter(encode_texts(missing, encoder, work))
    found = [next(made) if e.vector is None else e.vector for e in examples]
    return np.array(found, np.float32)


def encode_texts(texts: Sequence[str], encoder: TextEncoder, work: Path) -> Vectors:
    """(n, dim) float32, from kept shards where there are any."""
    work.mkdir(parents=True, exist_ok=True)
    shards = [texts[start : start + SHARD] for start in range(0, len(texts), SHARD)]
    bar = tqdm(shards, desc="encode", unit="k", disable=len(shards) < 2, delay=1)  # noqa: PLR2004 - one is quick
    parts = [_shard(shard, encoder, work) for shard in bar]
    return np.concatenate(parts) if parts else np.empty((0, 0), np.float32)


def _shard(texts: Sequence[str], encoder: TextEncoder, work: Path) -> Vectors:
    name = hashlib.sha256("\0".join([encoder.encoder_id, *texts]).encode()).hexdigest()[:24]
    path = work / f"vectors-{name}.npy"
    if path.exists():
        kept: Vectors = np.load(path, allow_pickle=False)
        return kept
    # Texts of like length share a batch, so that little of it is padding.
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    rows: list[Vectors] = [np.empty(0, np.float32)] * len(texts)
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        found = encoder.encode([texts[i] for i in batch]).vectors
        for i, vector in zip(batch, found, strict=True):
            rows[i] = vector
    made = np.stack(rows).astype(np.float32)
    torn = path.with_suffix(".part.npy")
    np.save(torn, made, allow_pickle=False)
    torn.replace(path)
    return made
