"""The model hub's pinned files in, a bundle out. The only import of `huggingface_hub`.

`HF_ENDPOINT` names a mirror, `HF_HUB_OFFLINE=1` forbids the hub, proxies are taken from the
environment: all three by the library's own rules. Nothing is left in the library's own cache.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sidecar.encoder.build import build
from sidecar.encoder.bundle import (
    TOKENIZER,
    Bundle,
    EncoderConfig,
    Identity,
    check_sha256,
    model_file,
)
from sidecar.encoder.probe import Probe
from sidecar.errors import EncoderError

CONNECT_BUDGET_S: Final = 3.0
"""Chosen: a hub that can be reached answers within a second; one that cannot must not hold up a
first start, for which there is another road."""


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file as it was when it was pinned."""

    path: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSource:
    """Where a model lies, which revision of it, and whose vectors it gives.

    Attributes:
        model: An ONNX file with the inputs of `graph.INPUTS` and `last_hidden_state`.
        tokenizer: Its `tokenizer.json`.
        endpoint: The hub; None means the library's own, or `HF_ENDPOINT`.
        identity: What the bundle made of it is.
        budget_s: Within which the hub has to say what it has of a file.
    """

    repo: str
    revision: str
    model: HubFile
    tokenizer: HubFile
    endpoint: str | None = None
    identity: Identity = field(default_factory=Identity)
    budget_s: float = CONNECT_BUDGET_S


MINILM: Final = HubSource(
    repo="sentence-transformers/all-MiniLM-L6-v2",
    revision="1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
    model=HubFile(
        "onnx/model.onnx",
        "6fd5d72fe4589f189f8ebc006442dbb529bb7ce38f8082112682524616046452",
        90_405_214,
    ),
    tokenizer=HubFile(
        "tokenizer.json",
        "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        466_247,
    ),
)
"""Source: the repository's file listing at that revision."""


def fetch(target: Path, source: HubSource = MINILM, probe: Probe | None = None) -> Bundle:
    """Download `source`, pool it, make its precisions, prove them, and put the bundle in `target`.

    Raises:
        EncoderError: The hub cannot be reached, a file is not the pinned one, or the probe fails.
    """
    from sidecar.encoder import graph  # noqa: PLC0415 - onnx is not needed while serving

    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as folder:
        work = Path(folder)
        tokens_model = _download(source, source.model, work / "hub")
        _download(source, source.tokenizer, work / "hub").rename(work / TOKENIZER)
        try:
            graph.pool(tokens_model, work / model_file("fp32"))
        except ValueError as exc:
            raise EncoderError(f"{source.model.path} of {source.repo}: {exc}") from exc
        origin = f"{source.repo} at {source.revision}"
        sources = {
            TOKENIZER: f"{source.tokenizer.path} of {origin}",
            model_file("fp32"): f"{source.model.path} of {origin}, pooled",
        }
        return build(
            work, target, identity=source.identity, sources=sources, probe=probe or Probe.read()
        )


def _download(source: HubSource, file: HubFile, folder: Path) -> Path:
    """The pinned file, checked; its size is checked before it is fetched. Raises EncoderError."""
    import huggingface_hub as hub  # noqa: PLC0415 - a second of import, once in a bundle's life

    name = f"{file.path} of {source.repo}"
    try:
        url = hub.hf_hub_url(
            source.repo, file.path, revision=source.revision, endpoint=source.endpoint
        )
        # Asked first because it does not try again: `hf_hub_download` would, for 23 seconds.
        told = hub.get_hf_file_metadata(url, timeout=source.budget_s, endpoint=source.endpoint)
        _check_size(name, told.size, file.size_bytes)
        path = Path(
            hub.hf_hub_download(
                source.repo,
                file.path,
                revision=source.revision,
                local_dir=folder,
                endpoint=source.endpoint,
                etag_timeout=source.budget_s,
            )
        )
    except EncoderError:
        raise
    # The library lets its HTTP client's exceptions through, and which client differs by version.
    except Exception as exc:
        raise EncoderError(f"{name} cannot be had from the hub: {exc}") from exc
    check_sha256(path, file.sha256)
    return path


def _check_size(name: str, told: int | None, pinned: int) -> None:
    """Refuse a file whose size alone shows that it is another; raises EncoderError."""
    if told != pinned:
        raise EncoderError(f"{name} has {told} bytes at the hub, expected {pinned}")


def resolve(
    config: EncoderConfig, source: HubSource = MINILM, probe: Probe | None = None
) -> tuple[Bundle, str]:
    """The bundle that lies where `config` says, or one fetched from the hub; and which it was.

    Raises:
        EncoderError: There is none, and the hub gives none: it must be exported.
    """
    try:
        bundle = Bundle.open(config.folder)
        bundle.verify()
    except EncoderError as found:
        try:
            return fetch(config.folder, source, probe), "fetched from the model hub"
        except EncoderError as missing:
            raise EncoderError(f"{found}; {missing}") from missing
    return bundle, "verified"
