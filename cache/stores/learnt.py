"""What was learnt in, the same after a restart out: one small SQLite file beside the kept answers.

A file of its own, so that a fault of the one costs nothing of the other, and so that what is shut
stays shut where the kept answers are lost. It mirrors `cache.trust`, whose bounds are its bounds.

Rule 1: nothing that `write` returned from is lost to a `kill -9`; see `cache.stores.disk`.
Rule 2: each row carries a checksum; one that does not match is deleted and counted.
Rule 3: what was learnt under another encoder is dropped: its partitions are not asked for again.
Rule 4: a file that is no sound database of this schema is renamed aside and a new one begun.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import msgpack
import numpy as np

from cache.entry import EntryId
from cache.errors import StoreError
from cache.learnt import Learnt, Proof
from cache.rejections import Pair, PairId
from cache.standing import Memo, Owner, State
from cache.stores.cipher import Cipher, mark_of
from cache.stores.sound import Make, opened, put_aside, tables

SCHEMA_VERSION: Final = 1
"""Rises with the rows below. An older file is put aside: what it knew is learnt again."""

_APPLICATION_ID: Final = 0x53434C54
"""Written in the file's header, so that no other program's database is taken for ours."""

_PARTITION: Final = "partition"
_ENTRY: Final = "entry"
_PAIR: Final = "pair"
_WHOLE: Final = "whole"

_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS learnt (kind TEXT, key BLOB, value BLOB, checksum BLOB,"
    " PRIMARY KEY (kind, key))"
)


class LearntStore:
    """One owner thread at a time.

    Attributes:
        renamed_to: Where a file that could not be read was put; None if there was none.
        dropped: Rows that `load` found torn and deleted.
    """

    def __init__(
        self, connection: sqlite3.Connection, encoder_id: str, cipher: Cipher | None = None
    ) -> None:
        self._cipher = cipher
        self._connection = connection
        self._encoder_id = encoder_id
        self.renamed_to: Path | None = None
        self.dropped = 0

    @classmethod
    def open(cls, path: Path, encoder_id: str, cipher: Cipher | None = None) -> LearntStore:
        """The store at `path`, begun if there is none; see `renamed_to`.

        Raises:
            StoreError: The folder cannot be written, or another process holds the file.
        """
        make = Make(_APPLICATION_ID ^ mark_of(cipher), SCHEMA_VERSION, tables(_SCHEMA))
        try:
            connection, renamed_to = opened(path, make, put_aside)
        except (sqlite3.Error, OSError) as fault:
            raise StoreError(f"{path} cannot be opened: {fault}") from fault
        store = cls(connection, encoder_id, cipher)
        store.renamed_to = renamed_to
        return store

    def load(self) -> Learnt | None:
        """All that was learnt; None if nothing was, or under another encoder.

        Raises:
            StoreError: The file cannot be read.
        """
        read, torn = _Read(), list[tuple[int]]()
        with _translated("read"), self._connection:
            rows = self._connection.execute(
                "SELECT rowid, kind, key, value, checksum FROM learnt ORDER BY rowid"
            ).fetchall()
            for rowid, kind, key, value, checksum in rows:
                is_whole = checksum == _checksum(kind, key, value)
                packed = self._opened(kind, key, value) if is_whole else None
                if packed is None or not read.took(kind, key, packed):
                    torn.append((rowid,))
            self._connection.executemany("DELETE FROM learnt WHERE rowid = ?", torn)
            self.dropped += len(torn)
            if rows and read.encoder_id != self._encoder_id:
                self._connection.execute("DELETE FROM learnt")
                return None
        return read.learnt() if rows else None

    def write(self, learnt: Learnt) -> None:
        """Keep what changed, all or nothing; kept against `kill -9` once this returns.

        Raises:
            StoreError: Nothing was written (disk full, file held by another).
        """
        puts, removals = [], []
        for kind, key, value in _rows(learnt, self._encoder_id):
            if value is None:
                removals.append((kind, key))
            else:
                packed = self._sealed(kind, key, msgpack.packb(value, use_bin_type=True))
                puts.append((kind, key, packed, _checksum(kind, key, packed)))
        with _translated("written"), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("DELETE FROM learnt WHERE kind = ? AND key = ?", removals)
            self._connection.executemany("INSERT OR REPLACE INTO learnt VALUES (?, ?, ?, ?)", puts)

    def _sealed(self, kind: str, key: bytes, packed: bytes) -> bytes:
        return packed if self._cipher is None else self._cipher.seal(packed, _place(kind, key))

    def _opened(self, kind: str, key: bytes, value: bytes) -> bytes | None:
        return value if self._cipher is None else self._cipher.open(value, _place(kind, key))

    def close(self) -> None:
        """Fold the log into the file and let go of it.

        Raises:
            StoreError: The log could not be folded in; the next start does it.
        """
        with _translated("closed"):
            self._connection.close()


def _rows(learnt: Learnt, encoder_id: str) -> Iterator[tuple[str, bytes, Any]]:
    """Each as its kind, its key and what is packed under it; None is to be deleted."""
    yield _WHOLE, b"", [encoder_id, learnt.bound, learnt.right, learnt.wrong]
    for partition, memo in learnt.partitions.items():
        yield _PARTITION, partition, _packed_memo(memo) if memo is not None else None
    for entry_id, proof in learnt.entries.items():
        value = [proof.tenant, proof.right, list(proof.questions)] if proof is not None else None
        yield _ENTRY, entry_id.to_bytes(8, "big"), value
    for pair_id, pair in learnt.pairs.items():
        yield _PAIR, _pair_key(pair_id), _packed_pair(pair) if pair is not None else None


def _packed_memo(memo: Memo) -> list[Any]:
    counts = (memo.hits, memo.bad, memo.right, memo.wrong, memo.risks)
    return [memo.state.value, *memo.owner, *counts, list(memo.checked), list(memo.told)]


def _memo(value: list[Any]) -> Memo:
    state, tenant, namespace, hits, bad, right, wrong, risks, checked, told = value
    return Memo(
        state=State(state),
        owner=Owner(tenant, namespace),
        hits=hits,
        bad=bad,
        right=right,
        wrong=wrong,
        risks=risks,
        checked=tuple(checked),
        told=tuple(told),
    )


def _pair_key(pair_id: PairId) -> bytes:
    partition, number = pair_id
    return partition + number.to_bytes(8, "big")


def _packed_pair(pair: Pair) -> list[Any]:
    return [pair.tenant, pair.asked, pair.kept, pair.vectors.astype("<f4").tobytes()]


class _Read:
    """Rows, as they are read."""

    def __init__(self) -> None:
        self.encoder_id = ""
        self._bound, self._right, self._wrong = 0.0, 0, 0
        self._partitions: dict[bytes, Memo] = {}
        self._entries: dict[EntryId, Proof] = {}
        self._pairs: dict[PairId, Pair] = {}

    def took(self, kind: str, key: bytes, packed: bytes) -> bool:
        """Whether the row could be read."""
        try:
            self._take(kind, key, msgpack.unpackb(packed))
        except (ValueError, TypeError):
            return False
        return True

    def _take(self, kind: str, key: bytes, value: list[Any]) -> None:
        if kind == _WHOLE:
            self.encoder_id, self._bound, self._right, self._wrong = value
        elif kind == _PARTITION:
            self._partitions[key] = _memo(value)
        elif kind == _ENTRY:
            tenant, right, questions = value
            proof = Proof(tenant, right, OrderedDict.fromkeys(questions))
            self._entries[int.from_bytes(key, "big")] = proof
        else:
            tenant, asked, kept, raw = value
            vectors = np.frombuffer(raw, dtype="<f4").astype(np.float32).reshape(2, -1)
            pair_id = (key[:-8], int.from_bytes(key[-8:], "big"))
            self._pairs[pair_id] = Pair(tenant, asked, kept, vectors)

    def learnt(self) -> Learnt:
        return Learnt(
            bound=self._bound,
            right=self._right,
            wrong=self._wrong,
            partitions=self._partitions,
            entries=self._entries,
            pairs=self._pairs,
        )


def _checksum(kind: str, key: bytes, value: bytes) -> bytes:
    """Over the lengths too, so that no two rows write the same bytes."""
    hashed = blake2b(b"%s %d " % (kind.encode(), len(key)), digest_size=16)
    hashed.update(key)
    hashed.update(value)
    return hashed.digest()


def _place(kind: str, key: bytes) -> bytes:
    """What a sealed row is bound to."""
    return kind.encode() + b" " + key


@contextmanager
def _translated(done: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as fault:
        raise StoreError(f"what was learnt could not be {done}: {fault}") from fault
