"""The session: a text's own vector whatever its company, and refusals that tell the way out."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

from sidecar.encoder.bundle import PRECISIONS, EncoderConfig, Precision, model_file
from sidecar.encoder.onnx import ORT_FAULTS, OnnxEncoder
from sidecar.encoder.tokenizer import Tokenizer
from sidecar.errors import EncoderError
from tests.sidecar.encoder import tiny


@pytest.fixture(scope="module")
def encoders(made_bundle: Path) -> dict[Precision, OnnxEncoder]:
    return {
        precision: OnnxEncoder.load(
            EncoderConfig(
                bundle=str(made_bundle),
                device="cpu",
                precision=precision,
                max_tokens=16,
                max_batch_tokens=40,
            )
        )
        for precision in PRECISIONS
    }


@given(
    texts=st.lists(
        st.lists(st.sampled_from(tiny.WORDS[4:]), min_size=1, max_size=14).map(" ".join),
        max_size=12,
    ),
    precision=st.sampled_from(PRECISIONS),
)
@settings(max_examples=60, deadline=None)
def test_a_vector_is_its_own_texts_whatever_the_batch(
    encoders: dict[Precision, OnnxEncoder], texts: list[str], precision: Precision
) -> None:
    """Exactly for int8; to the last digits of a sum where floats share a padded run."""
    encoder = encoders[precision]
    together = encoder.encode(texts)
    assert together.vectors.shape == (len(texts), tiny.DIM)
    assert together.vectors.dtype == np.float32
    assert together.tokens == tuple(len(text.split()) + 2 for text in texts)
    for text, vector in zip(texts, together.vectors, strict=True):
        alone = encoder.encode([text]).vectors[0]
        tolerance = {"int8": 0.0, "fp16": 2e-3, "fp32": 1e-6}[precision]
        np.testing.assert_allclose(vector, alone, rtol=0, atol=tolerance)
        np.testing.assert_allclose(np.linalg.norm(vector), 1.0, atol=1e-6)


def test_load_takes_int8_on_the_cpu_and_says_who_it_is(made_bundle: Path) -> None:
    """The default, and an identity that the window is part of."""
    encoder = OnnxEncoder.load(EncoderConfig(bundle=str(made_bundle), device="cpu"))
    other = OnnxEncoder.load(EncoderConfig(bundle=str(made_bundle), device="cpu", max_tokens=128))
    assert (encoder.device, encoder.precision, encoder.dim) == ("cpu", "int8", tiny.DIM)
    assert encoder.encoder_id != other.encoder_id


def test_a_foreign_file_is_not_loaded(bundle: Path) -> None:
    """The hash is held against the file before the session sees it."""
    (bundle / model_file("int8")).write_bytes(b"another graph")
    with pytest.raises(EncoderError, match="torn or foreign"):
        OnnxEncoder.load(EncoderConfig(bundle=str(bundle), device="cpu"))


class BrokenSession:
    """Raises one of the library's own exceptions at each run."""

    def __init__(self, fault: type[Exception]) -> None:
        self._fault = fault

    def run(self, outputs: object, inputs: object) -> object:
        raise self._fault("broken")


@pytest.mark.parametrize(
    "fault",
    [
        fault
        for _, fault in inspect.getmembers(ort_state, inspect.isclass)
        if issubclass(fault, Exception)
    ],
)
def test_every_fault_of_the_library_becomes_ours(made_bundle: Path, fault: type[Exception]) -> None:
    """None of its exceptions reaches whoever asked for a vector."""
    assert fault in ORT_FAULTS
    tokenizer = Tokenizer(made_bundle / "tokenizer.json", 16)
    encoder = OnnxEncoder(
        lambda: (BrokenSession(fault), tokenizer),
        encoder_id="",
        dim=tiny.DIM,
        device="cpu",
        precision="int8",
        max_batch_tokens=64,
    )
    with pytest.raises(EncoderError, match="session failed: broken"):
        encoder.encode(["w1"])
