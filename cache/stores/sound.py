"""A path and a table in, a connection to a sound SQLite file that holds it out, or none.

For the small files beside the cache's own, which have one table each and no older makes.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final, NamedTuple

_BUSY_MS: Final = 2_000
"""Chosen: how long another process (a backup, an operator's shell) may hold the file."""


class Make(NamedTuple):
    """What a file is.

    Attributes:
        application_id: Written in its header, so that no other program's database is taken for it;
            together with the mark of the key that it is sealed with, so that no other key is.
        version: Of its table.
        schema: Makes the table where it is not there.
    """

    application_id: int
    version: int
    schema: str


def connected(path: Path, make: Make) -> sqlite3.Connection | None:
    """A connection to a sound database of this make, begun if there is none; None: it is none.

    Raises:
        sqlite3.OperationalError: It cannot be opened, which says nothing about what it holds.
        OSError: As above.
    """
    # Before SQLite sees it: the log beside it takes the file's mode.
    path.touch(mode=0o600)
    path.chmod(0o600)
    # Opened on one thread and used on others, one after the other.
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
        is_new = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
        if not is_new and not _is_of(connection, make):
            connection.close()
            return None
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(make.schema)
            connection.execute(f"PRAGMA application_id = {make.application_id}")
            connection.execute(f"PRAGMA user_version = {make.version}")
    except sqlite3.OperationalError:
        # Held by another, read-only, disk full: says nothing about what the file holds.
        connection.close()
        raise
    except sqlite3.DatabaseError:
        connection.close()
        return None
    return connection


def _is_of(connection: sqlite3.Connection, make: Make) -> bool:
    application_id = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if (application_id, version) != (make.application_id, make.version):
        return False
    return bool(connection.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")
