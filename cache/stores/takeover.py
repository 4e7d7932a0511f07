"""A database of an older schema in, the same answers in the tables of this one out.

Schema 2 and 3 kept a row's vector among its other fields; 2 did not tell an entry's prompt, so that
every invalidation by prompt names it. An older one did not say whose an entry is: it is put aside.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Final

from cache.entry import UNKNOWN_PROMPT
from cache.stores.rows import FIELDS, PUT, PUT_VECTOR, checksum

TAKEN_OVER: Final = frozenset({2, 3})

_ROWS: Final = 500
"""Chosen: rows held at a time."""

_OLD: Final = [
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
]


def taken_over(connection: sqlite3.Connection, version: int, begin: Callable[[], None]) -> None:
    """Within a transaction: put the old tables away, `begin` the new ones, and move the rows."""
    if version == 2:  # noqa: PLR2004 - as said above
        connection.execute("ALTER TABLE entries ADD COLUMN prompt")
    connection.execute("ALTER TABLE entries RENAME TO older")
    connection.execute("DROP INDEX by_fingerprint")
    for column in ("epoch", "carried_out"):
        connection.execute(f"ALTER TABLE highest ADD COLUMN {column} INTEGER NOT NULL DEFAULT 0")
    begin()
    last = -1
    while rows := connection.execute(
        f"SELECT {', '.join(_OLD)}, checksum FROM older WHERE entry_id > ?"  # noqa: S608 - our own names
        " ORDER BY entry_id LIMIT ?",
        (last, _ROWS),
    ).fetchall():
        last = rows[-1][0]
        for row in rows:
            _move(connection, row)
    connection.execute("UPDATE highest SET epoch = ifnull((SELECT max(epoch) FROM entries), 0)")
    connection.execute("DROP TABLE older")


def _move(connection: sqlite3.Connection, row: tuple[object, ...]) -> None:
    """Keep an old row; a torn one is left behind."""
    *fields, told = row
    known = fields if fields[-1] is not None else fields[:-1]
    if told != checksum(known):
        return
    kept = dict(zip(_OLD, fields, strict=True))
    vector, tags = kept.pop("vector"), kept["tags"]
    kept["prompt"] = UNKNOWN_PROMPT if kept["prompt"] is None else kept["prompt"]
    kept["tags"] = tags.decode() if isinstance(tags, bytes) else tags
    values = tuple(kept[name] for name in FIELDS)
    connection.execute(PUT, (*values, checksum((*values, vector))))
    if vector is not None:
        connection.execute(PUT_VECTOR, (kept["partition"], kept["entry_id"], vector))
