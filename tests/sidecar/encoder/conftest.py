"""A whole bundle of the tiny model, made once by the road that real ones take."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sidecar.encoder import graph
from sidecar.encoder.build import build
from sidecar.encoder.bundle import TOKENIZER, model_file
from tests.sidecar.encoder import tiny


@pytest.fixture(scope="session")
def made_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be written to."""
    work = tmp_path_factory.mktemp("work")
    source = tiny.hub_source(work / "hub")
    graph.pool(work / "hub" / "model.onnx", work / model_file("fp32"))
    shutil.copy(work / "hub" / "tokenizer.json", work / TOKENIZER)
    target = tmp_path_factory.mktemp("made") / "encoder"
    build(work, target, identity=source.identity, sources={}, probe=tiny.probe())
    return target


@pytest.fixture
def bundle(made_bundle: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(made_bundle, tmp_path / "encoder"))
