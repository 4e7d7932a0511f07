"""A folder of log files in, its records out, oldest file first; a torn tail ends a file quietly.

A sealed record is bytes where a plain one is a map; a folder may hold files of both kinds, if a key
was given or taken away in between.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import msgpack

from sidecar.errors import TrafficError
from sidecar.traffic.record import Record, from_map

SUFFIX = ".msgpack"
MAX_RECORD_BYTES = 64 * 1024 * 1024
"""Chosen: far above the largest body admitted, far below what would hurt the reader."""


def log_files(folder: Path) -> list[Path]:
    """The log's files, oldest first: their names begin with the instant of their making."""
    return sorted(folder.glob(f"*{SUFFIX}"))


class Cipher(Protocol):
    """What seals records and opens them again; see `sidecar.disk.sealing`."""

    def seal(self, data: bytes, bound_to: bytes) -> bytes:
        """`data`, sealed for that place."""
        ...

    def open(self, sealed: bytes, bound_to: bytes) -> bytes | None:
        """What was sealed; None if it does not open."""
        ...


def place(path: Path, number: int) -> bytes:
    """What a sealed record is bound to: its file's name, and how many stand before it."""
    return f"traffic {path.name} {number}".encode()


def read_file(path: Path, cipher: Cipher | None = None) -> Iterator[Record]:
    """The records of one file, up to the first that is torn.

    A process killed in the midst of a write leaves half a record at the end: what stands before
    it is whole, and what would follow it was never written.

    Raises:
        TrafficError: A whole record is none that this version knows, or is sealed with another
            key than that of `cipher`.
    """
    with path.open("rb") as file:
        unpacker = msgpack.Unpacker(file, raw=False, max_buffer_size=MAX_RECORD_BYTES)
        for number in count():
            try:
                values = unpacker.unpack()
            except (msgpack.OutOfData, ValueError):
                return
            if isinstance(values, bytes):
                values = _opened(values, place(path, number), cipher)
            if not isinstance(values, dict):
                raise TrafficError(f"{path.name} holds something that is no record")
            yield from_map(values)


def _opened(sealed: bytes, bound_to: bytes, cipher: Cipher | None) -> Any:
    packed = cipher.open(sealed, bound_to) if cipher is not None else None
    if packed is None:
        what = "another key" if cipher is not None else "a key, and none is given"
        raise TrafficError(f"the traffic log is sealed with {what}: {bound_to.decode()}")
    return msgpack.unpackb(packed, raw=False)


def read_folder(folder: Path, cipher: Cipher | None = None) -> Iterator[Record]:
    """The records of every file in `folder`, in the order of their writing.

    Raises:
        TrafficError: There is no such folder, or a record is none that this version knows, or
            does not open.
    """
    if not folder.is_dir():
        raise TrafficError(f"there is no traffic log at {folder}")
    for path in log_files(folder):
        yield from read_file(path, cipher)
