"""A pooled fp32 graph and a tokenizer in, a sealed and probed bundle out: the end of both roads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from sidecar.encoder.bundle import (
    MANIFEST,
    PRECISIONS,
    TOKENIZER,
    Bundle,
    EncoderConfig,
    Identity,
    Precision,
    model_file,
    seal,
)
from sidecar.encoder.onnx import OnnxEncoder
from sidecar.encoder.probe import Probe


def build(
    work: Path, target: Path, *, identity: Identity, sources: Mapping[str, str], probe: Probe
) -> Bundle:
    """Make the other precisions in `work`, prove all of them, and move the bundle to `target`.

    `work` holds `model.fp32.onnx` and `tokenizer.json` and lies on the disk of `target`.

    Raises:
        EncoderError: A precision fails the probe; `target` is as it was.
    """
    from sidecar.encoder import graph  # noqa: PLC0415 - onnx is not needed while serving

    fp32 = work / model_file("fp32")
    graph.to_fp16(fp32, work / model_file("fp16"))
    graph.to_int8(fp32, work / model_file("int8"))
    seal(work, sources, identity)
    parities(work, probe)
    target.mkdir(parents=True, exist_ok=True)
    # The manifest comes last: who reads meanwhile finds a hash that does not fit, and says so.
    for name in (TOKENIZER, *(model_file(precision) for precision in PRECISIONS), MANIFEST):
        os.replace(work / name, target / name)  # noqa: PTH105 - says "atomic" to whoever reads it
    return Bundle.open(target)


def parities(folder: Path, probe: Probe) -> dict[Precision, float]:
    """Least cosine to the reference by precision; raises EncoderError if one is too low."""
    return {
        precision: probe.check(
            OnnxEncoder.load(
                EncoderConfig(bundle=str(folder), device="cpu", precision=precision),
            )
        )
        for precision in PRECISIONS
    }
