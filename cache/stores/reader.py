"""Keys and ids in, the entries that the disk keeps under them out; it writes nothing.

A connection of its own, so that nobody who reads waits for the one who writes: each read sees the
last whole transaction. Where a row is torn, there is none; `cache.stores.disk` deletes it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cache.entry import Entry, EntryId
from cache.epochs import Selector
from cache.index.codes import Rows, encoded
from cache.stores.cipher import Cipher
from cache.stores.rows import GET, entry_of, opened_field
from cache.stores.tables import connected_to_read, named, translated


class DiskReader:
    """One owner thread at a time; as many readers of one file as there are owners."""

    def __init__(
        self, connection: sqlite3.Connection, encoder_id: str, cipher: Cipher | None = None
    ) -> None:
        self._cipher = cipher
        self._connection = connection
        self._encoder_id = encoder_id

    @classmethod
    def open(cls, path: Path, encoder_id: str, cipher: Cipher | None = None) -> DiskReader:
        """Of the store at `path`, which a DiskStore has opened.

        Raises:
            StoreError: The file cannot be read.
        """
        with translated("opened to read"):
            return cls(connected_to_read(path), encoder_id, cipher)

    def find(self, fingerprint: bytes) -> tuple[Entry, int] | None:
        """The entry under `fingerprint`, expired or not, and how often it had been used.

        Raises:
            StoreError: The file cannot be read.
        """
        found = self._read("e.fingerprint = ?", [fingerprint])
        return found[0] if found else None

    def entries(self, entry_ids: Sequence[EntryId]) -> list[Entry]:
        """Those of `entry_ids` that are kept.

        Raises:
            StoreError: The file cannot be read.
        """
        places = ", ".join("?" * len(entry_ids))
        return [entry for entry, _ in self._read(f"e.entry_id IN ({places})", entry_ids)]

    def _read(self, where: str, values: Sequence[bytes | EntryId]) -> list[tuple[Entry, int]]:
        with translated("read"):
            rows = self._connection.execute(f"{GET} WHERE {where}", values).fetchall()
        read = ((entry_of(row, self._encoder_id, self._cipher), uses) for *row, uses in rows)
        return [(entry, uses) for entry, uses in read if entry is not None]

    def rows(self, partition: bytes, dim: int, limit: int, after: EntryId = -1) -> Rows | None:
        """The first `limit` rows of a partition with ids above `after`; None if it has none.

        Raises:
            CacheError: The file cannot be read.
        """
        with translated("read"):
            rows = self._connection.execute(
                "SELECT entry_id, vector FROM vectors WHERE partition = ? AND entry_id > ?"
                " ORDER BY entry_id LIMIT ?",
                (partition, after, limit),
            ).fetchall()
        if (cipher := self._cipher) is not None:
            rows = [(one, opened_field(cipher, one, "vector", v) or b"") for one, v in rows]
        rows = [row for row in rows if len(row[1]) == dim * 2]
        if not rows:
            return None
        ids = np.array([entry_id for entry_id, _ in rows], np.int64)
        halves = np.frombuffer(b"".join(vector for _, vector in rows), "<f2")
        return Rows(ids, encoded(halves.reshape(-1, dim).astype(np.float32)))  # (n, dim)

    def newest(self, partition: bytes, count: int) -> EntryId:
        """The id after which `count` rows of a partition follow; -1 if it has no more than that.

        Raises:
            StoreError: The file cannot be read.
        """
        with translated("read"):
            row = self._connection.execute(
                "SELECT entry_id FROM vectors WHERE partition = ? ORDER BY entry_id DESC"
                " LIMIT 1 OFFSET ?",
                (partition, count),
            ).fetchone()
        return int(row[0]) if row else -1

    def has(self, partition: bytes) -> bool:
        """It has a vector.

        Raises:
            StoreError: The file cannot be read.
        """
        with translated("read"):
            row = self._connection.execute(
                "SELECT 1 FROM vectors WHERE partition = ? LIMIT 1", (partition,)
            ).fetchone()
        return row is not None

    def sizes(self, selector: Selector, after: EntryId, until: EntryId) -> tuple[int, int]:
        """How many entries with ids in (after, until] `selector` names, and their bytes.

        Raises:
            StoreError: The file cannot be read.
        """
        condition, values = named(selector)
        with translated("read"):
            row = self._connection.execute(
                "SELECT count(*), ifnull(sum(length(body) + length(question)), 0) FROM entries"  # noqa: S608 - our own names
                f" WHERE entry_id > ? AND entry_id <= ? AND {condition}",
                (after, until, *values),
            ).fetchone()
        return int(row[0]), int(row[1])

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()
