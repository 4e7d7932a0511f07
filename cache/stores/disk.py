"""Entries in, the same entries out later and after a restart: one SQLite file, and its one writer.

What may be lost. The process killed (`kill -9`): nothing that `write` returned from; its pages are
the kernel's, and the write-ahead log is replayed at the next start. Power lost: with
`synchronous=NORMAL` the log is synced at checkpoints only, so the last transactions may be gone,
each of them whole, and the file stays sound. A cache may forget; it may not lie, so each row
carries a checksum over all its fields, and one that does not match is never given out.
Source: https://www.sqlite.org/pragma.html#pragma_synchronous

Rule 1: an id is never used again: the highest one ever written is kept apart from the rows.
Rule 2: a vector is only given back under the encoder that made it; a row of another encoder comes
        back without its meaning, to be found by its exact key.
Rule 3: a file that is no sound database of this schema is renamed aside and a new one begun.
Rule 4: an invalidation's mark is kept before what it names is removed, see `cache.epochs`: a row
        that is still there is void by its epoch.
Rule 5: the file never exceeds `max_bytes`. Room is made before that, a batch at a time: what has
        expired; then, of those that have been kept longest, the half that is worth least a byte.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from cache.entry import Entry, EntryId
from cache.epochs import EVERYTHING, Mark, Selector
from cache.errors import StoreError
from cache.eviction import worth_usd
from cache.stores.cipher import Cipher, mark_of
from cache.stores.rows import GET, PUT, PUT_VECTOR, entry_of, row_of
from cache.stores.tables import MARK, named, opened, translated

_LOAD_ROWS: Final = 500
"""Chosen: rows read at a time; bounds what a load holds beside the entries it gave."""

_LOOKED_AT: Final = 512
"""Chosen: rows compared when room is made, the half of which leaves: 5 ms of the writer's time."""

_FULL_RATIO: Final = 0.9
"""Chosen: of `max_bytes`: the rest takes what comes in while room is made."""

_VACUUM_PAGES: Final = 256
"""Chosen: free pages given back to the file system at a time, a megabyte."""

_FREE_SHARE: Final = 4
"""Chosen: a file of which a quarter is free gives pages back; fewer are soon used again."""

_GONE: Final = "RETURNING entry_id, partition"


class Gone(NamedTuple):
    """An entry that left the disk, and the partition whose index is to forget it."""

    entry_id: EntryId
    partition: bytes | None


