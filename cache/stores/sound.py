"""A path and what its file shall be in, a connection to a sound SQLite file out, or none.

Every SQLite file of ours is opened here, so that all of them are as private, as patient with
another process that holds them, and as mistrustful of what they find.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

BUSY_MS: Final = 2_000
"""Chosen: how long another process (a backup, an operator's shell) may hold the file."""

_CHECKED_BYTES: Final = 64 * 2**20
"""Chosen: a file up to this size is checked page by page at the start, 0.1 s; a larger one would
keep the first caller waiting. What is worth more than that carries a checksum in each row."""


class Make(NamedTuple):
    """What a file is.

    Attributes:
        application_id: Written in its header, so that no other program's database is taken for it;
            together with the mark of the key that it is sealed with, so that no other key is.
        version: Of its tables.
        begin: Within a transaction, and told the version that is there (0: none): makes what is
            not there yet, and takes over what is `older`.
        settings: Of each connection, said before anything is written.
        older: Versions that `begin` takes over.
    """

    application_id: int
    version: int
    begin: Callable[[sqlite3.Connection, int], None]
    settings: Sequence[str] = ()
    older: frozenset[int] = frozenset()


def tables(*statements: str) -> Callable[[sqlite3.Connection, int], None]:
    """A `Make.begin` that runs `statements`, whatever is there."""

    def begin(connection: sqlite3.Connection, _version: int) -> None:
        for statement in statements:
            connection.execute(statement)

    return begin


def opened(
    path: Path, make: Make, unfit: Callable[[Path], Path | None]
) -> tuple[sqlite3.Connection, Path | None]:
    """A connection, and what `unfit` says of a file that was not of this make.

    `unfit` takes such a file out of the way: see `put_aside`, `deleted`.

    Raises:
        sqlite3.Error: The file cannot be opened, or is not sound though it was just begun.
        OSError: The folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    connection, moved_to = connected(path, make), None
    if connection is None:
        moved_to = unfit(path)
        connection = connected(path, make)
    if connection is None:
        raise sqlite3.DatabaseError("it is not a sound database though it was just begun")
    return connection, moved_to


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
        if not _begun(connection, make):
            connection.close()
            return None
    except sqlite3.OperationalError:
        # Held by another, read-only, disk full: says nothing about what the file holds.
        connection.close()
        raise
    except sqlite3.DatabaseError:
        connection.close()
        return None
    return connection


def put_aside(path: Path) -> Path:
    """Rename the file and what belongs to it to the first free name; that name."""
    number = 1
    while (aside := path.with_name(f"{path.name}.unreadable-{number}")).exists():
        number += 1
    path.rename(aside)
    for suffix in _BESIDE:
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    return aside


def deleted(path: Path) -> None:
    """Remove the file and what belongs to it: for what can be made again."""
    for suffix in ("", *_BESIDE):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


_BESIDE: Final = ("-wal", "-shm")
"""What SQLite keeps beside a file."""


def _begun(connection: sqlite3.Connection, make: Make) -> bool:
    """Whether it is of this make, or new; then it has its tables."""
    value = partial(_value, connection)
    connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    is_new = value("SELECT count(*) FROM sqlite_master") == 0
    if not is_new and not _is_of(make, value):
        return False
    for setting in make.settings:
        connection.execute(setting)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        make.begin(connection, value("PRAGMA user_version"))
        connection.execute(f"PRAGMA application_id = {make.application_id}")
        connection.execute(f"PRAGMA user_version = {make.version}")
    return True


def _is_of(make: Make, value: Callable[[str], Any]) -> bool:
    if value("PRAGMA application_id") != make.application_id:
        return False
    if value("PRAGMA user_version") not in {*make.older, make.version}:
        return False
    if value("PRAGMA page_count") * value("PRAGMA page_size") > _CHECKED_BYTES:
        return True
    return bool(value("PRAGMA quick_check(1)") == "ok")


def _value(connection: sqlite3.Connection, statement: str) -> Any:
    """What a statement says of one row and one column."""
    return connection.execute(statement).fetchone()[0]
