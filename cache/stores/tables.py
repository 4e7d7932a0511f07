"""A path in, a connection to a sound database of kept answers out; all that knows its tables."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

from cache.entry import UNKNOWN_PROMPT
from cache.epochs import Selector
from cache.errors import StoreError
from cache.stores.rows import FIELDS
from cache.stores.takeover import TAKEN_OVER, taken_over

SCHEMA_VERSION: Final = 5
"""Rises with the tables below; see `cache.stores.takeover` for what becomes of an older file."""

_APPLICATION_ID: Final = 0x53434143
"""Written in the file's header, so that no other program's database is taken for ours."""

_BUSY_MS: Final = 2_000
"""Chosen: how long another process (a backup, an operator's shell) may hold the file."""

_READ_CACHE_KIB: Final = 512
"""Chosen: a quarter of SQLite's own; there are three readers, and the system keeps the file too."""

_CHECKED_BYTES: Final = 64 * 2**20
"""Chosen: a file up to this size is checked page by page at the start, 0.1 s; a larger one would
keep the first caller waiting, and each row has its checksum."""

MARK: Final = "kind, value, tenant, epoch, raised_at"

_REST: Final = ", ".join(FIELDS[1:])
_SCHEMA: Final = (
    f"""CREATE TABLE IF NOT EXISTS entries
    (entry_id INTEGER PRIMARY KEY, uses INTEGER DEFAULT 1, checksum, {_REST})""",
    "CREATE UNIQUE INDEX IF NOT EXISTS by_fingerprint ON entries (fingerprint)",
    "CREATE INDEX IF NOT EXISTS by_expiry ON entries (expires_at)",
    # In the order of the partitions, so that reading one reads nothing else.
    """CREATE TABLE IF NOT EXISTS vectors
    (partition BLOB, entry_id INTEGER, vector BLOB, PRIMARY KEY (partition, entry_id))
    WITHOUT ROWID""",
    """CREATE TRIGGER IF NOT EXISTS gone AFTER DELETE ON entries BEGIN DELETE FROM vectors
    WHERE partition = old.partition AND entry_id = old.entry_id; END""",
    """CREATE TABLE IF NOT EXISTS highest
    (entry_id INTEGER NOT NULL, epoch INTEGER NOT NULL, carried_out INTEGER NOT NULL)""",
    "INSERT INTO highest SELECT 0, 0, 0 WHERE NOT EXISTS (SELECT 1 FROM highest)",
    f"CREATE TABLE IF NOT EXISTS marks ({MARK}, PRIMARY KEY (kind, value, tenant))",
)

_NAMED: Final = {
    "all": "? = ''",
    "tenant": "tenant = ?",
    "entry": "fingerprint = unhex_(?)",
    "namespace": "namespace = ?",
    "model": "? IN (model, tier)",
    "prompt": f"prompt IN (?, '{UNKNOWN_PROMPT}')",
    "tag": "EXISTS (SELECT 1 FROM json_each(entries.tags) WHERE value = ?)",
}
"""What `Selector.covers` compares, by `Selector.by`."""


def connected(path: Path, mark: int = 0) -> sqlite3.Connection | None:
    """A connection to a sound database of ours, begun if there is none; None if the file is none.

    `mark` is that of the key that it is sealed with: see `cache.stores.cipher`.

    Raises:
        sqlite3.OperationalError: It cannot be opened, which says nothing about what it holds.
        OSError: As above.
    """
    # Before SQLite sees it: the log beside it takes the file's mode.
    path.touch(mode=0o600)
    path.chmod(0o600)
    # The owner may build the store on one thread and use it on another, one after the other.
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
        is_new = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
        if not is_new and not _is_ours(connection, mark):
            connection.close()
            return None
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # heard in a new file alone
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA recursive_triggers = ON")  # a row replaced is a row deleted
        connection.create_function("unhex_", 1, bytes.fromhex, deterministic=True)
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            version = _version(connection)
            if version in TAKEN_OVER:
                taken_over(connection, version, partial(_begin, connection))
            else:
                _begin(connection)
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID ^ mark}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    except sqlite3.OperationalError:
        # Held by another, read-only, disk full: says nothing about what the file holds.
        connection.close()
        raise
    except sqlite3.DatabaseError:
        connection.close()
        return None
    return connection


def connected_to_read(path: Path) -> sqlite3.Connection:
    """A connection that writes nothing, to a database that `connected` has opened.

    Raises:
        sqlite3.OperationalError: It cannot be opened.
    """
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
    connection.execute(f"PRAGMA cache_size = -{_READ_CACHE_KIB}")
    connection.create_function("unhex_", 1, bytes.fromhex, deterministic=True)
    return connection


def put_aside(path: Path) -> Path:
    """Rename the file and what belongs to it to the first free name; that name."""
    number = 1
    while (aside := path.with_name(f"{path.name}.unreadable-{number}")).exists():
        number += 1
    path.rename(aside)
    for suffix in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    return aside


def named(selector: Selector) -> tuple[str, tuple[str, ...]]:
    """The condition that a row of entries fulfils if `selector` names it, and its parameters."""
    return (
        f"{_NAMED[selector.by]} AND ? IN ('', tenant)",
        ("" if selector.by == "all" else selector.value, selector.tenant),
    )


@contextmanager
def translated(done: str) -> Iterator[None]:
    """SQLite's faults as ours."""
    try:
        yield
    except sqlite3.Error as fault:
        raise StoreError(f"the disk store could not be {done}: {fault}") from fault


def _begin(connection: sqlite3.Connection) -> None:
    for statement in _SCHEMA:
        connection.execute(statement)


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _is_ours(connection: sqlite3.Connection, mark: int) -> bool:
    application_id = connection.execute("PRAGMA application_id").fetchone()[0]
    if application_id != _APPLICATION_ID ^ mark:
        return False
    if _version(connection) not in {*TAKEN_OVER, SCHEMA_VERSION}:
        return False
    pages, page_bytes = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size")
    )
    if pages * page_bytes > _CHECKED_BYTES:
        return True
    return bool(connection.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")
