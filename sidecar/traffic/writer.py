"""Records in, files of msgpack out, on a thread of its own; a full queue or disk drops and counts.

Rule 1: `put` never waits and never raises. Rule 2: one thread owns the open file. Rule 3: a file is
closed and a new one begun when it is full; a file is never written to again after a restart, so
that a torn tail stays a tail.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final, Protocol

import msgpack

from sidecar.disk.sealing import cipher_of
from sidecar.traffic.reader import SUFFIX, log_files, place
from sidecar.traffic.record import AgainRecord, Record, RequestRecord, to_map
from sidecar.traffic.redaction import Redaction

MAX_QUEUED: Final = 10_000
"""Chosen: ten seconds of a thousand requests a second, some tens of megabytes at worst."""

_UNPACKABLE: Final = (ValueError, TypeError, OverflowError, RecursionError)
"""What msgpack and UTF-8 say of values that they have no bytes for: half a surrogate pair, say."""

_GATHER_S: Final = 0.1
"""Chosen: a kill -9 costs the log its last tenth of a second. Waking the thread for each record
cost an exact hit a tenth of its time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficConfig:
    """What is logged, and how long it is kept.

    Attributes:
        dir: Folder of the log; empty writes none.
        sample: Share of requests that are logged, in [0, 1].
        redact: Names of PATTERNS, regular expressions, or `all` to drop every text.
        rotate_bytes: Size at which a new file is begun.
        keep_days: Days after which a file is deleted.
        max_bytes: Of all files together; the oldest leave before a new one is begun.
        key: Of 32 bytes, as hex or base64, better as `env:NAME`: records are sealed with it; empty
            writes them as they are.

    Raises:
        ValueError: A value lies outside its range, or a pattern or the key cannot be read.
    """

    dir: str = ""
    sample: float = 1.0
    redact: tuple[str, ...] = ()
    rotate_bytes: int = 64 * 1024 * 1024
    keep_days: float = 30.0
    max_bytes: int = 8 * 1024**3
    key: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if not 0.0 <= self.sample <= 1.0:
            raise ValueError(f"sample must lie in [0, 1], is {self.sample}")
        if self.rotate_bytes <= 0 or self.keep_days <= 0:
            raise ValueError("rotate_bytes and keep_days must be positive")
        if self.max_bytes < 2 * self.rotate_bytes:
            raise ValueError("max_bytes must be at least twice rotate_bytes")
        Redaction(self.redact)  # refuses a pattern that cannot be read
        cipher_of(self.key)  # refuses what is no key


_PIECE_BYTES: Final = 2**20
"""Chosen: written at a time: a second copy of what waits, and no more of it."""

_HEAD: Final = b"\xde" + len(to_map(RequestRecord(request_id="", at=0.0, tenant=""))).to_bytes(
    2, "big"
)
"""Source: msgpack's specification, "map format": `map 16`, of as many pairs as a request has."""

_SAMPLED: Final = (RequestRecord, AgainRecord)

_HEAD_BYTES: Final = 3
"""Source: as above; a map of up to 15 pairs has a head of one byte."""


class Hook(Protocol):
    """Hears what the log cannot raise."""

    def dropped_record(self, reason: str) -> None:
        """`full`: no room in the queue; `disk`: the file failed; `odd`: it has no form in bytes."""
        ...


