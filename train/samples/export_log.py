"""`python -m train export-log`: the traffic log in, JSON Lines or Parquet for other tools out."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from sidecar.disk.sealing import AesGcm
from sidecar.traffic.reader import read_folder
from sidecar.traffic.record import to_map, unpacked_vector
from train.errors import DataError
from train.samples.keys import add_key, find_cipher

HELP: Final = "the traffic log as JSON Lines or Parquet"
GROUP: Final = 10_000
"""Chosen: records held in memory at once; some tens of megabytes."""

_NESTED: Final = ("attempts", "parameters", "probabilities")
"""Fields that Parquet keeps as JSON text: their shape differs from record to record."""

_TEXT: Final = (
    "kind", "request_id", "tenant", "namespace", "user", "alias", "question", "system",
    "partition", "encoder_id", "cache", "cache_reason", "entry_tier", "decision_reason",
    "served_tier", "served_model", "degraded", "error", "cost_usd", "saved_usd", "artifact",
    "artifact_role", "rival", "rival_tier", "tier", "answer", "by",
    "config", "version", "guardrail", "correct_answer", "comment", *_NESTED,
)  # fmt: skip
_NUMBERS: Final = (
    "at", "similarity", "risk", "propensity", "quality", "confidence", "latency_ms", "overhead_ms",
    "score", "label",
)  # fmt: skip
_COUNTS: Final = ("schema", "turns", "entry_id", "tokens_in", "status")

SCHEMA: Final = pa.schema(
    [(name, pa.string()) for name in _TEXT]
    + [(name, pa.float64()) for name in _NUMBERS]
    + [(name, pa.int64()) for name in _COUNTS]
    + [("stream", pa.bool_()), ("vector", pa.list_(pa.float32()))]
    + [(name, pa.list_(pa.string())) for name in ("tags", "allowed", "overrides")]
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("--traffic", type=Path, required=True, metavar="DIR")
    add_key(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.jsonl|.parquet")


def run(args: argparse.Namespace) -> int:
    """Write the file and say how many records it holds."""
    writers = {".jsonl": write_jsonl, ".parquet": write_parquet}
    if args.out.suffix not in writers:
        raise DataError(f"--out must end in .jsonl or .parquet, is {args.out.name}")
    rows = iter(
        tqdm(
            read_rows(args.traffic, find_cipher(args.traffic_key)), desc="records", unit="", delay=1
        )
    )
    count = writers[args.out.suffix](rows, args.out)
    told = {"records": count, "out": str(args.out)}
    print(json.dumps(told) if args.json else f"wrote {count} records to {args.out}")
    return 0


def read_rows(folder: Path, cipher: AesGcm | None = None) -> Iterator[dict[str, Any]]:
    """Each record as plain values, its vector as a list of floats (empty if it has none).

    `cipher` opens what is sealed.

    Raises:
        TrafficError: There is no such folder, or a record is none that this version knows.
    """
    for record in read_folder(folder, cipher):
        row = to_map(record)
        if "vector" in row:
            vector = unpacked_vector(row["vector"])
            row["vector"] = [] if vector is None else vector.tolist()
        yield row


def write_jsonl(rows: Iterator[dict[str, Any]], path: Path) -> int:
    """One JSON object a line; gives the number of lines."""
    count = 0
    with path.open("wb") as file:
        for row in rows:
            file.write(orjson.dumps(row) + b"\n")
            count += 1
    return count


def write_parquet(rows: Iterator[dict[str, Any]], path: Path) -> int:
    """One row group for each GROUP of records; gives their number."""
    count, stream = 0, iter(rows)
    with pq.ParquetWriter(path, SCHEMA) as writer:
        while group := list(islice(stream, GROUP)):
            writer.write_table(pa.Table.from_pylist([_flat(row) for row in group], schema=SCHEMA))
            count += len(group)
    return count


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    texts = {
        name: orjson.dumps(row[name]).decode() for name in _NESTED if row.get(name) is not None
    }
    return {**row, **texts}
