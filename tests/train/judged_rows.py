"""Judged rows and a measuring folder, made up."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from cache.risk import INPUTS
from train.similarity.judged import EQUIVALENCE, JUDGED, Pairs, Row, digest
from train.similarity.pairs import GROUPS


def write(folder: Path, name: str, rows: Iterable[dict[str, Any]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with gzip.open(folder / name, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def made(count: int, seed: int = 0) -> Pairs:
    """Pairs whose badness is told by their similarity alone."""
    dice = np.random.default_rng(seed)
    x = dice.uniform(size=(count, len(INPUTS)))
    files = ("equivalence_qqp", "equivalence_b77")
    rows = [Row(f"a{n}", f"b{n}", True, 0.9, files[n % 2], 2.0 / count) for n in range(count)]  # noqa: FBT003 - unused
    return Pairs(
        rows=rows,
        x=x,
        good=dice.uniform(size=count) < x[:, 0],
        vetoed=dice.uniform(size=count) < 0.1,
        file=np.arange(count) % 2,
        share=np.full(count, 2.0 / count),
        files=files,
    )


def neighbours(count: int) -> list[dict[str, Any]]:
    """Rows of an equivalence file: good where they are very near; the words say nothing."""
    dice = np.random.default_rng(0)
    rows = []
    for n in range(count):
        cosine = float(dice.uniform(0.7, 1.0))
        rows.append(
            {
                "cached": f"how is it with matter {chr(97 + n % 26)}",
                "query": f"how is it with the matter {chr(97 + n // 26)}",
                "label": int(dice.uniform() < (1.0 if cosine > 0.85 else 0.4)),
                "cosine": cosine,
                "bucket": 0.7,
                "population_share": 1.0,
            }
        )
    return rows


def folders(tmp_path: Path, judged: Iterable[dict[str, Any]] = ()) -> tuple[Path, Path]:
    """Measuring data and what is our own, a few rows of each file."""
    data, own = tmp_path / "data", tmp_path / "own"
    for name in EQUIVALENCE:
        write(data, f"{name}.jsonl.gz", neighbours(26 * 8))
    write(data, "qqp_pairs.jsonl.gz", [{"text_a": "kept q", "text_b": "asked q", "label": 1}])
    write(data, "banking77.jsonl.gz", [{"text": "kept b"}, {"text": "asked b"}])
    write(own, JUDGED, [{**r, **_digests(r)} for r in judged])
    write(own, GROUPS, [])
    return data, own


def _digests(row: dict[str, Any]) -> dict[str, str]:
    return {side: digest(row[side]) for side in ("cached", "query")}
