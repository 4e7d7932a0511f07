"""The registry: artifacts that never change, a state that is never half, changes that compose."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.artifact import DEFAULT, Artifact, content_hash
from router.errors import ArtifactError
from router.registry import LAST, STATE, Registry
from router.release import MAX_HISTORY, Note, State, parse_state

NOTE = Note(at=1.0, who="tester", reason="why")
VERSIONS = ("a", "b", "c")


def variant(folder: Path, shift: float) -> Path:
    """The shipped artifact with its smallest tier thought better or worse of."""
    shipped = Artifact.load(DEFAULT)
    arrays = {name: np.array(values) for name, values in shipped.arrays.items()}
    arrays["shift_bias"][0] += shift
    version = f"20260101-{content_hash(arrays)}"
    Artifact.build({**shipped.manifest, "version": version}, arrays).save(folder)
    return folder


def test_an_artifact_is_taken_in_whole_and_once(tmp_path: Path) -> None:
    """What is registered is a copy that nobody may write to, and adding it again is nothing."""
    registry = Registry(tmp_path / "registry")
    source = variant(tmp_path / "new", 1.0)
    version = registry.add(source).version
    assert registry.add(source).version == version
    assert registry.versions() == [version]
    kept = registry.find(version)
    assert kept is not None
    assert all(not path.stat().st_mode & 0o222 for path in kept.iterdir())
    assert registry.load(version).version == version
    assert registry.manifest(version)["tiers"] == ["small", "medium", "large"]


def test_another_content_under_the_same_version_is_refused(tmp_path: Path) -> None:
    """A version's name stands for one set of arrays, for good."""
    registry = Registry(tmp_path / "registry")
    version = registry.add(variant(tmp_path / "one", 1.0)).version
    other = Artifact.load(variant(tmp_path / "two", 2.0))
    Artifact.build({**other.manifest, "version": version}, other.arrays).save(tmp_path / "three")
    with pytest.raises(ArtifactError, match="another artifact"):
        registry.add(tmp_path / "three")


def test_a_torn_artifact_is_not_taken_in(tmp_path: Path) -> None:
    """It is refused before anything is copied."""
    registry, source = Registry(tmp_path / "registry"), variant(tmp_path / "new", 1.0)
    (source / "arrays.npz").write_bytes(b"half")
    with pytest.raises(ArtifactError):
        registry.add(source)
    assert registry.versions() == []


@pytest.mark.parametrize("name", ["../x", "", ".hidden", "a/b", "x" * 65, "ä"])
def test_a_version_names_no_other_folder(name: str, tmp_path: Path) -> None:
    """What comes over HTTP as a version cannot leave the registry."""
    assert Registry(tmp_path).find(name) is None
    with pytest.raises(ArtifactError):
        Registry(tmp_path).load(name)


@pytest.mark.parametrize("torn", [b"", b"{", b'{"schema": 9}', b'{"schema": 1, "share": 7}'])
def test_a_torn_state_falls_back_to_the_last_good_one(torn: bytes, tmp_path: Path) -> None:
    """The one before it is in force, the fault is told, and the next change mends the file."""
    registry = Registry(tmp_path)
    registry.change(lambda state: state.adopting("a", NOTE))
    registry.change(lambda state: state.trying("b", NOTE))
    (tmp_path / STATE).write_bytes(torn)
    found = registry.read()
    assert (found.state.serving, found.state.candidate) == ("a", "")
    assert found.fault
    registry.change(lambda state: state.activating("c", NOTE))
    assert registry.read().fault == ""
    assert registry.read().state.former == ("a",)


def test_nothing_was_ever_released(tmp_path: Path) -> None:
    """An empty registry has an empty state; one whose files are all torn says so."""
    registry = Registry(tmp_path / "none")
    assert registry.read().state == State()
    assert registry.stamp() is None
    registry.change(lambda state: state.adopting("a", NOTE))
    for name in (STATE, LAST):
        (tmp_path / "none" / name).write_text("torn")
    with pytest.raises(ArtifactError, match=r"state\.json"):
        registry.read()


def test_the_stamp_tells_that_something_changed(tmp_path: Path) -> None:
    """Whoever follows reads the file only when it is another one."""
    registry = Registry(tmp_path)
    registry.change(lambda state: state.adopting("a", NOTE))
    first = registry.stamp()
    registry.change(lambda state: state)  # no change is no write
    assert registry.stamp() == first
    registry.change(lambda state: state.trying("b", NOTE))
    assert registry.stamp() != first


def _acts() -> st.SearchStrategy[tuple[str, str, float]]:
    kinds = ("adopt", "try", "step", "drop", "activate", "back")
    return st.tuples(
        st.sampled_from(kinds), st.sampled_from(VERSIONS), st.sampled_from([0.0, 0.05, 0.5, 1.0])
    )


def _after(state: State, act: tuple[str, str, float]) -> State:
    kind, version, share = act
    steps: dict[str, Callable[[], State]] = {
        "adopt": lambda: state.adopting(version, NOTE),
        "try": lambda: state.trying(version, NOTE, share),
        "step": lambda: state.stepping(version, state.share, share, NOTE),
        "drop": lambda: state.dropping(version, NOTE),
        "activate": lambda: state.activating(version, NOTE),
        "back": lambda: state.rolling_back(NOTE),
    }
    try:
        return steps[kind]()
    except ArtifactError:
        return state


@given(st.lists(_acts(), max_size=40))
def test_every_state_is_written_and_read_back_as_it_is(acts: list[tuple[str, str, float]]) -> None:
    """read(write(s)) == s; the candidate never serves already, and a trial's share is below 1."""
    state = State()
    for act in acts:
        state = _after(state, act)
        told: Any = json.loads(json.dumps(state.to_map()))
        assert parse_state(told) == state
        assert 0.0 <= state.share < 1.0
        assert state.candidate != state.serving or not state.candidate
        assert len(state.history) <= MAX_HISTORY


@given(st.lists(_acts(), max_size=20), st.sampled_from(VERSIONS))
def test_rolling_back_undoes_a_release(acts: list[tuple[str, str, float]], version: str) -> None:
    """Whatever came before: what is activated and rolled back leaves what served before."""
    state = State().adopting("z", NOTE)
    for act in acts:
        state = _after(state, act)
    if state.serving == version:
        return
    assert state.activating(version, NOTE).rolling_back(NOTE).serving == state.serving


def test_a_step_that_comes_late_is_none() -> None:
    """Two sidecars see the same evidence: the first one's step holds, the second's is nothing."""
    state = State().adopting("a", NOTE).trying("b", NOTE)
    once = state.stepping("b", 0.0, 0.05, NOTE)
    assert once.share == 0.05
    assert once.stepping("b", 0.0, 0.05, NOTE) is once
    assert once.dropping("c", NOTE) is once
