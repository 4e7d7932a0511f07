"""A path in, a connection to a sound database of kept answers out; all that knows its tables."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from cache.entry import UNKNOWN_PROMPT
from cache.epochs import Selector
from cache.errors import StoreError
from cache.stores import sound
from cache.stores.rows import FIELDS
from cache.stores.sound import Make
from cache.stores.takeover import TAKEN_OVER, taken_over

SCHEMA_VERSION: Final = 5
"""Rises with the tables below; see `cache.stores.takeover` for what becomes of an older file."""

_APPLICATION_ID: Final = 0x53434143
"""Written in the file's header, so that no other program's database is taken for ours."""

_READ_CACHE_KIB: Final = 512
"""Chosen: a quarter of SQLite's own; there are three readers, and the system keeps the file too."""

_SETTINGS: Final = (
    "PRAGMA auto_vacuum = INCREMENTAL",  # heard in a new file alone
    "PRAGMA recursive_triggers = ON",  # a row replaced is a row deleted
)

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


def opened(path: Path, mark: int = 0) -> tuple[sqlite3.Connection, Path | None]:
    """A connection to the kept answers at `path`; see `cache.stores.sound` for what it raises.

    `mark` is that of the key that they are sealed with: see `cache.stores.cipher`.
    """
    make = Make(_APPLICATION_ID ^ mark, SCHEMA_VERSION, _begin, _SETTINGS, TAKEN_OVER)
    connection, moved_to = sound.opened(path, make, sound.put_aside)
    connection.create_function("unhex_", 1, bytes.fromhex, deterministic=True)
    return connection, moved_to


def connected_to_read(path: Path) -> sqlite3.Connection:
    """A connection that writes nothing, to a database that `opened` has begun.

    Raises:
        sqlite3.OperationalError: It cannot be opened.
    """
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.execute(f"PRAGMA busy_timeout = {sound.BUSY_MS}")
    connection.execute(f"PRAGMA cache_size = -{_READ_CACHE_KIB}")
    connection.create_function("unhex_", 1, bytes.fromhex, deterministic=True)
    return connection


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


def _begin(connection: sqlite3.Connection, version: int) -> None:
    make_tables = sound.tables(*_SCHEMA)
    if version in TAKEN_OVER:
        taken_over(connection, version, partial(make_tables, connection, version))
    else:
        make_tables(connection, version)
