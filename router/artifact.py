"""The trained bundle on disk: `manifest.json` says what it is, `arrays.npz` holds every number."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, Final
from weakref import WeakValueDictionary
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from router import features
from router.classifier import Forest, LinearHeads
from router.drift import BINS, EVEN, Known
from router.errors import ArtifactError
from router.value import moves

KIND: Final = "router"
FORMAT: Final = 3
"""Format 2 added `known_*`, which an artifact may lack: then drift of the input is not watched.
Format 3 reads more signals, has linear heads in each state, and in the place of heads for gains the
chances of every tier and how they may move: older ones must be fitted anew."""
MAX_ARRAYS_BYTES: Final = 64 * 1024 * 1024
MAX_MANIFEST_BYTES: Final = 4 * 1024 * 1024
"""Chosen: a hundred times what an artifact needs; a foreign file does not fill memory."""
MAX_TIERS: Final = 4
"""Chosen: heads exist for every set of answers, so their number doubles with each tier."""

DEFAULT: Final = Path(__file__).parent / "artifacts" / "default"

Arrays = Mapping[str, NDArray[Any]]
Numbers = NDArray[np.float64]
Held = tuple[int, ...]
"""Places of the tiers that have answered, rising; `()` before any has."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class StateHeads:
    """What is estimated once the answers of one set of tiers are held.

    Attributes:
        forest: Heads: "is right" for each tier, whether it has answered or not.
        linear: The same heads over `features.folded_row`. What a head says is the mean of both.
        held: Places that have answered, rising; empty before any has.
        plans: Sets of places above that may be asked next, single ones first.
        slope: (tiers,) float64, calibration of the heads.
        offset: (tiers,) float64, likewise.
        moves: (tiers, draws) float64, how the chances may still move; see `router.value`.
        most_gain: (plans,) float64, what the gain hardly ever exceeds in this state.
    """

    forest: Forest
    linear: LinearHeads
    held: Held
    plans: tuple[Held, ...]
    slope: Numbers
    offset: Numbers
    moves: Numbers
    most_gain: Numbers

    def scores(self, row: NDArray[np.float32]) -> Numbers:
        """(heads,) float64 for one row of the state."""
        folded = features.folded_row(row, len(self.held))
        both = self.forest.scores(row) + self.linear.scores(folded)
        return np.asarray(both, np.float64) / 2.0


