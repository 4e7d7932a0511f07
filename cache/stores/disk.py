"""Entries in, the same entries out after a restart: one SQLite file.

What may be lost. The process killed (`kill -9`): nothing that `write` returned from; its pages are
the kernel's, and the write-ahead log is replayed at the next start. Power lost: with
`synchronous=NORMAL` the log is synced at checkpoints only, so the last transactions may be gone,
each of them whole, and the file stays sound. A cache may forget; it may not lie, so each row
carries a checksum over all its fields, and one that does not match is deleted and counted.
Source: https://www.sqlite.org/pragma.html#pragma_synchronous

Rule 1: an id is never used again: the highest one ever written is kept apart from the rows.
Rule 2: a vector is only given back under the encoder that made it; a row of another encoder comes
        back without its meaning, to be found by its exact key.
Rule 3: a file that is no sound database of this schema is renamed aside and a new one begun.
Rule 4: an invalidation's mark is kept in the same transaction as what it removes; see cache.epochs.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from decimal import Decimal, InvalidOperation
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson

from cache.entry import UNKNOWN_PROMPT, Entry, EntryId, Vector
from cache.epochs import EVERYTHING, Mark, Selector
from cache.errors import StoreError

SCHEMA_VERSION: Final = 3
"""Rises with the tables below. A file of schema 2 is taken over: its rows do not say under which
prompt they were answered, and are told apart by a `prompt` that is null. An older one is put aside:
its entries do not say whose they are, so that no invalidation could name them."""

_TAKEN_OVER: Final = 2

_APPLICATION_ID: Final = 0x53434143
"""Written in the file's header, so that no other program's database is taken for ours."""

_CHECKSUM_BYTES: Final = 16
_LOAD_ROWS: Final = 500
"""Chosen: rows read at a time; bounds what a load holds beside the entries it gave."""

_BUSY_MS: Final = 2_000
"""Chosen: how long another process (a backup, an operator's shell) may hold the file."""

_FIELDS: Final = (
    "entry_id",
    "encoder_id",
    "fingerprint",
    "partition",
    "question",
    "vector",
    "body",
    "tier",
    "model",
    "tokens_in",
    "tokens_out",
    "cost_usd",
    "created_at",
    "expires_at",
    "tags",
    "tenant",
    "namespace",
    "epoch",
    "prompt",
)
_COLUMNS: Final = ", ".join((*_FIELDS, "checksum"))
_MARKS: Final = ", ".join("?" * (len(_FIELDS) + 1))

_MARK: Final = "kind, value, tenant, epoch, raised_at"
_REST: Final = ", ".join((*_FIELDS[1:], "checksum"))
_SCHEMA: Final = (
    f"CREATE TABLE IF NOT EXISTS entries (entry_id INTEGER PRIMARY KEY, {_REST})",
    "CREATE UNIQUE INDEX IF NOT EXISTS by_fingerprint ON entries (fingerprint)",
    "CREATE TABLE IF NOT EXISTS highest (entry_id INTEGER NOT NULL)",
    "INSERT INTO highest SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM highest)",
    f"CREATE TABLE IF NOT EXISTS marks ({_MARK}, PRIMARY KEY (kind, value, tenant))",
)


class DiskStore:
    """The entries that outlive the process. One owner thread at a time.

    Attributes:
        encoder_id: Whose vectors it takes and gives.
        renamed_to: Where a file that could not be read was put; None if there was none.
        dropped: Rows that `load` found torn and deleted.
        expired: Rows that `load` found expired and deleted.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, encoder_id: str) -> None:
        self._path = path
        self._connection = connection
        self.encoder_id = encoder_id
        self.renamed_to: Path | None = None
        self.dropped = 0
        self.expired = 0

    @classmethod
    def open(cls, path: Path, encoder_id: str | None) -> DiskStore:
        """The store at `path`, begun if there is none; see `renamed_to`.

        Without an `encoder_id` that of the newest vector is taken.

        Raises:
            StoreError: The folder cannot be written, or another process holds the file.
        """
        renamed_to = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = _connected(path)
            if connection is None:
                renamed_to = _put_aside(path)
                connection = _connected(path)
        except (sqlite3.Error, OSError) as fault:
            raise StoreError(f"{path} cannot be opened: {fault}") from fault
        if connection is None:
            raise StoreError(f"{path} is not a sound database though it was just begun")
        store = cls(path, connection, _newest(connection) if encoder_id is None else encoder_id)
        store.renamed_to = renamed_to
        return store

    def load(self, now_at: float) -> Iterator[Entry]:
        """Every entry that may still be served, the least recently made first.

        Raises:
            StoreError: The file cannot be read.
        """
        last = -1
        with _translated("read"):
            while rows := self._connection.execute(
                f"SELECT {_COLUMNS} FROM entries WHERE entry_id > ?"  # noqa: S608 - our own names
                " ORDER BY entry_id LIMIT ?",
                (last, _LOAD_ROWS),
            ).fetchall():
                last = rows[-1][0]
                unfit = []
                for row in rows:
                    entry = _entry(row, self.encoder_id)
                    if entry is not None and entry.expires_at > now_at:
                        yield entry
                        continue
                    unfit.append(row[0])
                    self.dropped += entry is None
                    self.expired += entry is not None
                self._delete(unfit)

    def write(
        self, puts: Sequence[Entry], removals: Sequence[EntryId], marks: Sequence[Mark] = ()
    ) -> None:
        """Keep and forget, all or nothing; kept against `kill -9` once this returns.

        Raises:
            StoreError: Nothing was written (disk full, file gone, file held by another).
        """
        rows = [_row(entry, self.encoder_id) for entry in puts]
        highest = max([row[0] for row in rows] + list(removals), default=0)
        with _translated("written"), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(
                "DELETE FROM entries WHERE entry_id = ?", [(entry_id,) for entry_id in removals]
            )
            self._connection.executemany(
                f"INSERT OR REPLACE INTO entries ({_COLUMNS}) VALUES ({_MARKS})",  # noqa: S608 - as above
                rows,
            )
            self._connection.execute("UPDATE highest SET entry_id = max(entry_id, ?)", (highest,))
            for mark in marks:
                self._mark(mark)

    def _mark(self, mark: Mark) -> None:
        selector = mark.selector
        if selector == EVERYTHING:
            self._connection.execute("DELETE FROM marks")
        self._connection.execute(
            "INSERT OR REPLACE INTO marks VALUES (?, ?, ?, ?, ?)",
            (selector.by, selector.value, selector.tenant, mark.epoch, mark.raised_at),
        )

    def marks(self) -> list[Mark]:
        """Every invalidation still in force.

        Raises:
            StoreError: The file cannot be read.
        """
        with _translated("read"):
            rows = self._connection.execute(f"SELECT {_MARK} FROM marks").fetchall()  # noqa: S608 - our own names
        return [Mark(Selector(*named), epoch, raised_at) for *named, epoch, raised_at in rows]

    def _delete(self, entry_ids: Iterable[EntryId]) -> None:
        with self._connection:
            self._connection.executemany(
                "DELETE FROM entries WHERE entry_id = ?", [(entry_id,) for entry_id in entry_ids]
            )

    def max_entry_id(self) -> EntryId:
        """The highest id that was ever written, deleted or not; 0 in a new file.

        Raises:
            StoreError: The file cannot be read.
        """
        with _translated("read"):
            query = (
                "SELECT max(entry_id, (SELECT ifnull(max(entry_id), 0) FROM entries)) FROM highest"
            )
            return int(self._connection.execute(query).fetchone()[0])

    @property
    def size_bytes(self) -> int:
        """What the file and its write-ahead log take on disk."""
        files = (self._path, self._path.with_name(self._path.name + "-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def close(self) -> None:
        """Fold the log into the file and let go of it.

        Raises:
            StoreError: The log could not be folded in; the next start does it.
        """
        with _translated("closed"):
            self._connection.close()


def _connected(path: Path) -> sqlite3.Connection | None:
    """A connection to a sound database of ours, or None if the file is none."""
    # The owner may build the store on one thread and use it on another, one after the other.
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
        is_new = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
        if not is_new and not _is_ours(connection):
            connection.close()
            return None
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA:
                connection.execute(statement)
            if _version(connection) == _TAKEN_OVER:
                connection.execute("ALTER TABLE entries ADD COLUMN prompt")
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    except sqlite3.OperationalError:
        # Held by another, read-only, disk full: says nothing about what the file holds.
        connection.close()
        raise
    except sqlite3.DatabaseError:
        connection.close()
        return None
    return connection


def _newest(connection: sqlite3.Connection) -> str:
    with _translated("read"):
        row = connection.execute(
            "SELECT encoder_id FROM entries WHERE vector IS NOT NULL ORDER BY entry_id DESC LIMIT 1"
        ).fetchone()
    return str(row[0]) if row else ""


def _is_ours(connection: sqlite3.Connection) -> bool:
    application_id = connection.execute("PRAGMA application_id").fetchone()[0]
    if application_id != _APPLICATION_ID:
        return False
    if _version(connection) not in {_TAKEN_OVER, SCHEMA_VERSION}:
        return False
    return bool(connection.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _put_aside(path: Path) -> Path:
    """Rename the file and what belongs to it to the first free name; that name."""
    number = 1
    while (aside := path.with_name(f"{path.name}.unreadable-{number}")).exists():
        number += 1
    path.rename(aside)
    for suffix in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    return aside


@contextmanager
def _translated(done: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as fault:
        raise StoreError(f"the disk store could not be {done}: {fault}") from fault


def _row(entry: Entry, encoder_id: str) -> tuple[Any, ...]:
    # Half precision moves a cosine by less than 0.0005 and halves the file's vectors.
    vector = entry.vector.astype("<f2").tobytes() if entry.vector is not None else None
    fields = (
        entry.entry_id,
        encoder_id,
        entry.fingerprint,
        entry.partition,
        entry.question,
        vector,
        entry.body,
        entry.tier,
        entry.model,
        entry.tokens_in,
        entry.tokens_out,
        str(entry.cost_usd),
        float(entry.created_at),
        float(entry.expires_at),
        orjson.dumps(entry.tags),
        entry.tenant,
        entry.namespace,
        entry.epoch,
        entry.prompt,
    )
    return (*fields, _checksum(fields))


def _checksum(fields: Sequence[Any]) -> bytes:
    """Over each field's type, length and value, so that no two rows write the same bytes."""
    hashed = blake2b(digest_size=_CHECKSUM_BYTES)
    for field in fields:
        value = field if isinstance(field, bytes) else repr(field).encode()
        hashed.update(b"%s %d " % (type(field).__name__.encode(), len(value)))
        hashed.update(value)
    return hashed.digest()


def _entry(row: Sequence[Any], encoder_id: str) -> Entry | None:
    """The entry that `row` holds, None if the row is torn."""
    *fields, checksum = row
    # A row of schema 2 has no prompt, and its checksum knows of none.
    told = fields if fields[-1] is not None else fields[:-1]
    if checksum != _checksum(told):
        return None
    kept = dict(zip(_FIELDS, fields, strict=True))
    is_same_encoder = kept.pop("encoder_id") == encoder_id
    raw = kept.pop("vector")
    kept["prompt"] = UNKNOWN_PROMPT if kept["prompt"] is None else kept["prompt"]
    kept["vector"] = _vector(raw) if is_same_encoder and raw is not None else None
    if kept["vector"] is None:
        kept["partition"], kept["question"] = None, ""
    try:
        kept["cost_usd"] = Decimal(kept["cost_usd"])
        kept["tags"] = tuple(orjson.loads(kept["tags"]))
    except (InvalidOperation, orjson.JSONDecodeError):
        return None
    return Entry(**kept)


def _vector(raw: bytes) -> Vector | None:
    """Unit length again: rounding to half precision moved it. None if it has no length."""
    vector = np.frombuffer(raw, dtype="<f2").astype(np.float32)
    length = float(np.linalg.norm(vector))
    return vector / np.float32(length) if length > 0.0 else None
