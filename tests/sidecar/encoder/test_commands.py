"""`python -m sidecar encoder`: one clear line, and the exit code that `make` goes by."""

from __future__ import annotations

import argparse
from pathlib import Path

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
