"""StateFile: replaced whole, private, and put aside where nobody understands it."""

from __future__ import annotations

import json
import logging
import stat
from pathlib import Path

import pytest

from sidecar.disk.statefile import StateFile


@pytest.fixture
def file(tmp_path: Path) -> StateFile:
    return StateFile(tmp_path / "in" / "state.json", 100, "the state", logging.getLogger("test"))


def test_what_is_written_is_read(file: StateFile) -> None:
    assert file.read(json.loads) is None
    assert file.write(b"[1]")
    assert file.write(b"[2]")
    assert file.read(json.loads) == [2]
    assert [each.name for each in file.path.parent.iterdir()] == ["state.json"]
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


@pytest.mark.parametrize("foreign", [b"{", b"[" + b" " * 100 + b"]"], ids=["garbage", "too long"])
def test_what_nobody_understands_is_put_aside(
    file: StateFile, foreign: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    file.write(foreign)

    assert file.read(json.loads) is None

    assert not file.path.exists()
    assert file.path.with_suffix(".foreign").read_bytes() == foreign
    assert "the state could not be read" in caplog.text


def test_a_fault_of_the_disk_is_told(file: StateFile, caplog: pytest.LogCaptureFixture) -> None:
    file.path.parent.write_text("a file where the folder should be")

    assert not file.write(b"[1]")

    assert "the state could not be written" in caplog.text
