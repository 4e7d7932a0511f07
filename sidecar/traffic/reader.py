"""A folder of log files in, its records out, oldest file first; a torn tail ends a file quietly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgpack

from sidecar.errors import TrafficError
from sidecar.traffic.record import Record, from_map

SUFFIX = ".msgpack"
MAX_RECORD_BYTES = 64 * 1024 * 1024
"""Chosen: far above the largest body admitted, far below what would hurt the reader."""


def log_files(folder: Path) -> list[Path]:
    """The log's files, oldest first: their names begin with the instant of their making."""
    return sorted(folder.glob(f"*{SUFFIX}"))


def read_file(path: Path) -> Iterator[Record]:
    """The records of one file, up to the first that is torn.

    A process killed in the midst of a write leaves half a record at the end: what stands before
    it is whole, and what would follow it was never written.

    Raises:
        TrafficError: A whole record is none that this version knows.
    """
    with path.open("rb") as file:
        unpacker = msgpack.Unpacker(file, raw=False, max_buffer_size=MAX_RECORD_BYTES)
        while True:
            try:
                values = unpacker.unpack()
            except (msgpack.OutOfData, ValueError):
                return
            if not isinstance(values, dict):
                raise TrafficError(f"{path.name} holds something that is no record")
            yield from_map(values)


def read_folder(folder: Path) -> Iterator[Record]:
    """The records of every file in `folder`, in the order of their writing.

    Raises:
        TrafficError: There is no such folder, or a record is none that this version knows.
    """
    if not folder.is_dir():
        raise TrafficError(f"there is no traffic log at {folder}")
    for path in log_files(folder):
        yield from read_file(path)
