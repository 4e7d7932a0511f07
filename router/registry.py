"""A folder of immutable artifacts and one small file that says which of them serves.

    versions/20261121-3f9a1c.../   manifest.json and arrays.npz, written once, never changed
    state.json                     router.release.State, replaced whole by a rename
    state.last.json                the one before it

Rule 1: an artifact is copied into a draft beside its place and renamed into it: it is there whole,
        or not at all; another content under the same version is refused.
Rule 2: a change of the state is read, made and written under one lock, so that a command and the
        running sidecar, or two sidecars on one volume, do not undo each other.
Rule 3: a state file that is torn is not served from: the one before it is, and the fault is told.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from router.artifact import MAX_MANIFEST_BYTES, Artifact, Artifacts
from router.errors import ArtifactError
from router.release import State, checked_version, parse_state

STATE: Final = "state.json"
LAST: Final = "state.last.json"

MAX_STATE_BYTES: Final = 1024 * 1024
"""Chosen: a full history comes to a fifth of it."""

MAX_VERSIONS: Final = 500
"""Chosen: some megabytes each; whoever holds more should throw old ones away."""

_READ_ONLY: Final = 0o444

Stamp = tuple[int, int, int]
"""Inode, time of change in nanoseconds and size: another file has another one."""


@dataclass(frozen=True, slots=True)
class Found:
    """The state that was read.

    Attributes:
        state: What is in force.
        fault: Why it is not the newest one; empty if it is.
    """

    state: State
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Registry:
    """One folder.

    Attributes:
        folder: Where it is.
        artifacts: By whom they are loaded, where somebody else does too.
    """

    folder: Path
    artifacts: Artifacts = field(default_factory=Artifacts)

    def read(self) -> Found:
        """The state in force; an empty one where none was ever written.

        Raises:
            ArtifactError: There are files, and none can be read.
        """
        try:
            return Found(_parsed(self.folder / STATE))
        except FileNotFoundError:
            if not (self.folder / LAST).exists():
                return Found(State())
            fault = f"{STATE} is missing"
        except (OSError, ValueError, ArtifactError) as torn:
            fault = f"{STATE}: {torn}"
        try:
            return Found(_parsed(self.folder / LAST), fault)
        except (OSError, ValueError, ArtifactError) as torn:
            raise ArtifactError(f"{self.folder}: {fault}; {LAST}: {torn}") from torn

    def stamp(self) -> Stamp | None:
        """Tells one state file from another without reading it; None if there is none."""
        try:
            told = (self.folder / STATE).stat()
        except OSError:
            return None
        return told.st_ino, told.st_mtime_ns, told.st_size

    def change(self, step: Callable[[State], State]) -> State:
        """Replace the state by what `step` makes of it; the new one.

        Raises:
            ArtifactError: `step` refuses, or it cannot be read or written.
        """
        try:
            with self._lock():
                before = self.read().state
                after = step(before)
                if after is not before:
                    self._write(after)
                return after
        except OSError as fault:
            raise ArtifactError(f"{self.folder} cannot be written: {fault.strerror}") from fault

    def add(self, source: Path) -> Artifact:
        """Take the artifact in the folder `source` in; it may be there already.

        Raises:
            ArtifactError: It is not whole, or another one bears its version.
        """
        artifact = self.artifacts.load(source)
        home = self._home(artifact.version)
        if home.exists():
            self._check_same(artifact)
            return artifact
        if len(self.versions()) >= MAX_VERSIONS:
            raise ArtifactError(f"{self.folder} holds {MAX_VERSIONS} versions: remove some")
        try:
            self._copy(source, home)
        except OSError as fault:
            raise ArtifactError(f"{self.folder} cannot be written: {fault.strerror}") from fault
        return artifact

    def load(self, version: str) -> Artifact:
        """The artifact of that version.

        Raises:
            ArtifactError: It is not there, or no longer what it was.
        """
        artifact = self.artifacts.load(self._home(version))
        if artifact.version != version:
            raise ArtifactError(f"{version} holds the artifact {artifact.version}")
        return artifact

    def find(self, name: str) -> Path | None:
        """The folder of the version called `name`; None if there is none."""
        try:
            home = self._home(name)
        except ArtifactError:
            return None
        return home if (home / "manifest.json").is_file() else None

    def versions(self) -> list[str]:
        """What is registered, by name."""
        places = self.folder / "versions"
        if not places.is_dir():
            return []
        return sorted(place.name for place in places.iterdir() if not place.name.startswith("."))

    def manifest(self, version: str) -> dict[str, Any]:
        """What an artifact says of itself; its arrays are not read.

        Raises:
            ArtifactError: It is not there, or cannot be read.
        """
        path = self._home(version) / "manifest.json"
        try:
            told = json.loads(_bounded(path, MAX_MANIFEST_BYTES))
        except (OSError, ValueError) as fault:
            raise ArtifactError(f"there is no whole artifact {version}: {fault}") from fault
        if not isinstance(told, dict):
            raise ArtifactError(f"the manifest of {version} is no JSON object")
        return told

    def _home(self, version: str) -> Path:
        return self.folder / "versions" / checked_version(version)

    def _check_same(self, artifact: Artifact) -> None:
        kept = self.manifest(artifact.version).get("arrays_sha256")
        if kept != artifact.manifest["arrays_sha256"]:
            raise ArtifactError(f"another artifact is registered as {artifact.version}")

    def _copy(self, source: Path, home: Path) -> None:
        home.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=home.parent))
        try:
            for name in ("arrays.npz", "manifest.json"):
                shutil.copyfile(source / name, draft / name)
                (draft / name).chmod(_READ_ONLY)
            draft.chmod(0o755)
            draft.rename(home)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield  # closing it lets go

    def _write(self, state: State) -> None:
        path, draft = self.folder / STATE, self.folder / ".state.draft"
        text = json.dumps(state.to_map(), indent=1, ensure_ascii=False) + "\n"
        with draft.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if path.exists() and _is_whole(path):
            shutil.copyfile(path, self.folder / ".last.draft")
            (self.folder / ".last.draft").replace(self.folder / LAST)
        draft.replace(path)


def _parsed(path: Path) -> State:
    return parse_state(json.loads(_bounded(path, MAX_STATE_BYTES)))


def _is_whole(path: Path) -> bool:
    try:
        _parsed(path)
    except (OSError, ValueError, ArtifactError):
        return False
    return True


def _bounded(path: Path, most: int) -> bytes:
    if path.stat().st_size > most:
        raise ValueError(f"{path.name} is larger than {most} bytes")
    return path.read_bytes()
