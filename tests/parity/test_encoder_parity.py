"""The real bundle against sentence-transformers, by the vectors that the project keeps of it."""

from __future__ import annotations

import gzip
import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from sidecar.encoder.bundle import (
    DEFAULT_FOLDER,
    MANIFEST,
    PRECISIONS,
    EncoderConfig,
    Identity,
    Precision,
)
from sidecar.encoder.onnx import OnnxEncoder
from sidecar.encoder.probe import FLOORS, Probe

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / DEFAULT_FOLDER
QUESTIONS = ROOT.parent / "shared" / "data" / "cache" / "qqp_pairs.jsonl.gz"

pytestmark = pytest.mark.skipif(
    not (BUNDLE / MANIFEST).is_file(),
    reason="no encoder bundle in .sidecar/encoder: `make test` makes one",
)


def load(precision: Precision) -> OnnxEncoder:
    return OnnxEncoder.load(EncoderConfig(bundle=str(BUNDLE), device="cpu", precision=precision))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_probe_comes_out_as_sentence_transformers_has_it(precision: Precision) -> None:
    """Wide in length, script and case; one text is longer than the window and says so."""
    encoder, probe = load(precision), Probe.read()
    assert probe.parity(encoder) >= FLOORS[precision]
    assert encoder.encode(probe.texts).truncated == (*(False,) * 7, True)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_identity_is_the_canonical_one(precision: Precision) -> None:
    """By whatever road the bundle was made, its vectors may be compared with anyone's."""
    assert load(precision).encoder_id == Identity().encoder_id(precision, 256)


def test_int8_is_the_same_alone_and_in_company() -> None:
    """To the last bit: one scale for a whole batch would let neighbours move a vector."""
    encoder, texts = load("int8"), Probe.read().texts
    together = encoder.encode(texts).vectors
    alone = np.concatenate([encoder.encode([text]).vectors for text in texts])
    assert np.array_equal(together, alone)


@pytest.mark.data
@pytest.mark.skipif(not QUESTIONS.is_file(), reason=f"no measuring data at {QUESTIONS.name}")
def test_real_questions_lie_where_fp32_has_them() -> None:
    """int8 to a mean cosine of .99, fp16 to four digits, over 200 questions."""
    with gzip.open(QUESTIONS, "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text_a"] for line in islice(lines, 200)]
    exact = load("fp32").encode(texts).vectors
    int8 = np.sum(load("int8").encode(texts).vectors * exact, axis=1)
    fp16 = np.sum(load("fp16").encode(texts).vectors * exact, axis=1)
    assert int8.min() > 0.97
    assert int8.mean() > 0.99
    assert fp16.min() > 0.9999
