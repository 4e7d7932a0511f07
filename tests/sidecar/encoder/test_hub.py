"""The hub: pinned files or none, from a stand-in on loopback that speaks as the real one does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from sidecar.encoder import hub
from sidecar.encoder.bundle import Bundle, EncoderConfig
from sidecar.encoder.hub import HubSource
from sidecar.encoder.onnx import OnnxEncoder
from sidecar.encoder.probe import Probe
from sidecar.errors import EncoderError
from tests.sidecar.encoder import tiny


class StandIn(BaseHTTPRequestHandler):
    """`/{repo}/resolve/{revision}/{file}`: a file of `folder`, with the hub's own headers."""

    folder: Path

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        path = self.folder / self.path.rsplit("/", 1)[-1]
        if not path.is_file() or "/resolve/" not in self.path:
            self.send_error(404)
            return
        data = path.read_bytes()
        self.send_response(200)
        self.send_header("ETag", f'"{path.name}"')
        self.send_header("X-Repo-Commit", "1" * 40)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if with_body:
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Says nothing."""


@pytest.fixture
def source(tmp_path: Path) -> Iterator[HubSource]:
    """The tiny model, on a hub of its own."""
    handler = type("Handler", (StandIn,), {"folder": tmp_path / "hub"})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield tiny.hub_source(tmp_path / "hub", f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
            thread.join()


def test_what_is_fetched_is_a_whole_bundle(source: HubSource, tmp_path: Path) -> None:
    """Pooled, in every precision, proven, and nothing left beside it."""
    target = tmp_path / "state" / "encoder"
    hub.fetch(target, source, tiny.probe())
    Bundle.open(target).verify()
    encoder = OnnxEncoder.load(EncoderConfig(bundle=str(target), device="cpu", precision="fp32"))
    vectors = encoder.encode(tiny.TEXTS).vectors
    np.testing.assert_allclose(vectors, tiny.probe().vectors, atol=1e-6)
    assert [path.name for path in target.parent.iterdir()] == ["encoder"]


def test_a_file_with_another_hash_is_refused(source: HubSource, tmp_path: Path) -> None:
    """Of the right size, and yet not the pinned one: no bundle comes of it."""
    forged = replace(source, model=replace(source.model, sha256="0" * 64))
    with pytest.raises(EncoderError, match="torn or foreign"):
        hub.fetch(tmp_path / "encoder", forged, tiny.probe())
    assert not (tmp_path / "encoder").exists()


def test_a_file_of_another_size_is_not_even_fetched(source: HubSource, tmp_path: Path) -> None:
    """The hub's word on the size is held against the pin first."""
    larger = replace(source, model=replace(source.model, size_bytes=1))
    with pytest.raises(EncoderError, match="expected 1"):
        hub.fetch(tmp_path / "encoder", larger, tiny.probe())


def test_other_vectors_are_refused_the_name(source: HubSource, tmp_path: Path) -> None:
    """The pinned files, and a probe that says they give another model's vectors."""
    other = Probe(tiny.TEXTS, tiny.probe().vectors[::-1].copy())
    with pytest.raises(EncoderError, match="parity of int8 is"):
        hub.fetch(tmp_path / "encoder", source, other)
    assert not (tmp_path / "encoder").exists()


def test_a_file_that_the_hub_lacks_is_our_error(source: HubSource, tmp_path: Path) -> None:
    """Its 404 is named with file and repository."""
    absent = replace(source, model=replace(source.model, path="absent.onnx"))
    with pytest.raises(EncoderError, match=r"absent\.onnx of tiny/tiny cannot be had"):
        hub.fetch(tmp_path / "encoder", absent, tiny.probe())


def test_no_hub_is_told_beside_no_bundle(source: HubSource, tmp_path: Path) -> None:
    """Both reasons, since either can be mended."""
    nowhere = replace(source, endpoint="http://127.0.0.1:9")
    config = EncoderConfig(bundle=str(tmp_path / "encoder"))
    with pytest.raises(EncoderError, match=r"there is no encoder bundle.*cannot be had"):
        hub.resolve(config, nowhere)


def test_a_bundle_on_disk_needs_no_hub(source: HubSource, bundle: Path, tmp_path: Path) -> None:
    """What lies there and is whole is taken."""
    nowhere = replace(source, endpoint="http://127.0.0.1:9")
    found, how = hub.resolve(EncoderConfig(bundle=str(bundle)), nowhere)
    assert (found.folder, how) == (bundle, "verified")


def test_a_torn_bundle_is_fetched_anew(
    source: HubSource, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is whole again afterwards."""
    (bundle / "model.int8.onnx").write_bytes(b"")
    found, how = hub.resolve(EncoderConfig(bundle=str(bundle)), source, tiny.probe())
    found.verify()
    assert how == "fetched from the model hub"
