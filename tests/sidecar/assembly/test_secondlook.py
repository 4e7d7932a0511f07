"""The verifier that comes along is opened after the start, and missed by nobody if it cannot be."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from sidecar.assembly.secondlook import second_look
from sidecar.config.sections import Config
from sidecar.encoder.bundle import TOKENIZER, EncoderConfig
from sidecar.encoder.onnx import OnnxEncoder
from sidecar.encoder.verifier import FOLDER, RISK, WEIGHTS, OnnxVerifier
from sidecar.errors import ConfigError, EncoderError
from tests.integration.conftest import DEMO
from tests.sidecar.config.test_file import parsed


def config(bundle: Path, verifier: str = "auto") -> Config:
    """One that names the encoder's folder and a verifier."""
    return parsed(
        f'{DEMO}[encoder]\nbundle = "{bundle}"\n[cache.semantic]\nverifier = "{verifier}"'
    )


def test_a_verifier_for_another_tokenizer_leaves_the_cheap_look_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Told in the log once it is opened; the limit is the cheap stage's own from then on."""
    (tmp_path / TOKENIZER).write_text("{}")
    second = second_look(config(tmp_path), logging.getLogger("test"))
    assert second.look.is_verified
    second.open()
    assert not second.look.is_verified
    alone = second_look(config(tmp_path, "off"), logging.getLogger("test"))
    assert second.look.limit == alone.look.limit
    assert "another tokenizer" in caplog.text


def test_a_verifier_that_is_named_must_run_at_the_start(tmp_path: Path) -> None:
    """Weights that are none refuse it."""
    (tmp_path / WEIGHTS).write_bytes(b"torn")
    shutil.copy(FOLDER / RISK, tmp_path / RISK)
    with pytest.raises(ConfigError, match="verifier"):
        second_look(config(tmp_path, str(tmp_path)), logging.getLogger("test"))


def test_what_failed_to_open_gives_no_verdict_and_is_not_tried_again(tmp_path: Path) -> None:
    """Each asking would else cost a session."""
    (tmp_path / "torn.onnx").write_bytes(b"torn")
    verifier = OnnxVerifier(tmp_path / "torn.onnx", tmp_path / TOKENIZER, is_late=True)
    assert verifier.verdict("a", "b") is None
    (tmp_path / "torn.onnx").unlink()
    with pytest.raises(EncoderError, match="is no verifier"):
        verifier.open()


def test_an_encoder_is_found_before_it_is_opened(tmp_path: Path) -> None:
    """No bundle is told at once; a torn one when it is opened."""
    with pytest.raises(EncoderError):
        OnnxEncoder.found(EncoderConfig(bundle=str(tmp_path)))
