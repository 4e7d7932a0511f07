"""The verifier's inputs, and a verifier that cannot judge and says so."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from sidecar.encoder.graph import INPUTS, sign
from sidecar.encoder.pairs import KINDS, MAX_TOKENS, feed, joined
from sidecar.encoder.verifier import MADE_FOR, OnnxVerifier, digest
from sidecar.errors import EncoderError
from tests.sidecar.encoder.tiny import write_tokenizer

words = st.lists(st.integers(4, 60), max_size=12).map(lambda inside: (2, *inside, 3))


@given(words, words)
def test_kinds_tell_the_segment_and_what_the_other_has(
    one: tuple[int, ...], other: tuple[int, ...]
) -> None:
    """Both ends are in both; the second `[CLS]` is dropped."""
    ids, kinds = joined(one, other)
    assert ids == [*one, *other[1:]]
    assert [kind % 2 for kind in kinds] == [0] * len(one) + [1] * (len(other) - 1)
    there = (set(other),) * len(one) + (set(one),) * (len(other) - 1)
    assert [kind < KINDS // 2 for kind in kinds] == [
        token in texts for token, texts in zip(ids, there, strict=True)
    ]


def test_what_is_padded_is_masked() -> None:
    """The shorter of two pairs."""
    inputs = feed([joined((2, 5, 3), (2, 5, 3)), joined((2, 3), (2, 3))])
    assert inputs["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
    assert {values.shape for values in inputs.values()} == {(2, 5)}


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    write_tokenizer(tmp_path / "tokenizer.json")
    return tmp_path / "tokenizer.json"


def write_sum(path: Path, tokenizer: Path, kind: str = "ReduceSum") -> None:
    """A graph whose logit is the sum of the token ids, or one that fails when it is run."""
    both = ["batch", "sequence"]
    options = {"keepdims": 0} if kind == "ReduceSum" else {}
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["real"], to=TensorProto.FLOAT),
        helper.make_node(kind, ["real", "axes"], ["logit"], **options),
    ]
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1 if kind == "ReduceSum" else 999])
    graph = helper.make_graph(
        nodes,
        "sum",
        [helper.make_tensor_value_info(name, TensorProto.INT64, both) for name in INPUTS],
        [helper.make_tensor_value_info("logit", TensorProto.FLOAT, None)],
        [axes],
    )
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), str(path))
    sign(path, **{MADE_FOR: digest(tokenizer)})


def test_a_verdict_is_the_graphs_logit(tokenizer: Path, tmp_path: Path) -> None:
    """Of the pair, each question in its own words."""
    write_sum(tmp_path / "sum.onnx", tokenizer)
    verifier = OnnxVerifier(tmp_path / "sum.onnx", tokenizer)
    assert verifier.verdict("w1", "w2") == 2 + 5 + 3 + 6 + 3


def test_what_cannot_be_judged_gets_no_verdict(tokenizer: Path, tmp_path: Path) -> None:
    """Longer than the window together, no valid text, a session that fails."""
    write_sum(tmp_path / "sum.onnx", tokenizer)
    verifier = OnnxVerifier(tmp_path / "sum.onnx", tokenizer)
    half = " ".join(["w1"] * (MAX_TOKENS // 2))
    assert verifier.verdict(half, half) is None
    assert verifier.verdict("w1", "\ud800") is None
    write_sum(tmp_path / "broken.onnx", tokenizer, kind="Reshape")
    assert OnnxVerifier(tmp_path / "broken.onnx", tokenizer).verdict("w1", "w2") is None


def test_weights_that_are_none_are_refused(tokenizer: Path, tmp_path: Path) -> None:
    """At the start, with the file's name."""
    (tmp_path / "torn.onnx").write_bytes(b"torn")
    with pytest.raises(EncoderError, match=r"torn\.onnx"):
        OnnxVerifier(tmp_path / "torn.onnx", tokenizer)
