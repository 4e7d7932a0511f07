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

from sidecar.encoder.onnx import ORT_FAULTS, SLOW_FUSIONS
from sidecar.encoder.pairs import MAX_TOKENS, feed, joined
from sidecar.encoder.tokenizer import Tokenizer
from sidecar.errors import EncoderError

FAULTS: Final[tuple[type[Exception], ...]] = (EncoderError, *ORT_FAULTS)

DIGEST_CHARS: Final = 16
"""Chosen: 64 bits tell all verifiers apart that anybody will make."""

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

    def __init__(self, weights: Path, tokenizer: Path, *, is_late: bool = False) -> None:
        """Read both, or, if `is_late`, as soon as a verdict is asked for or `open` is called.

        Raises:
            EncoderError: One of them cannot be used, or they do not belong together.
        """
        self._paths = weights, tokenizer
        self._parts: tuple[ort.InferenceSession, Tokenizer] | None = None
        self._fault: EncoderError | None = None
        try:
            self.digest = digest(weights)
        except OSError as exc:
            raise EncoderError(f"{weights} cannot be read: {exc.strerror}") from exc
        if not is_late:
            self.open()

    def open(self) -> None:
        """Read both now, if that was not done; what failed once is not tried again.

        Raises:
            EncoderError: As above.
        """
        if self._fault is not None:
            raise self._fault
        if self._parts is None:
            try:
                self._parts = _opened(*self._paths)
            except EncoderError as fault:
                self._fault = fault
                raise

    def verdict(self, kept: str, asked: str) -> float | None:
        """The logit that the answer to `kept` serves `asked`; None: no verdict."""
        try:
            self.open()
            assert self._parts is not None  # noqa: S101 - opened
            session, tokenizer = self._parts
            one, other = (tokenizer.tokenize(text) for text in (kept, asked))
            if len(one.ids) + len(other.ids) - 1 > MAX_TOKENS:
                return None
            (logits,) = session.run(None, feed([joined(one.ids, other.ids)]))
        except FAULTS:
            return None
        return float(logits[0])


def _opened(weights: Path, tokenizer: Path) -> tuple[ort.InferenceSession, Tokenizer]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors alone
    options.enable_cpu_mem_arena = False
    try:
        session = ort.InferenceSession(
            str(weights),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=[*SLOW_FUSIONS],
        )
    except ORT_FAULTS as exc:
        raise EncoderError(f"{weights} is no verifier: {exc}") from exc
    metadata = session.get_modelmeta().custom_metadata_map
    if metadata.get(MADE_FOR) != digest(tokenizer):
        raise EncoderError(f"{weights} was made for another tokenizer than {tokenizer}")
    return session, Tokenizer(tokenizer, MAX_TOKENS)


def digest(file: Path) -> str:
    """By which weights and tokenizers are told apart."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:DIGEST_CHARS]
