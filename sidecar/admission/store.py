"""Spendings and levels in, the same after a restart out: one small SQLite file.

Rule 1: nothing that `write` returned from is lost to a `kill -9`: a write-ahead log, a transaction
        each time. (Power failing may cost the last of them, and never the file.)
Rule 2: of the days those alone stay that are written of; a limit of rows bounds what is read.
Rule 3: a file that is no sound database of this schema is renamed aside and a new one begun.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Final, get_args

from cache.stores.sound import Make, opened, put_aside, tables
from sidecar.admission.purses import Spending
from sidecar.admission.rates import Kind, Level
from sidecar.errors import AdmissionStoreError

SCHEMA_VERSION: Final = 1
"""Rises with the tables below."""

MAX_ROWS: Final = 250_000
"""Chosen: two days of as many users as have purses, and the tenants; read in about a second."""

_APPLICATION_ID: Final = 0x53434144
"""Written in the file's header, so that no other program's database is taken for ours."""

_SPENDINGS: Final = (
    "CREATE TABLE IF NOT EXISTS spendings (tenant TEXT, user TEXT, day INTEGER, usd TEXT,"
    " PRIMARY KEY (tenant, user, day)) WITHOUT ROWID"
)
_LEVELS: Final = (
    "CREATE TABLE IF NOT EXISTS levels (tenant TEXT, user TEXT, kind TEXT, held REAL, at REAL,"
    " PRIMARY KEY (tenant, user, kind)) WITHOUT ROWID"
)

_LEVEL_S: Final = 60.0
"""A bucket is full again after a minute, and what it was before says nothing."""

_NO_DAY: Final = -1


class AdmissionStore:
    """One owner thread at a time.

    Attributes:
        renamed_to: Where a file that could not be read was put; None if there was none.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.renamed_to: Path | None = None

    @classmethod
    def open(cls, path: Path) -> AdmissionStore:
        """The store at `path`, begun if there is none; see `renamed_to`.

        Raises:
            AdmissionStoreError: The folder cannot be written, or another process holds the file.
        """
        make = Make(_APPLICATION_ID, SCHEMA_VERSION, tables(_SPENDINGS, _LEVELS))
        try:
            connection, renamed_to = opened(path, make, put_aside)
        except (sqlite3.Error, OSError) as fault:
            raise AdmissionStoreError(f"{path} cannot be opened: {fault}") from fault
        store = cls(connection)
        store.renamed_to = renamed_to
        return store

    def load(self) -> tuple[list[Spending], list[Level]]:
        """All that stands in it, the latest days first.

        Raises:
            AdmissionStoreError: The file cannot be read.
        """
        with _translated("read"):
            spent = self._connection.execute(
                "SELECT tenant, user, day, usd FROM spendings"
                " ORDER BY day = ? DESC, day DESC LIMIT ?",
                (_NO_DAY, MAX_ROWS),
            ).fetchall()
            levels = self._connection.execute(
                "SELECT tenant, user, kind, held, at FROM levels ORDER BY at DESC LIMIT ?",
                (MAX_ROWS,),
            ).fetchall()
        spendings = [each for row in spent if (each := _spending(*row)) is not None]
        known = get_args(Kind)
        return spendings, [Level(t, _user(u), k, h, at) for t, u, k, h, at in levels if k in known]

    def write(self, spendings: Sequence[Spending], levels: Sequence[Level], at: float) -> None:
        """Keep these, all or nothing; `at` is the instant, in seconds since the epoch.

        Raises:
            AdmissionStoreError: Nothing was written (disk full, file held by another).
        """
        days = sorted({each.day for each in spendings if each.day is not None})
        with _translated("written"), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(
                "INSERT OR REPLACE INTO spendings VALUES (?, ?, ?, ?)",
                [(s.tenant, _named(s.user), _day(s.day), str(s.committed_usd)) for s in spendings],
            )
            self._connection.executemany(
                "INSERT OR REPLACE INTO levels VALUES (?, ?, ?, ?, ?)",
                [
                    (each.tenant, _named(each.user), each.kind, each.held, each.at)
                    for each in levels
                ],
            )
            if days:
                self._connection.execute(
                    "DELETE FROM spendings WHERE day != ? AND day < ?", (_NO_DAY, days[0] - 1)
                )
            self._connection.execute("DELETE FROM levels WHERE at < ?", (at - _LEVEL_S,))

    def close(self) -> None:
        """Fold the log into the file and let go of it.

        Raises:
            AdmissionStoreError: The log could not be folded in; the next start does it.
        """
        with _translated("closed"):
            self._connection.close()


def _named(user: str | None) -> str:
    """A user may have any name, the empty one too; the tenant as a whole has none."""
    return "" if user is None else f"u:{user}"


def _user(named: str) -> str | None:
    return named.removeprefix("u:") if named else None


def _day(day: int | None) -> int:
    return _NO_DAY if day is None else day


def _spending(tenant: str, named: str, day: int, usd: str) -> Spending | None:
    try:
        amount = Decimal(usd)
    except InvalidOperation:
        return None
    if not amount.is_finite():
        return None
    return Spending(tenant, _user(named), None if day == _NO_DAY else day, amount)


@contextmanager
def _translated(done: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as fault:
        raise AdmissionStoreError(f"what was spent could not be {done}: {fault}") from fault
