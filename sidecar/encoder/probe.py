"""An encoder in, how near its vectors lie to the reference; a refusal if they are not near enough.

An encoder's identity names weights, not file bytes (`bundle.Identity`). This is what makes it
honest: whoever makes a bundle, by whatever road and with whatever version of the exporter, gets
the name only if a few texts come out as sentence-transformers has them. The texts differ in
length, script and case, and one is longer than the window, so that a wrong pooling, mask,
tokenizer or window shows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from sidecar.encoder.bundle import Precision
from sidecar.encoder.encoding import Vectors
from sidecar.encoder.onnx import OnnxEncoder
from sidecar.errors import EncoderError

FOLDER: Final = Path(__file__).parent / "probe"
"""`texts.json`, and `vectors.npy` as `python -m train encoder --write-probe` made it."""

FLOORS: Final[Mapping[Precision, float]] = {"fp32": 0.9999, "fp16": 0.9999, "int8": 0.96}
"""Least cosine to the reference that is taken for the same encoder.

Measured: `python -m train encoder`, AMD EPYC. The probe's least cosine is 1.0000 for fp32 and fp16
and .9801 for int8, whose least over 5,500 real texts is .9712. What the floors must catch lies far
below: pooled by the first token .55 at best; special tokens left out of the mean .56, padding taken
into it .04, a window of 128 tokens .76, each at the probe's least. Chosen: .96 leaves room for the
int8 kernels of other processors.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """Texts, and the fp32 vectors that sentence-transformers gives them: (n, dim) float32."""

    texts: tuple[str, ...]
    vectors: Vectors

    @classmethod
    def read(cls, folder: Path = FOLDER) -> Probe:
        """The probe that is part of the project; raises EncoderError."""
        try:
            texts = json.loads((folder / "texts.json").read_text("utf-8"))
            vectors = np.load(folder / "vectors.npy", allow_pickle=False)
        except (OSError, ValueError) as exc:
            raise EncoderError(f"the parity probe cannot be read: {exc}") from exc
        return cls(tuple(texts), np.asarray(vectors, np.float32))

    def parity(self, encoder: OnnxEncoder) -> float:
        """The least cosine between the encoder's vectors and the reference, in [-1, 1]."""
        vectors = encoder.encode(self.texts).vectors  # (n, dim)
        if vectors.shape != self.vectors.shape:
            return -1.0
        return float(np.min(np.sum(vectors * self.vectors, axis=1)))

    def check(self, encoder: OnnxEncoder) -> float:
        """The parity, if it is high enough for the encoder's precision.

        Raises:
            EncoderError: It is not; this encoder's vectors must not bear the model's name.
        """
        parity = self.parity(encoder)
        floor = FLOORS[encoder.precision]
        # Not `parity < floor`: a vector that is not a number must fail too.
        if not parity >= floor:
            raise EncoderError(
                f"parity of {encoder.precision} is {parity:.4f}, must be at least {floor}: "
                "these files do not give the vectors of the model that they are named for"
            )
        return parity
