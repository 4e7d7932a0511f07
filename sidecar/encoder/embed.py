"""Texts in, the vectors that the sidecar makes of them out, for whoever doubts it from outside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson

from sidecar.encoder.bundle import EncoderConfig
from sidecar.encoder.onnx import OnnxEncoder


def embed(config: EncoderConfig, texts: Path, out: Path) -> int:
    """Write the unit vectors, (n, dim) float32, of a file's lines, each a JSON string; how many.

    Raises:
        EncoderError: No bundle, or a torn one.
        OSError: A file cannot be read or written.
        ValueError: A line is no JSON string; the message says which.
    """
    wanted = [_text(number, line) for number, line in enumerate(texts.read_bytes().splitlines(), 1)]
    vectors = OnnxEncoder.load(config).encode(wanted).vectors
    with out.open("wb") as file:
        np.save(file, vectors.astype(np.float32), allow_pickle=False)
    return len(wanted)


def _text(number: int, line: bytes) -> str:
    try:
        text = orjson.loads(line)
    except orjson.JSONDecodeError as fault:
        raise ValueError(f"line {number} is no JSON: {fault}") from fault
    if not isinstance(text, str):
        raise ValueError(f"line {number} is no JSON string")  # noqa: TRY004 - the file's fault
    return text
