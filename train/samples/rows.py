"""A file of JSON lines in, packed or not; its rows, or what tells it from another, out."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from train.errors import DataError


def opened(path: Path) -> IO[bytes]:
    """For reading; unpacked, if it ends in `.gz`."""
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a packed JSONL file; raises DataError."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]
    except (OSError, EOFError, ValueError) as fault:
        raise DataError(f"{path} cannot be read: {fault}") from fault


def file_hashes(paths: Iterable[Path]) -> dict[str, str]:
    """The sha256 of each file, by its name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
