"""The graft: what the pooled graph gives is what numpy makes of the token-level output."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from sidecar.encoder import graph
from sidecar.encoder.onnx import feed
from tests.sidecar.encoder import tiny


def vectors_of(path: Path) -> np.ndarray:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    ids = [tuple(tiny.token_ids(text)) for text in tiny.TEXTS]
    return np.asarray(session.run(None, feed(ids))[0])


@pytest.mark.parametrize("opset", [pytest.param(number, id=str(number)) for number in (11, 14, 18)])
def test_pooling_is_the_masked_mean_at_unit_length(tmp_path: Path, opset: int) -> None:
    """In one padded batch, whatever opset the file came with."""
    tiny.write_tokens_model(tmp_path / "tokens.onnx", opset)
    graph.pool(tmp_path / "tokens.onnx", tmp_path / "vectors.onnx")
    np.testing.assert_allclose(
        vectors_of(tmp_path / "vectors.onnx"), tiny.probe().vectors, atol=1e-6
    )


def test_halved_and_quantised_graphs_stay_near(tmp_path: Path) -> None:
    """float16 to three digits; int8 to the floor that the probe sets."""
    tiny.write_tokens_model(tmp_path / "tokens.onnx")
    graph.pool(tmp_path / "tokens.onnx", tmp_path / "vectors.onnx")
    graph.to_fp16(tmp_path / "vectors.onnx", tmp_path / "half.onnx")
    graph.to_int8(tmp_path / "vectors.onnx", tmp_path / "int8.onnx")
    expected = tiny.probe().vectors
    assert np.sum(vectors_of(tmp_path / "half.onnx") * expected, axis=1).min() > 0.999
    assert np.sum(vectors_of(tmp_path / "int8.onnx") * expected, axis=1).min() > 0.98


def test_quantising_needs_nothing_that_serving_does_not_have(tmp_path: Path) -> None:
    """A fresh encoder may be fetched where only what serves is installed: no torch, no sympy."""
    tiny.write_tokens_model(tmp_path / "tokens.onnx")
    graph.pool(tmp_path / "tokens.onnx", tmp_path / "vectors.onnx")
    script = (
        "import sys\n"
        "for name in ('torch', 'sympy', 'sklearn', 'scipy', 'transformers', 'matplotlib'):\n"
        "    sys.modules[name] = None\n"
        "from pathlib import Path\n"
        "from sidecar.encoder.graph import to_int8\n"
        "to_int8(Path(sys.argv[1]), Path(sys.argv[2]))\n"
    )
    words = [str(tmp_path / name) for name in ("vectors.onnx", "int8.onnx")]
    subprocess.run([sys.executable, "-c", script, *words], check=True)  # noqa: S603 - our own words
    graph.to_int8(tmp_path / "vectors.onnx", tmp_path / "here.onnx")
    np.testing.assert_allclose(
        vectors_of(tmp_path / "int8.onnx"), vectors_of(tmp_path / "here.onnx"), atol=1e-6
    )


def test_a_graph_without_token_level_output_is_refused_by_name(tmp_path: Path) -> None:
    """A file that is pooled already has nothing to graft onto."""
    tiny.write_tokens_model(tmp_path / "tokens.onnx")
    graph.pool(tmp_path / "tokens.onnx", tmp_path / "vectors.onnx")
    with pytest.raises(ValueError, match="no output last_hidden_state; it has vectors"):
        graph.pool(tmp_path / "vectors.onnx", tmp_path / "again.onnx")
