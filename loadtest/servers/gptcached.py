"""GPTCache's own server over an encoder bundle's vectors: run by an environment that has GPTCache.

Its similarity cache as its documents set it up (`init_similar_cache`: SQLite, FAISS, distance), but
for the encoder: the weights that the sidecar serves with take the place of its default, so that
both do the same work. It listens as `gptcache_server` does, on `/put` and `/get`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import uvicorn
from gptcache.adapter.api import init_similar_cache
from gptcache.embedding.base import BaseEmbedding
from gptcache.processor.post import first
from gptcache_server.server import app
from numpy.typing import NDArray

from loadtest.servers.bareencoder import BareEncoder


class BundleEmbedding(BaseEmbedding):  # type: ignore[misc]  # GPTCache's, which is not here
    """The bundle's int8 session."""

    dimension = 384

    def __init__(self, bundle: Path) -> None:
        self._encoder = BareEncoder(bundle)

    def to_embeddings(self, data: str, **_: object) -> NDArray[np.float32]:
        """(dim,) float32, unit length."""
        return self._encoder.run(self._encoder.inputs(data))


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True, help="of its files")
    args = parser.parse_args()
    init_similar_cache(
        data_dir=str(args.folder / "data"), embedding=BundleEmbedding(args.bundle), post_func=first
    )
    uvicorn.run(app, host="127.0.0.1", port=args.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
