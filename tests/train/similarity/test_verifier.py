"""The verifier on a network of one layer: learnt, stopped, gone on with, exported, served."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from sidecar.encoder.graph import sign, to_int8
from sidecar.encoder.tokenizer import Tokenizer
from sidecar.encoder.verifier import MADE_FOR, OnnxVerifier, digest
from sidecar.errors import EncoderError
from tests.sidecar.encoder.tiny import write_tokenizer
from train.errors import DataError
from train.similarity.pairs import Pair
from train.similarity.verifier import measured

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from train.similarity.crossencoder import CrossEncoder, export, grown, kept_by  # noqa: E402 - needs torch
from train.similarity.steps import Learner, Tokens, batches, learn, saved  # noqa: E402 - as above

ROWS = [
    Pair(f"w{n} w{m}", f"w{n} w{m if same else m + 1}", "written", "same", str(n), is_same=same)
    for n in range(8)
    for m in range(10, 16)
    for same in (True, False)
]
STEPS, RATE = 120, 3e-3


def network(kept: Sequence[int] = (*range(40), 100)) -> CrossEncoder:
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=128,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        attn_implementation="eager",
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return CrossEncoder(transformers.BertModel(config), kept)


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    write_tokenizer(tmp_path / "tokenizer.json")
    return tmp_path / "tokenizer.json"


def learnt(tokenizer: Path, kept: Path, *, first: int = 0) -> Learner:
    """A learner after all steps; with `first`, one that was stopped there and started anew."""
    tokens = Tokens(Tokenizer(tokenizer, 128))
    if first:
        stopped = Learner(network(), STEPS, RATE)
        for batch in batches(ROWS, tokens, first, 0):
            stopped.step(batch)
        stopped.save(kept)
    learner = Learner(network(), STEPS, RATE)
    learn(learner, batches(ROWS, tokens, STEPS, 0), kept)
    return learner


def test_it_learns_goes_on_and_is_served_as_it_was_learnt(tokenizer: Path, tmp_path: Path) -> None:
    """One word apart is told from none; a stop changes nothing; int8 judges as float32 does."""
    whole = learnt(tokenizer, tmp_path / "whole.pt")
    halves = learnt(tokenizer, tmp_path / "halves.pt", first=10)
    one, other = whole.model.state_dict(), halves.model.state_dict()
    assert all(torch.allclose(one[name], other[name], atol=1e-4) for name in one)
    assert kept_by(one) == [*range(40), 100]
    export(whole.model, tmp_path / "fp32.onnx")
    to_int8(tmp_path / "fp32.onnx", tmp_path / "int8.onnx")
    for name in ("fp32.onnx", "int8.onnx"):
        with pytest.raises(EncoderError, match="another tokenizer"):
            OnnxVerifier(tmp_path / name, tokenizer)
        sign(tmp_path / name, **{MADE_FOR: digest(tokenizer)})
    report = measured(ROWS, OnnxVerifier(tmp_path / "int8.onnx", tokenizer))
    assert report["auc"]["written"] > 0.95
    exact = OnnxVerifier(tmp_path / "fp32.onnx", tokenizer)
    tokens = Tokens(Tokenizer(tokenizer, 128))
    for batch in batches(ROWS, tokens, 1, 1):
        assert len(batch) == 32
    for pair in ROWS[:4]:
        swapped = exact.verdict(pair.other, pair.one)
        assert swapped is not None
        assert np.isfinite(swapped)


def test_a_network_goes_on_with_more_words() -> None:
    """What both keep is taken over; what is new begins as MiniLM has it."""
    old, new = network().state_dict(), network([*range(50), 100])
    words = "bert.embeddings.word_embeddings.weight"
    old[words] = old[words] + 1.0
    fresh = new.state_dict()[words].clone()
    rows = grown(old, new).state_dict()[words]
    assert torch.equal(rows[:40], old[words][:40])
    assert torch.equal(rows[40:50], fresh[40:50])
    assert torch.equal(rows[50], old[words][40])


def test_a_checkpoint_of_something_else_is_said(tmp_path: Path) -> None:
    """Missing, torn, or of another network: in one line."""
    with pytest.raises(DataError, match="none"):
        saved(tmp_path / "none.pt")
    (tmp_path / "torn.pt").write_bytes(b"torn")
    with pytest.raises(DataError, match="no checkpoint"):
        saved(tmp_path / "torn.pt")
    Learner(network(), STEPS, RATE).save(tmp_path / "small.pt")
    other = Learner(network(), STEPS, RATE)
    other.model.head = torch.nn.Linear(8, 1)
    with pytest.raises(DataError, match="another network"):
        other.load(tmp_path / "small.pt")


def test_help_costs_no_torch() -> None:
    """The verb's flags are declared without loading what training needs."""
    from train.similarity.verifier import add_arguments  # noqa: PLC0415 - what is tested

    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert parser.parse_args(["--layers", "2"]).layers == 2
