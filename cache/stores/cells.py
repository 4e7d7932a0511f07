"""Where the cells of large partitions lie in, the same after a restart out: a small SQLite file.

Laying the cells of a hundred thousand vectors takes half a minute, reading the vectors themselves
a few seconds. What is kept here follows from what the other file holds and can be worked out anew,
so that nothing of it is ever repaired or put aside: what does not suit is dropped.

Rule 1: each row carries a checksum over all of it and the encoder's identity; one that does not
        match is deleted and not given.
Rule 2: a file that is no sound database of this schema, or of another key, is deleted.
Rule 3: no more than `MAX_KEPT` partitions; what was kept longest ago leaves first.
Rule 4: a partition that the disk holds no more is forgotten here too: a centre of few is as good as
        the question itself.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from struct import pack
from typing import Final

import numpy as np

from cache.errors import StoreError
from cache.index.cells import Cells
from cache.stores.cipher import Cipher, mark_of
from cache.stores.sound import Make, deleted, opened, tables
from cache.stores.tables import translated

SCHEMA_VERSION: Final = 1
"""Rises with the row below, and with what a code or a fit is."""

MAX_KEPT: Final = 64
"""Chosen: partitions of more than 32,768 entries; 0.7 MB each at 100,000, 2.3 at a million."""

_APPLICATION_ID: Final = 0x53434345
"""Written in the file's header, so that no other program's database is taken for ours."""

_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS cells"
    " (partition BLOB PRIMARY KEY, dim INTEGER, fit REAL, centres BLOB, checksum BLOB)"
)

_SETTINGS: Final = ("PRAGMA secure_delete = ON",)
"""See rule 4."""


class CellStore:
    """One owner thread at a time."""

    def __init__(
        self, connection: sqlite3.Connection, encoder_id: str, cipher: Cipher | None = None
    ) -> None:
        self._connection = connection
        self._encoder_id = encoder_id
        self._cipher = cipher

    @classmethod
    def open(cls, path: Path, encoder_id: str, cipher: Cipher | None = None) -> CellStore:
        """The store at `path`; begun anew if there is none that suits.

        Raises:
            StoreError: The folder cannot be written, or another process holds the file.
        """
        make = Make(_APPLICATION_ID ^ mark_of(cipher), SCHEMA_VERSION, tables(_SCHEMA), _SETTINGS)
        try:
            connection, _ = opened(path, make, deleted)
        except (sqlite3.Error, OSError) as fault:
            raise StoreError(f"{path} cannot be opened: {fault}") from fault
        return cls(connection, encoder_id, cipher)

    def find(self, partition: bytes, dim: int) -> Cells | None:
        """The cells of a partition; None if there are none that suit.

        Raises:
            StoreError: The file cannot be read.
        """
        with translated("read"):
            row = self._connection.execute(
                "SELECT dim, fit, centres, checksum FROM cells WHERE partition = ?", (partition,)
            ).fetchone()
            if row is None:
                return None
            kept_dim, fit, kept, checksum = row
            is_whole = checksum == self._checksum(partition, dim, fit, kept)
            codes = self._opened(partition, kept) if is_whole and kept_dim == dim else None
            if codes is None:
                self._connection.execute("DELETE FROM cells WHERE partition = ?", (partition,))
                return None
        return Cells(np.frombuffer(codes, np.uint8).reshape(-1, dim), fit)

    def _opened(self, partition: bytes, kept: bytes) -> bytes | None:
        return kept if self._cipher is None else self._cipher.open(kept, _place(partition))

    def keep(self, partition: bytes, cells: Cells) -> None:
        """Keep the cells of a partition in place of those before; the oldest may have to leave.

        Raises:
            StoreError: Nothing was written.
        """
        codes, dim = cells.centres.tobytes(), cells.centres.shape[1]
        kept = codes if self._cipher is None else self._cipher.seal(codes, _place(partition))
        checksum = self._checksum(partition, dim, cells.fit, kept)
        with translated("written"), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute(
                "INSERT OR REPLACE INTO cells VALUES (?, ?, ?, ?, ?)",
                (partition, dim, cells.fit, kept, checksum),
            )
            self._connection.execute(
                "DELETE FROM cells WHERE rowid NOT IN"
                " (SELECT rowid FROM cells ORDER BY rowid DESC LIMIT ?)",
                (MAX_KEPT,),
            )

    def forget_all_but(self, is_there: Callable[[bytes], bool]) -> None:
        """Forget the partitions that are not there any more.

        Raises:
            StoreError: The file cannot be written, or `is_there` raises it.
        """
        with translated("written"):
            kept = self._connection.execute("SELECT partition FROM cells").fetchall()
            gone = [(partition,) for (partition,) in kept if not is_there(partition)]
            self._connection.executemany("DELETE FROM cells WHERE partition = ?", gone)

    def _checksum(self, partition: bytes, dim: int, fit: float, kept: bytes) -> bytes:
        """Over the lengths too, so that no two rows write the same bytes."""
        head = f"{self._encoder_id} {len(partition)} {dim} ".encode() + pack("<d", fit)
        return blake2b(head + partition + kept, digest_size=16).digest()

    def close(self) -> None:
        """Fold the log into the file and let go of it.

        Raises:
            StoreError: The log could not be folded in; the next start does it.
        """
        with translated("closed"):
            self._connection.close()


def _place(partition: bytes) -> bytes:
    """What a sealed row is bound to."""
    return b"cells " + partition