@dataclass(frozen=True, slots=True, eq=False, kw_only=True, weakref_slot=True)
class Artifact:
    """All that the router learnt.

    Attributes:
        manifest: What it is, what it was fitted on, how well it did; see `docs/router.md`.
        arrays: Every number, by name; the views below are made from them.
        tiers: Names of the tiers, smallest first.
        linear: One row of the question in: "is right" for each tier, then log1p of the answer's
            tokens for each tier, as fitted on whole rows.
        shift: The same row in: what traffic has since taught of each tier, added to its log-odds
            in every state. All zero in an artifact fitted on whole rows.
        states: Heads by the places held.
        quality: (points,) float64, rising from 0 to 1: what a caller may ask for.
        price: (points,) float64, falling: the points of quality that a dollar must buy there.
        known: What it was fitted on, in short; None if it does not tell.
    """

    manifest: Mapping[str, Any]
    arrays: Arrays = field(repr=False)
    tiers: tuple[str, ...]
    linear: LinearHeads
    shift: LinearHeads
    states: Mapping[Held, StateHeads]
    quality: Numbers
    price: Numbers
    known: Known | None = None

    @classmethod
    def build(cls, manifest: Mapping[str, Any], arrays: Arrays) -> Artifact:
        """The artifact that these parts make.

        Raises:
            ArtifactError: They do not fit each other or this version of the code.
        """
        _check_manifest(manifest)
        try:
            return cls._assemble(manifest, arrays)
        except (KeyError, ValueError, IndexError, TypeError) as fault:
            raise ArtifactError(f"the artifact's arrays do not fit: {fault!r}") from fault

    @classmethod
    def _assemble(cls, manifest: Mapping[str, Any], arrays: Arrays) -> Artifact:
        tiers = tuple(manifest["tiers"])
        signals = len(features.names()["question"])
        wide = int(manifest["dim"]) + signals
        linear = _linear("linear", (wide, 2 * len(tiers)), arrays)
        shift = _linear("shift", (wide, len(tiers)), arrays)
        quality, price = arrays["quality"], arrays["price"]
        rises = np.all(np.diff(quality) > 0) and quality[0] == 0 and quality[-1] == 1
        if not rises or quality.shape != price.shape or np.any(np.diff(price) > 0):
            raise ArtifactError("the table of quality and price is not monotone")
        shared = len(tiers) + signals
        states = {held: _state(held, len(tiers), shared, arrays) for held in subsets(len(tiers))}
        return cls(
            manifest=manifest,
            arrays=arrays,
            tiers=tiers,
            linear=linear,
            shift=shift,
            states=states,
            quality=quality,
            price=price,
            known=_known(int(manifest["dim"]), len(tiers), arrays),
        )

    @property
    def dim(self) -> int:
        """Width of the vectors that it was fitted on."""
        return int(self.manifest["dim"])

    @property
    def version(self) -> str:
        """Day of making and a hash of the content, as `20261121-3f9a1c`."""
        return str(self.manifest["version"])

    def check_encoder(self, encoder_id: str) -> None:
        """Say whether vectors of this encoder may be fed in.

        Raises:
            ArtifactError: It was neither fitted on them nor verified against them.
        """
        known = self.manifest["encoder_ids"]
        if encoder_id not in known:
            raise ArtifactError(
                f"artifact {self.version} knows no vectors of encoder {encoder_id}, only of {known}"
            )

    def save(self, folder: Path) -> None:
        """Write both files; the manifest last, so that a torn save is seen on loading."""
        folder.mkdir(parents=True, exist_ok=True)
        packed = packed_arrays(self.arrays)
        (folder / "arrays.npz").write_bytes(packed)
        manifest = {**self.manifest, "arrays_sha256": hashlib.sha256(packed).hexdigest()}
        text = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False)
        (folder / "manifest.json").write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Artifact:
        """The artifact in `folder`.

        Raises:
            ArtifactError: It is missing, torn, changed after its making, or of another make.
        """
        manifest, packed = _read(folder)
        return cls.build(manifest, _unpacked(packed))


class Artifacts:
    """Artifacts by their folders: what somebody still holds is not unpacked a second time.

    One is 14 MB in some thousand pieces, and a config that is read again mostly names the same.
    """

    def __init__(self) -> None:
        self._held = WeakValueDictionary[bytes, Artifact]()

    def load(self, folder: Path) -> Artifact:
        """As `Artifact.load`: the files are read and checked each time.

        Raises:
            ArtifactError: As there.
        """
        manifest, packed = _read(folder)
        # The manifest vouches for the arrays by their hash.
        key = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).digest()
        artifact = self._held.get(key)
        if artifact is None:
            artifact = self._held[key] = Artifact.build(manifest, _unpacked(packed))
        return artifact


def subsets(tiers: int) -> list[Held]:
    """Every set of places that may have answered, the empty one first."""
    return [held for size in range(tiers + 1) for held in combinations(range(tiers), size)]


def plans_above(held: Held, tiers: int) -> tuple[Held, ...]:
    """Every set of places above all that are held, single ones first."""
    lowest = held[-1] + 1 if held else 0
    above = range(lowest, tiers)
    return tuple(plan for size in range(1, tiers + 1) for plan in combinations(above, size))


def state_key(held: Held) -> str:
    """How the arrays of a state are named: `0-1`; `none` before any answer."""
    return "-".join(map(str, held)) or "none"


def packed_arrays(arrays: Arrays) -> bytes:
    """The arrays as one compressed `.npz`."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **{name: arrays[name] for name in arrays})
    return buffer.getvalue()


def content_hash(arrays: Arrays) -> str:
    """Twelve hex digits that tell one set of arrays from another, however they were packed."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        values = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {values.dtype} {values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()[:12]