class DiskStore:
    """The entries that outlive memory and the process. One owner thread at a time.

    Attributes:
        path: Of the file.
        encoder_id: Whose vectors it takes and gives.
        renamed_to: Where a file that could not be read was put; None if there was none.
        dropped: Rows that `load` found torn and deleted.
        expired: Rows that `load` found expired and deleted.
    """

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        encoder_id: str,
        max_bytes: int,
        cipher: Cipher | None = None,
    ) -> None:
        self._cipher = cipher
        self.path = path
        self._connection = connection
        self.encoder_id = encoder_id
        self._max_bytes = max_bytes
        self.renamed_to: Path | None = None
        self.dropped = 0
        self.expired = 0

    @classmethod
    def open(
        cls,
        path: Path,
        encoder_id: str | None,
        max_bytes: int = 2**40,
        cipher: Cipher | None = None,
    ) -> DiskStore:
        """The store at `path`, begun if there is none; see `renamed_to`.

        Without an `encoder_id` that of the newest vector is taken. With a `cipher` what was asked
        and answered is sealed.

        Raises:
            StoreError: The folder cannot be written, or another process holds the file.
        """
        try:
            connection, renamed_to = opened(path, mark_of(cipher))
            page_bytes = connection.execute("PRAGMA page_size").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count = {max_bytes // page_bytes}")
        except (sqlite3.Error, OSError) as fault:
            raise StoreError(f"{path} cannot be opened: {fault}") from fault
        made_by = _newest(connection) if encoder_id is None else encoder_id
        store = cls(path, connection, made_by, max_bytes, cipher)
        store.renamed_to = renamed_to
        return store

    def load(self, now_at: float) -> Iterator[Entry]:
        """Every entry that may still be served, the least recently made first.

        Raises:
            StoreError: The file cannot be read.
        """
        last = -1
        with translated("read"):
            while rows := self._connection.execute(
                f"{GET} WHERE e.entry_id > ? ORDER BY e.entry_id LIMIT ?", (last, _LOAD_ROWS)
            ).fetchall():
                last = rows[-1][0]
                unfit = []
                for *row, _ in rows:
                    entry = entry_of(row, self.encoder_id, self._cipher)
                    if entry is not None and entry.expires_at > now_at:
                        yield entry
                        continue
                    unfit.append(row[0])
                    self.dropped += entry is None
                    self.expired += entry is not None
                with self._connection:
                    self._delete(unfit)

    def write(
        self, puts: Sequence[Entry], removals: Sequence[EntryId], marks: Sequence[Mark] = ()
    ) -> list[Gone]:
        """Keep, then forget, all or nothing; kept against `kill -9` once this returns.

        Gives back what was on disk and is not any more, replaced or removed.

        Raises:
            StoreError: Nothing was written (disk full, file gone, file held by another).
        """
        rows = [row_of(entry, self.encoder_id, self._cipher) for entry in puts]
        highest = max([row[0] for row in rows] + list(removals), default=0)
        epoch = max([entry.epoch for entry in puts] + [mark.epoch for mark in marks], default=0)
        with translated("written"), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            gone = [one for entry in puts for one in self._make_way(entry)]
            self._connection.executemany(PUT, [row[:-1] for row in rows])
            self._connection.executemany(
                PUT_VECTOR,
                [
                    (entry.partition, row[0], row[-1])
                    for entry, row in zip(puts, rows, strict=True)
                    if row[-1] is not None
                ],
            )
            gone += [one for entry_id in removals for one in self._removed(entry_id)]
            self._connection.execute(
                "UPDATE highest SET entry_id = max(entry_id, ?), epoch = max(epoch, ?)",
                (highest, epoch),
            )
            for mark in marks:
                self._mark(mark)
        return gone

    def _removed(self, entry_id: EntryId) -> list[Gone]:
        return self._deleted("DELETE FROM entries WHERE entry_id = ?", (entry_id,))

    def _make_way(self, entry: Entry) -> list[Gone]:
        return self._deleted(
            "DELETE FROM entries WHERE fingerprint = ? AND entry_id <> ?",
            (entry.fingerprint, entry.entry_id),
        )

    def _mark(self, mark: Mark) -> None:
        selector = mark.selector
        if selector == EVERYTHING:
            self._connection.execute("DELETE FROM marks")
        self._connection.execute(
            "INSERT OR REPLACE INTO marks VALUES (?, ?, ?, ?, ?)",
            (selector.by, selector.value, selector.tenant, mark.epoch, mark.raised_at),
        )

    def void(self, raised_at: float) -> Mark:
        """Have every entry void that it holds; the mark that says so.

        Raises:
            StoreError: Nothing was written.
        """
        mark = Mark(EVERYTHING, self.max_epoch() + 1, raised_at)
        self.write([], [], [mark])
        return mark

    def marks(self) -> list[Mark]:
        """Every invalidation still in force.

        Raises:
            StoreError: The file cannot be read.
        """
        with translated("read"):
            rows = self._connection.execute(f"SELECT {MARK} FROM marks").fetchall()  # noqa: S608 - our own names
        return [Mark(Selector(*kept), epoch, raised_at) for *kept, epoch, raised_at in rows]

    def used(self, uses: Iterable[tuple[EntryId, int]]) -> None:
        """Note how often entries were used that memory lets go.

        Raises:
            StoreError: Nothing was written.
        """
        with translated("written"), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(
                "UPDATE entries SET uses = max(uses, ?2) WHERE entry_id = ?1", list(uses)
            )

    def remove_expired(self, before_at: float, limit: int) -> list[Gone]:
        """Forget some of what expired before that; those that left, fewer than `limit` if all.

        Raises:
            StoreError: The file cannot be written.
        """
        with translated("written"), self._connection:
            return self._deleted(
                "DELETE FROM entries WHERE entry_id IN"
                " (SELECT entry_id FROM entries WHERE expires_at <= ? LIMIT ?)",
                (before_at, limit),
            )

    def remove_named(self, mark: Mark, after: EntryId, until: EntryId) -> list[Gone]:
        """Forget what a mark voids, of the ids in (after, until]; those that left.

        Raises:
            StoreError: The file cannot be written.
        """
        condition, values = named(mark.selector)
        with translated("written"), self._connection:
            return self._deleted(
                "DELETE FROM entries WHERE entry_id > ? AND entry_id <= ? AND epoch < ?"  # noqa: S608 - our own names
                f" AND {condition}",
                (after, until, mark.epoch, *values),
            )

    def carried_out(self, mark: Mark) -> None:
        """Note that what `mark` and those before it void is gone.

        Raises:
            StoreError: Nothing was written.
        """
        with translated("written"):
            self._connection.execute(
                "UPDATE highest SET carried_out = max(carried_out, ?)", (mark.epoch,)
            )

    def make_room(self, now_at: float) -> list[Gone]:
        """Forget a batch, if the file is nearly full; those that left, none if it is not.

        Raises:
            StoreError: The file cannot be written.
        """
        if self.used_bytes <= _FULL_RATIO * self._max_bytes:
            return []
        if gone := self.remove_expired(now_at, _LOOKED_AT):
            return gone
        with translated("written"), self._connection:
            rows = self._connection.execute(
                "SELECT entry_id, partition, cost_usd, tokens_out, uses,"
                " length(body) + length(question) FROM entries ORDER BY entry_id LIMIT ?",
                (_LOOKED_AT,),
            ).fetchall()
            rows.sort(key=lambda row: row[4] * worth_usd(float(row[2]), row[3]) / (1 + row[5]))
            least = rows[: (len(rows) + 1) // 2]
            self._delete([row[0] for row in least])
        return [Gone(row[0], row[1]) for row in least]

    def shrink(self) -> bool:
        """Give some pages back to the file system, where many are free; whether there are more.

        Raises:
            StoreError: The file cannot be written.
        """
        pages, free, _ = self._pages()
        if free * _FREE_SHARE < pages:
            return False
        with translated("written"):
            self._connection.execute(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})").fetchall()
        return self._pages()[1] < free

    def _delete(self, entry_ids: Iterable[EntryId]) -> None:
        self._connection.executemany(
            "DELETE FROM entries WHERE entry_id = ?", [(entry_id,) for entry_id in entry_ids]
        )

    def _deleted(self, statement: str, values: Sequence[object]) -> list[Gone]:
        return [Gone(*row) for row in self._connection.execute(f"{statement} {_GONE}", values)]

    def max_entry_id(self) -> EntryId:
        """The highest id that was ever written, deleted or not; 0 in a new file.

        Raises:
            StoreError: The file cannot be read.
        """
        return self._highest("entry_id")

    def max_epoch(self) -> int:
        """The highest epoch that was ever written; 0 in a new file.

        Raises:
            StoreError: The file cannot be read.
        """
        return self._highest("epoch")

    def marks_to_carry_out(self) -> list[Mark]:
        """The invalidations whose rows may still be there, the oldest first.

        Raises:
            StoreError: The file cannot be read.
        """
        done = self._highest("carried_out")
        return sorted((m for m in self.marks() if m.epoch > done), key=lambda m: m.epoch)

    def _highest(self, column: str) -> int:
        with translated("read"):
            return int(self._connection.execute(f"SELECT {column} FROM highest").fetchone()[0])  # noqa: S608 - our own names

    def count(self) -> int:
        """How many entries it holds, expired ones too.

        Raises:
            StoreError: The file cannot be read.
        """
        with translated("read"):
            return int(self._connection.execute("SELECT count(*) FROM entries").fetchone()[0])

    @property
    def used_bytes(self) -> int:
        """What the pages in use take. Raises StoreError."""
        pages, free, page_bytes = self._pages()
        return (pages - free) * page_bytes

    def _pages(self) -> tuple[int, int, int]:
        """How many there are, how many of them are free, and how large one is."""
        with translated("read"):
            pages, free, page_bytes = (
                int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])
                for name in ("page_count", "freelist_count", "page_size")
            )
        return pages, free, page_bytes

    @property
    def size_bytes(self) -> int:
        """What the file and its write-ahead log take on disk."""
        files = (self.path, self.path.with_name(self.path.name + "-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def close(self) -> None:
        """Fold the log into the file and let go of it.

        Raises:
            StoreError: The log could not be folded in; the next start does it.
        """
        with translated("closed"):
            self._connection.close()


def _newest(connection: sqlite3.Connection) -> str:
    with translated("read"):
        row = connection.execute(
            "SELECT encoder_id FROM entries WHERE partition IS NOT NULL"
            " ORDER BY entry_id DESC LIMIT 1"
        ).fetchone()
    return str(row[0]) if row else ""
