"""Bound runs give what plain runs give, over few shapes; on the CPU, which has buffers too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.encoder.bound import Bound
from sidecar.encoder.bundle import Bundle, Device, EncoderConfig
from sidecar.encoder.onnx import OnnxEncoder, feed
from sidecar.encoder.tokenizer import Tokenizer
from sidecar.errors import EncoderError
from tests.sidecar.encoder import tiny


@pytest.fixture(scope="module")
def session(made_bundle: Path) -> ort.InferenceSession:
    path = Bundle.open(made_bundle).model("fp32")
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def ids(*lengths: int) -> list[tuple[int, ...]]:
    """Rows of so many tokens."""
    dice = np.random.default_rng(len(lengths))
    return [tuple(dice.integers(4, len(tiny.WORDS), length).tolist()) for length in lengths]


@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=9))
@settings(max_examples=40, deadline=None)
def test_a_bound_run_gives_what_a_plain_run_gives(
    session: ort.InferenceSession, lengths: list[int]
) -> None:
    """To the last digits of a sum, whatever fills the shape up, run after run over one buffer."""
    bound = Bound(session, "cpu", tiny.DIM, has_graphs=False)
    for rows in (ids(*lengths), ids(*reversed(lengths)), ids(*lengths)):
        (plain,) = session.run(None, feed(rows))
        vectors = bound.run(feed(rows))
        assert vectors.shape == (len(rows), tiny.DIM)
        np.testing.assert_allclose(vectors, plain, rtol=0, atol=1e-6)


def test_what_was_given_is_not_changed_by_the_next_run(session: ort.InferenceSession) -> None:
    """The buffer is filled again, and what came of it is the caller's."""
    bound = Bound(session, "cpu", tiny.DIM, has_graphs=False)
    first = bound.run(feed(ids(5)))
    kept = first.copy()
    bound.run(feed(ids(7, 3)[:1]))
    assert (first == kept).all()


def test_shapes_are_few(session: ort.InferenceSession) -> None:
    """Lengths and numbers that are alike share buffers; a captured run is one of each shape."""
    bound = Bound(session, "cpu", tiny.DIM, has_graphs=True)
    for lengths in ((3,), (16,), (17,), (5, 9, 2), (4, 4, 4, 4), (30, 2, 2)):
        bound.run(feed(ids(*lengths)))
    assert len(bound) == 4


def test_an_encoder_with_buffers_is_the_encoder(made_bundle: Path) -> None:
    """The same vectors for the same texts, run in as many parts as the budget makes of them."""
    config = EncoderConfig(bundle=str(made_bundle), device="cpu", precision="fp32", max_tokens=16)
    plain = OnnxEncoder.load(config)
    path = Bundle.open(made_bundle).model("fp32")

    def parts() -> tuple[ort.InferenceSession, Tokenizer]:
        session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return session, Tokenizer(made_bundle / "tokenizer.json", 16)

    bound = OnnxEncoder(
        parts,
        encoder_id=plain.encoder_id,
        dim=tiny.DIM,
        device="cpu",
        precision="fp32",
        max_batch_tokens=64,
        buffers="cpu",
    )
    texts = [" ".join(tiny.WORDS[4 : 5 + number]) for number in range(11)]
    np.testing.assert_allclose(
        bound.encode(texts).vectors, plain.encode(texts).vectors, rtol=0, atol=1e-6
    )


def test_a_place_that_is_not_there_is_a_fault_of_ours(made_bundle: Path) -> None:
    """What the library raises where there is no card reaches nobody."""
    path = Bundle.open(made_bundle).model("fp32")
    encoder = OnnxEncoder(
        lambda: (
            ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]),
            Tokenizer(made_bundle / "tokenizer.json", 16),
        ),
        encoder_id="",
        dim=tiny.DIM,
        device="cuda",
        precision="fp32",
        max_batch_tokens=64,
        buffers="cuda",
    )
    if "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("this machine has one")
    with pytest.raises(EncoderError, match="session failed"):
        encoder.encode(["w1"])


@pytest.mark.parametrize(("device", "tokens"), [("cpu", 2_048), ("cuda", 32_768)])
def test_a_card_is_given_a_whole_run_at_a_time(device: Device, tokens: int) -> None:
    """Off a queue, too; on a CPU so many tokens would keep who comes meanwhile for seconds."""

    def never() -> tuple[ort.InferenceSession, Tokenizer]:
        raise AssertionError("nothing is encoded here")

    encoder = OnnxEncoder(
        never,
        encoder_id="",
        dim=tiny.DIM,
        device=device,
        precision="fp32",
        max_batch_tokens=32_768,
    )
    assert encoder.at_once_tokens == tokens
