"""The real bundle against sentence-transformers, by the vectors that the project keeps of it."""

from __future__ import annotations

import gzip
import json
from itertools import islice
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnxruntime.quantization import QuantType, quantize_dynamic

from sidecar.encoder.bundle import (
    DEFAULT_FOLDER,
    MANIFEST,
    PRECISIONS,
    TOKENIZER,
    WINDOW_TOKENS,
    EncoderConfig,
    Identity,
    Precision,
    model_file,
)
from sidecar.encoder.graph import to_int8
from sidecar.encoder.onnx import SLOW_FUSIONS, OnnxEncoder, feed
from sidecar.encoder.probe import FLOORS, Probe
from sidecar.encoder.tokenizer import Tokenizer

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


def test_attention_made_one_step_is_the_same_encoder(tmp_path: Path) -> None:
    """Bundles made before and after it may share a cache: no farther apart than int8's roundings.

    Where it was measured not a bit is another; a processor that sums in another order may differ.
    """
    fused, apart = tmp_path / "fused.onnx", tmp_path / "apart.onnx"
    whole = BUNDLE / model_file("fp32")
    to_int8(whole, fused)
    quantize_dynamic(
        str(whole),
        str(apart),
        per_channel=True,
        weight_type=QuantType.QInt8,
        extra_options={"DisableShapeInference": True},
    )
    sessions = [
        ort.InferenceSession(
            str(path), providers=["CPUExecutionProvider"], disabled_optimizers=[*SLOW_FUSIONS]
        )
        for path in (fused, apart)
    ]
    tokenizer = Tokenizer(BUNDLE / TOKENIZER, WINDOW_TOKENS)
    kinds = {node.op_type for node in onnx.load(str(fused)).graph.node}
    assert "QAttention" in kinds
    for text in ("Hello", "How do I reset my password?", "A page of words. " * 80):
        inputs = feed([tokenizer.tokenize(text).ids])
        one, other = (session.run(None, inputs)[0] for session in sessions)
        assert float(one[0] @ other[0]) > 0.99