def _read(folder: Path) -> tuple[dict[str, Any], bytes]:
    """The manifest, and the arrays that it tells of."""
    try:
        manifest = json.loads(_bounded(folder / "manifest.json", MAX_MANIFEST_BYTES))
        packed = _bounded(folder / "arrays.npz", MAX_ARRAYS_BYTES)
    except (OSError, ValueError) as fault:
        raise ArtifactError(f"there is no whole artifact in {folder}: {fault}") from fault
    if not isinstance(manifest, dict):
        raise ArtifactError(f"the manifest in {folder} is no JSON object")
    if hashlib.sha256(packed).hexdigest() != manifest.get("arrays_sha256"):
        raise ArtifactError(f"the arrays in {folder} are not those that its manifest tells of")
    return manifest, packed


def _unpacked(packed: bytes) -> Arrays:
    try:
        with np.load(io.BytesIO(packed), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, BadZipFile) as fault:
        raise ArtifactError(f"the arrays cannot be read: {fault}") from fault


def _bounded(path: Path, most: int) -> bytes:
    if path.stat().st_size > most:
        raise ValueError(f"{path.name} is larger than {most} bytes")
    return path.read_bytes()


def _check_manifest(manifest: Mapping[str, Any]) -> None:
    if manifest.get("kind") != KIND or manifest.get("format") != FORMAT:
        raise ArtifactError(f"no router artifact of format {FORMAT}")
    lacking = {"version", "tiers", "encoder_ids", "features", "dim"} - set(manifest)
    if lacking:
        raise ArtifactError(f"the manifest lacks {sorted(lacking)}")
    if manifest["features"] != features.names():
        raise ArtifactError("the artifact was fitted on other signals than this version reads")
    if not 1 <= len(manifest["tiers"]) <= MAX_TIERS:
        raise ArtifactError(f"an artifact knows between one and {MAX_TIERS} tiers")


def _linear(name: str, shape: tuple[int, int], arrays: Arrays) -> LinearHeads:
    weights = arrays[f"{name}_weights"]
    if weights.shape != shape:
        raise ArtifactError(f"the {name} heads do not fit the vector, the signals and the tiers")
    return LinearHeads(
        centre=arrays[f"{name}_centre"],
        weights=weights,
        bias=arrays[f"{name}_bias"],
        limit=arrays.get(f"{name}_limit"),
    )


def _known(dim: int, tiers: int, arrays: Arrays) -> Known | None:
    if "known_centroids" not in arrays:
        return None
    known = Known(
        centroids=arrays["known_centroids"].astype(np.float32),
        similarity=arrays["known_similarity"],
        shares=arrays.get("known_shares", np.array(EVEN, np.float32)),
        scores=arrays["known_scores"],
        gain=arrays["known_gain"],
    )
    fits = known.centroids.shape[1:] == (dim,) and known.shares.shape == (BINS,)
    fits = fits and known.scores.shape == (tiers, BINS - 1)
    if not fits or known.gain.shape != (len(plans_above((), tiers)),):
        raise ArtifactError("what the artifact was fitted on does not fit its tiers")
    return known


def _state(held: Held, tiers: int, shared: int, arrays: Arrays) -> StateHeads:
    key, plans = state_key(held), plans_above(held, tiers)
    forest = Forest(
        columns=arrays[f"{key}_columns"],
        thresholds=arrays[f"{key}_thresholds"],
        leaves=arrays[f"{key}_leaves"],
        base=arrays[f"{key}_base"],
        width=shared + features.answers_width(len(held)),
    )
    pairs = len(held) * (len(held) - 1) // 2
    linear = _linear(f"{key}_linear", (forest.width * (1 + pairs), len(forest.base)), arrays)
    slope, offset, most = (arrays[f"{key}_{name}"] for name in ("slope", "offset", "most_gain"))
    spread = arrays[f"{key}_spread"].astype(np.float64)
    fits = len(forest.base) == tiers and most.shape == (len(plans),)
    if not fits or {slope.shape, offset.shape} != {(tiers,)} or spread.shape != (tiers, tiers):
        raise ArtifactError(f"the heads of state {key} do not fit its tiers")
    return StateHeads(
        forest=forest,
        linear=linear,
        held=held,
        plans=plans,
        slope=slope,
        offset=offset,
        moves=moves(spread),
        most_gain=most,
    )
