"""The bundle: nothing is loaded that its manifest does not vouch for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sidecar.encoder.bundle import (
    MANIFEST,
    PRECISIONS,
    Bundle,
    EncoderConfig,
    Identity,
    model_file,
)
from sidecar.errors import EncoderError


def edit(folder: Path, **values: Any) -> None:
    path = folder / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | values), "utf-8")


def test_a_whole_bundle_is_verified(bundle: Path) -> None:
    """What was sealed is what is read."""
    opened = Bundle.open(bundle)
    opened.verify()
    assert all(opened.has(precision) for precision in PRECISIONS)
    assert opened.model("int8") == bundle / "model.int8.onnx"


@pytest.mark.parametrize("name", [model_file("int8"), "tokenizer.json"])
def test_a_torn_file_is_refused_by_name(bundle: Path, name: str) -> None:
    """One byte less, and it is not loaded."""
    (bundle / name).write_bytes((bundle / name).read_bytes()[:-1])
    with pytest.raises(EncoderError, match=rf"{name} is torn or foreign"):
        Bundle.open(bundle).verify()


def test_a_missing_file_is_refused_by_name(bundle: Path) -> None:
    """With the system's own reason."""
    (bundle / model_file("fp32")).unlink()
    with pytest.raises(EncoderError, match=r"model\.fp32\.onnx cannot be read: No such file"):
        Bundle.open(bundle).model("fp32")


def test_no_bundle_says_which_command_makes_one(tmp_path: Path) -> None:
    """A refusal that tells the way out."""
    with pytest.raises(EncoderError, match="python -m sidecar encoder fetch"):
        Bundle.open(tmp_path)


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"format": 2}, id="another-format"),
        pytest.param({"files": {"../../etc/passwd": ""}}, id="leads-out"),
        pytest.param({"files": {}}, id="no-tokenizer"),
        pytest.param({"identity": {"unknown": 1}}, id="unknown-field"),
        pytest.param({"files": 1}, id="no-mapping"),
        pytest.param({"sources": {"padding": "x" * 70_000}}, id="too-large"),
    ],
)
def test_a_strange_manifest_is_refused(bundle: Path, values: dict[str, Any]) -> None:
    """Whatever is wrong with it, it is our error that says so."""
    edit(bundle, **values)
    with pytest.raises(EncoderError, match=MANIFEST):
        Bundle.open(bundle)


def test_a_manifest_that_is_no_json_is_refused(bundle: Path) -> None:
    """A torn write, say."""
    (bundle / MANIFEST).write_text("{", "utf-8")
    with pytest.raises(EncoderError, match="is no manifest"):
        Bundle.open(bundle)


def test_identity_tells_apart_whatever_changes_a_vector() -> None:
    """Model, weights, tokenizer, pooling, precision, window, recipe: each gives another id."""
    mine = Identity()
    ids = [
        mine.encoder_id("int8", 256),
        mine.encoder_id("fp32", 256),
        mine.encoder_id("int8", 128),
        *(
            Identity(**change).encoder_id("int8", 256)
            for change in (
                {"model": "another"},
                {"weights_sha256": "0"},
                {"tokenizer_sha256": "0"},
                {"pooling": "cls"},
                {"normalisation": "none"},
                {"dim": 1},
                {"recipe": 99},
            )
        ),
    ]
    assert len(set(ids)) == len(ids)
    assert all(len(each) == 16 for each in ids)
    assert Identity().encoder_id("int8", 256) == ids[0]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param("device", "tpu", id="device"),
        pytest.param("precision", "int4", id="precision"),
        pytest.param("threads", -1, id="no-threads"),
        pytest.param("max_tokens", 512, id="beyond-the-window"),
        pytest.param("max_batch_tokens", 255, id="batch-below-one-text"),
        pytest.param("max_queue", 0, id="no-queue"),
    ],
)
def test_config_names_the_field_at_fault(field: str, value: object) -> None:
    """Before anything is loaded."""
    with pytest.raises(ValueError, match=field):
        EncoderConfig(**{field: value})  # type: ignore[arg-type]  # wrong on purpose