class TrafficWriter:
    """The log. `put` from any thread; `close` once."""

    def __init__(self, config: TrafficConfig, hook: Hook, dice: Callable[[], float]) -> None:
        self._config = config
        self._hook = hook
        self._dice = dice
        self._redaction = Redaction(config.redact)
        # Appending to a deque needs no lock, and wakes nobody: the thread looks by itself.
        self._waiting: deque[Record | AgainRecord] = deque()
        self._is_over = threading.Event()
        self._cipher = cipher_of(config.key)
        self._pack = msgpack.Packer().pack  # on the log's thread alone
        self._file: IO[bytes] | None = None
        self._place = Path(), 0  # the open file, and the records in it
        self._file_bytes = 0  # those of `_parts` included
        self._parts: list[bytes] = []  # packed, and not written yet
        self._parts_bytes = 0
        self._thread = threading.Thread(target=self._run, name="traffic-log", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def put(self, record: Record | AgainRecord) -> None:
        """Take one record; feedback is never sampled away."""
        if isinstance(record, _SAMPLED) and self._dice() >= self._config.sample:
            return
        if len(self._waiting) >= MAX_QUEUED:
            self._hook.dropped_record("full")
        else:
            self._waiting.append(record)

    def close(self) -> None:
        """Write what waits, and close the file."""
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over.wait(_GATHER_S):
            self._write()
        self._write()
        self._close_file()

    def _write(self) -> None:
        """Write what waits by now, in as few steps as may be: each lets go of the interpreter."""
        records = [self._waiting.popleft() for _ in range(len(self._waiting))]
        try:
            for record in records:
                self._gather(record)
            self._flush()
        except OSError:
            # A full disk: what stands is whole up to its torn tail, and a new file is tried next.
            for _ in records:
                self._hook.dropped_record("disk")
            self._close_file()

    def _gather(self, record: Record | AgainRecord) -> None:
        self._open_file()
        try:
            packed = self._packed(record)
        except _UNPACKABLE:
            # It must not take the thread along, and with it every record after it.
            self._hook.dropped_record("odd")
            return
        self._parts.append(packed)
        self._parts_bytes += len(packed)
        self._file_bytes += len(packed)
        if self._parts_bytes >= _PIECE_BYTES:
            self._flush()

    def _flush(self) -> None:
        parts, self._parts, self._parts_bytes = self._parts, [], 0
        if parts and self._file is not None:
            self._file.write(b"".join(parts))
            self._file.flush()

    def _packed(self, record: Record | AgainRecord) -> bytes:
        if isinstance(record, AgainRecord):
            packed = self._packed_again(record)
        else:
            # One packer for all: each has a room of its own, 256 KiB, to be had and given back.
            packed = self._pack(self._redaction.applied(to_map(record)))
        if self._cipher is not None:
            path, number = self._place
            packed = msgpack.packb(self._cipher.seal(packed, place(path, number)))
            self._place = path, number + 1
        return packed

    def _packed_again(self, record: AgainRecord) -> bytes:
        """As `_packed` of the whole of it, of which all that is not new is covered and packed once.

        A map is its length and then its pairs, in any order: msgpack's specification, "map format".
        """
        pattern, news = record.pattern, record.news()
        if not pattern.packed:
            values = self._redaction.applied(to_map(pattern.record))
            pairs = {name: value for name, value in values.items() if name not in news}
            pattern.packed = msgpack.packb(pairs)[_HEAD_BYTES:]
        new: bytes = self._pack(news)[1:]
        return _HEAD + new + pattern.packed

    def _open_file(self) -> None:
        if self._file is not None and self._file_bytes >= self._config.rotate_bytes:
            self._flush()
            self._close_file()
        if self._file is None:
            folder = Path(self._config.dir)
            folder.mkdir(parents=True, exist_ok=True)
            self._forget_old(folder)
            name = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f") + SUFFIX
            self._file = (folder / name).open("xb")
            (folder / name).chmod(0o600)
            self._place, self._file_bytes = (folder / name, 0), 0

    def _forget_old(self, folder: Path) -> None:
        oldest_at = time.time() - self._config.keep_days * 86400.0
        # The new file gets its room first, then the newest of those that stand.
        room = self._config.max_bytes - self._config.rotate_bytes
        for path in reversed(log_files(folder)):
            told = path.stat()
            room -= told.st_size
            if told.st_mtime < oldest_at or room < 0:
                path.unlink(missing_ok=True)

    def _close_file(self) -> None:
        file, self._file, self._parts, self._parts_bytes = self._file, None, [], 0
        if file is not None:
            try:
                file.close()
            except OSError:
                self._hook.dropped_record("disk")


class NoLog:
    """The log that is not written."""

    def put(self, record: Record | AgainRecord) -> None:
        """Drop it."""

    def start(self) -> None:
        """Nothing to begin."""

    def close(self) -> None:
        """Nothing to close."""
