"""A packed file of JSON lines in, its rows out."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from train.errors import DataError


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a packed JSONL file; raises DataError."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]
    except (OSError, EOFError, ValueError) as fault:
        raise DataError(f"{path} cannot be read: {fault}") from fault
