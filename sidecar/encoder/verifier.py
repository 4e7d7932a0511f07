"""Two questions in, a second opinion out: a logit that one answer serves both.

A small cross-encoder in int8, run on the encoder's thread, one pair at a time. What it cannot judge
(a pair longer than its window, a session that fails) gets no verdict, which the cache takes for no.
Its folder holds the weights and the risk model that was fitted on its verdicts.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import onnxruntime as ort

from sidecar.encoder.onnx import ORT_FAULTS
from sidecar.encoder.pairs import MAX_TOKENS, feed, joined
from sidecar.encoder.tokenizer import Tokenizer
from sidecar.errors import EncoderError

FAULTS: Final[tuple[type[Exception], ...]] = (EncoderError, *ORT_FAULTS)

DIGEST_CHARS: Final = 16

FOLDER: Final = Path(__file__).with_name("verifier")
"""Of the verifier that comes along."""

WEIGHTS: Final = "verifier.int8.onnx"
RISK: Final = "risk.json"
MADE_FOR: Final = "tokenizer"
"""In the weights' metadata: the digest of the tokenizer whose ids they know."""


class OnnxVerifier:
    """A session and the encoder's own tokenizer. Not thread-safe: the encoder's thread owns it.

    Attributes:
        digest: Of its weights: a risk model is fitted on one verifier's verdicts.
    """

    def __init__(self, weights: Path, tokenizer: Path) -> None:
        """Read both.

        Raises:
            EncoderError: One of them cannot be used, or they do not belong together.
        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors alone
        options.enable_cpu_mem_arena = False
        try:
            self._session = ort.InferenceSession(
                str(weights), options, providers=["CPUExecutionProvider"]
            )
        except ORT_FAULTS as exc:
            raise EncoderError(f"{weights} is no verifier: {exc}") from exc
        self._tokenizer = Tokenizer(tokenizer, MAX_TOKENS)
        metadata = self._session.get_modelmeta().custom_metadata_map
        if metadata.get(MADE_FOR) != digest(tokenizer):
            raise EncoderError(f"{weights} was made for another tokenizer than {tokenizer}")
        self.digest = digest(weights)

    def verdict(self, kept: str, asked: str) -> float | None:
        """The logit that the answer to `kept` serves `asked`; None: no verdict."""
        try:
            one, other = (self._tokenizer.tokenize(text) for text in (kept, asked))
            if len(one.ids) + len(other.ids) - 1 > MAX_TOKENS:
                return None
            (logits,) = self._session.run(None, feed([joined(one.ids, other.ids)]))
        except FAULTS:
            return None
        return float(logits[0])


def digest(file: Path) -> str:
    """By which weights and tokenizers are told apart."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:DIGEST_CHARS]
