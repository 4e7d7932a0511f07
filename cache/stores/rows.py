"""An entry in, the row of a table out, and the other way round, each row with its checksum.

The small columns stand first and the long ones last, since SQLite reads a row from its beginning:
whoever looks for a tenant or a tag need not read the answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from functools import partial
from hashlib import blake2b
from typing import Any, Final

import numpy as np
import orjson

from cache.entry import Entry, Vector
from cache.stores.cipher import Cipher, place

FIELDS: Final = (
    "entry_id",
    "encoder_id",
    "fingerprint",
    "partition",
    "tenant",
    "namespace",
    "tags",
    "epoch",
    "tier",
    "model",
    "prompt",
    "tokens_in",
    "tokens_out",
    "cost_usd",
    "created_at",
    "expires_at",
    "question",
    "body",
)
COLUMNS: Final = ", ".join((*FIELDS, "checksum"))
_PLACES: Final = ", ".join("?" * (len(FIELDS) + 1))
PUT: Final = f"INSERT OR REPLACE INTO entries ({COLUMNS}) VALUES ({_PLACES})"  # noqa: S608 - our own names
PUT_VECTOR: Final = "INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)"
GET: Final = (
    f"SELECT {', '.join('e.' + name for name in (*FIELDS, 'checksum'))}, v.vector, e.uses"  # noqa: S608 - as above
    " FROM entries e LEFT JOIN vectors v ON v.partition = e.partition AND v.entry_id = e.entry_id"
)
_CHECKSUM_BYTES: Final = 16
"""Chosen: a torn row passes once in 2**128."""


def row_of(entry: Entry, encoder_id: str, cipher: Cipher | None = None) -> tuple[Any, ...]:
    """The values of FIELDS, the checksum over them and the vector, and the vector or None."""
    question: str | bytes = entry.question
    body = entry.body
    # Half precision moves a cosine by less than 0.0005 and halves the file's vectors.
    vector = entry.vector.astype("<f2").tobytes() if entry.vector is not None else None
    if cipher is not None:
        sealed = partial(_sealed, cipher, entry.entry_id)
        vector = sealed("vector", vector) if vector is not None else None
        question, body = sealed("question", entry.question.encode()), sealed("body", body)
    fields = (
        entry.entry_id,
        encoder_id,
        entry.fingerprint,
        entry.partition,
        entry.tenant,
        entry.namespace,
        orjson.dumps(entry.tags).decode(),
        entry.epoch,
        entry.tier,
        entry.model,
        entry.prompt,
        entry.tokens_in,
        entry.tokens_out,
        str(entry.cost_usd),
        float(entry.created_at),
        float(entry.expires_at),
        question,
        body,
    )
    return (*fields, checksum((*fields, vector)), vector)


def _sealed(cipher: Cipher, entry_id: int, field: str, data: bytes) -> bytes:
    return cipher.seal(data, place(entry_id, field))


def entry_of(row: Sequence[Any], encoder_id: str, cipher: Cipher | None = None) -> Entry | None:
    """The entry that such a row holds, None if the row is torn, or does not open.

    A vector of another encoder is left out, and with it the meaning.
    """
    *fields, told, vector = row
    if told != checksum((*fields, vector)):
        return None
    kept = dict(zip(FIELDS, fields, strict=True))
    if cipher is not None:
        words = {"question": kept["question"], "body": kept["body"], "vector": vector}
        opened = {
            name: opened_field(cipher, kept["entry_id"], name, w) for name, w in words.items()
        }
        if opened["question"] is None or opened["body"] is None:
            return None
        kept |= {"question": opened["question"].decode(), "body": opened["body"]}
        vector = opened["vector"]
    is_same_encoder = kept.pop("encoder_id") == encoder_id
    kept["vector"] = _unit(vector) if is_same_encoder and vector is not None else None
    if kept["vector"] is None:
        kept["partition"], kept["question"] = None, ""
    try:
        kept["cost_usd"] = Decimal(kept["cost_usd"])
        kept["tags"] = tuple(orjson.loads(kept["tags"]))
    except (InvalidOperation, orjson.JSONDecodeError):
        return None
    return Entry(**kept)


def opened_field(cipher: Cipher, entry_id: int, field: str, sealed: bytes | None) -> bytes | None:
    """A sealed field, opened; None if there is none, or it does not open."""
    return cipher.open(sealed, place(entry_id, field)) if isinstance(sealed, bytes) else None


def checksum(fields: Sequence[Any]) -> bytes:
    """Over each field's type, length and value, so that no two rows write the same bytes."""
    hashed = blake2b(digest_size=_CHECKSUM_BYTES)
    for field in fields:
        value = field if isinstance(field, bytes) else repr(field).encode()
        hashed.update(b"%s %d " % (type(field).__name__.encode(), len(value)))
        hashed.update(value)
    return hashed.digest()


def _unit(raw: bytes) -> Vector | None:
    """Unit length again: rounding to half precision moved it. None if it has no length."""
    vector = np.frombuffer(raw, dtype="<f2").astype(np.float32)
    length = float(np.linalg.norm(vector))
    return vector / np.float32(length) if length > 0.0 else None
