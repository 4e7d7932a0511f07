"""Artifact: what is saved is loaded, and what is torn or foreign is refused."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any
from weakref import ref

import numpy as np
import pytest

from router.artifact import DEFAULT, Artifact, Artifacts
from router.errors import ArtifactError


def _changed(folder: Path, **values: Any) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    Artifact.load(DEFAULT).save(tmp_path)
    return tmp_path


def test_saved_artifact_comes_back_the_same(saved: Path) -> None:
    """Loading what was saved gives the same version and the same numbers."""
    first, second = Artifact.load(DEFAULT), Artifact.load(saved)
    assert first.version == second.version
    assert set(first.arrays) == set(second.arrays)
    assert all(np.array_equal(first.arrays[name], second.arrays[name]) for name in first.arrays)


def test_default_artifact_is_small() -> None:
    """What every checkout and image carries stays below 500 kB."""
    assert sum(path.stat().st_size for path in DEFAULT.iterdir()) < 500_000


def test_torn_arrays_are_refused(saved: Path) -> None:
    """Arrays cut short do not have the hash that the manifest tells."""
    path = saved / "arrays.npz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ArtifactError, match="not those"):
        Artifact.load(saved)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        pytest.param({"kind": "cache"}, "no router artifact", id="kind"),
        pytest.param({"format": 99}, "format", id="format"),
        pytest.param({"features": {}}, "other signals", id="signals"),
        pytest.param({"tiers": ["a", "b"]}, "fit", id="tiers"),
        pytest.param({"tiers": list("abcde")}, "between one and", id="too many tiers"),
        pytest.param({"dim": 8}, "fit", id="width"),
    ],
)
def test_foreign_manifest_is_refused(saved: Path, values: dict[str, Any], says: str) -> None:
    """An artifact of another kind, format, signal list, ladder or width never decides."""
    _changed(saved, **values)
    with pytest.raises(ArtifactError, match=says):
        Artifact.load(saved)


def test_missing_and_unreadable_artifacts_are_refused(tmp_path: Path, saved: Path) -> None:
    """No folder, no JSON, no object: each is an ArtifactError."""
    with pytest.raises(ArtifactError, match="no whole artifact"):
        Artifact.load(tmp_path / "absent")
    (saved / "manifest.json").write_text("{")
    with pytest.raises(ArtifactError, match="no whole artifact"):
        Artifact.load(saved)
    (saved / "manifest.json").write_text("[]")
    with pytest.raises(ArtifactError, match="no JSON object"):
        Artifact.load(saved)


def test_vectors_of_another_encoder_are_refused() -> None:
    """Only encoders that it was fitted on or verified against may feed it."""
    artifact = Artifact.load(DEFAULT)
    artifact.check_encoder(artifact.manifest["encoder_ids"][0])
    with pytest.raises(ArtifactError, match="another"):
        artifact.check_encoder("another")


def test_arrays_that_do_not_fit_are_refused() -> None:
    """A lacking array, or a table that is not monotone, is refused when it is built."""
    whole = Artifact.load(DEFAULT)
    lacking = {name: values for name, values in whole.arrays.items() if name != "none_base"}
    with pytest.raises(ArtifactError, match="none_base"):
        Artifact.build(whole.manifest, lacking)
    odd = {**whole.arrays, "price": whole.arrays["price"][::-1]}
    with pytest.raises(ArtifactError, match="monotone"):
        Artifact.build(whole.manifest, odd)


def test_what_somebody_holds_is_not_unpacked_again(saved: Path) -> None:
    """The same files are the same object for as long as it is held; nobody holds it in secret."""
    artifacts = Artifacts()
    first = artifacts.load(DEFAULT)

    assert artifacts.load(DEFAULT) is first
    assert artifacts.load(saved) is first
    _changed(saved, rows=1)
    assert artifacts.load(saved) is not first

    gone = ref(first)
    del first
    gc.collect()
    assert gone() is None


def test_what_is_held_is_checked_all_the_same(saved: Path) -> None:
    """Torn files are refused, also where their artifact is held."""
    artifacts = Artifacts()
    held = artifacts.load(saved)
    (saved / "arrays.npz").write_bytes(b"torn")
    with pytest.raises(ArtifactError, match="not those"):
        artifacts.load(saved)
    assert held.version
