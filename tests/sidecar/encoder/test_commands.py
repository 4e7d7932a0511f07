"""`python -m sidecar encoder`: one clear line, and the exit code that `make` goes by."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest

from sidecar.encoder import commands


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    commands.add_arguments(parser)
    return commands.run(parser.parse_args(words))


def test_fetch_takes_what_lies_there(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A whole bundle is all that a start needs."""
    assert run("fetch", "--bundle", str(bundle)) == 0
    assert capsys.readouterr().out == f"encoder bundle verified: {bundle}\n"


def test_export_says_which_command_does_it(capsys: pytest.CaptureFixture[str]) -> None:
    """Torch is not in the serving process; exit 3 is what `make` looks for."""
    assert run("export") == 3
    assert "make encoder" in capsys.readouterr().out


def test_verify_refuses_a_torn_bundle(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And names the file."""
    (bundle / "model.fp16.onnx").write_bytes(b"")
    assert run("verify", "--bundle", str(bundle)) == 1
    assert "model.fp16.onnx is torn or foreign" in capsys.readouterr().out


def test_verify_refuses_another_models_vectors(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A whole bundle that does not give the vectors it is named for."""
    assert run("verify", "--bundle", str(bundle)) == 1
    assert "parity of int8 is -1.0000" in capsys.readouterr().out


def test_bench_names_what_it_cannot_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No bundle is one line, not a traceback."""
    assert run("bench", "--bundle", str(tmp_path)) == 1
    assert "there is no encoder bundle" in capsys.readouterr().out


def test_embed_writes_the_vectors_that_are_served(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One row a line, in their order, of unit length."""
    lines, out = tmp_path / "texts.jsonl", tmp_path / "vectors.npy"
    lines.write_text('"one"\n"two"\n"one"\n')
    assert run("embed", str(lines), "--out", str(out), "--bundle", str(bundle)) == 0
    vectors = np.load(out, allow_pickle=False)
    assert vectors.shape[0] == 3
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1, 1], abs=1e-3)
    assert (vectors[0] == vectors[2]).all()
    assert "3 vectors" in capsys.readouterr().out


@pytest.mark.parametrize("line", ["{", "1"])
def test_embed_names_the_line_that_is_no_text(
    tmp_path: Path, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before a model is loaded."""
    lines = tmp_path / "texts.jsonl"
    lines.write_text(f'"one"\n{line}\n')
    assert run("embed", str(lines), "--out", str(tmp_path / "out.npy")) == 1
    assert "line 2 is no JSON" in capsys.readouterr().out
