"""A disk store in, JSON Lines out, and the other way round: moving kept answers between machines.

The first line names the format, the schema and the encoder; each further one is an invalidation or
an entry, with a checksum over the rest of it. A file of a schema that is not read, or with one line
that is not what was written, is refused before anything is kept. Rows keep the name of the encoder
that made their vectors: under another one they are found by their exact key alone
(`cache.stores.disk`).

Entries keep their epoch, and the file's invalidations go along: an answer that was invalidated
where it came from, or where it goes, is not brought back to life by the journey.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from decimal import Decimal
from hashlib import blake2b
from math import inf
from typing import Any, Final, NamedTuple

import numpy as np
import orjson

from cache.entry import UNKNOWN_PROMPT, Entry, EntryId
from cache.epochs import EVERYTHING, Mark, Selector
from cache.errors import ExchangeError
from cache.stores.tables import SCHEMA_VERSION

FORMAT: Final = "sidecar-cache"
_READ: Final = (2, 3, SCHEMA_VERSION)
"""Schema 2 does not tell an entry's prompt."""

_CHECKSUM_BYTES: Final = 16
"""Chosen: as in the rows."""

_RAW: Final = ("fingerprint", "partition", "body")


class Exchange(NamedTuple):
    """What one file holds.

    Attributes:
        encoder_id: What made the vectors.
        entries: In the order in which they were kept.
        marks: The invalidations in force.
    """

    encoder_id: str
    entries: list[Entry]
    marks: list[Mark]


def exported(entries: Iterable[Entry], marks: Iterable[Mark], encoder_id: str) -> Iterator[bytes]:
    """The file's lines, without their ends; `encoder_id` made the vectors."""
    yield _line({"format": FORMAT, "schema": SCHEMA_VERSION, "encoder": encoder_id})
    for mark in marks:
        yield _line({"mark": asdict(mark)})
    for entry in entries:
        yield _line({"entry": _plain(entry)})


def imported(lines: Iterable[bytes]) -> Exchange:
    """What the file holds.

    Raises:
        ExchangeError: The file is none of ours, of another schema, or a line was changed.
    """
    exchange: Exchange | None = None
    for number, line in enumerate(lines, start=1):
        told = _checked(line, number)
        try:
            if exchange is None:
                exchange = Exchange(_opened(told), [], [])
            elif "mark" in told:
                exchange.marks.append(_mark(told["mark"]))
            else:
                exchange.entries.append(_entry(told["entry"]))
        except (KeyError, TypeError, ValueError, ArithmeticError) as fault:
            raise ExchangeError(f"line {number} holds no entry: {fault!r}") from fault
    if exchange is None:
        raise ExchangeError("the file is empty")
    return exchange


def newcomers(exchange: Exchange, kept: Iterable[Entry], top: EntryId) -> list[Entry]:
    """The entries that are newer than what is kept under their key, under ids above `top`."""
    made_at = {entry.fingerprint: entry.created_at for entry in kept}
    newer = [e for e in exchange.entries if made_at.get(e.fingerprint, -inf) < e.created_at]
    return [replace(entry, entry_id=top + place) for place, entry in enumerate(newer, start=1)]


def merged(ours: Iterable[Mark], theirs: Iterable[Mark]) -> list[Mark]:
    """The newest mark of each selector, that on everything first, as a store takes them."""
    newest: dict[Selector, Mark] = {}
    for mark in sorted([*ours, *theirs], key=lambda mark: mark.epoch):
        newest[mark.selector] = mark
    return sorted(newest.values(), key=lambda mark: (mark.selector != EVERYTHING, mark.epoch))


def _opened(head: dict[str, Any]) -> str:
    """The encoder of a file that begins with `head`."""
    if head.get("format") != FORMAT:
        raise ExchangeError("line 1 does not name a file of kept answers")
    if head.get("schema") not in _READ:
        found = head.get("schema")
        raise ExchangeError(f"the file is of schema {found}, this version reads {SCHEMA_VERSION}")
    return str(head["encoder"])


def _plain(entry: Entry) -> dict[str, Any]:
    told = {name: getattr(entry, name) for name in Entry.__slots__}
    for name in _RAW:
        told[name] = None if told[name] is None else b64encode(told[name]).decode()
    vector = entry.vector
    told["vector"] = None if vector is None else b64encode(vector.astype("<f4").tobytes()).decode()
    return {**told, "cost_usd": str(entry.cost_usd)}


def _entry(told: dict[str, Any]) -> Entry:
    for name in _RAW:
        told[name] = None if told[name] is None else b64decode(told[name], validate=True)
    if told["vector"] is not None:
        raw = b64decode(told["vector"], validate=True)
        told["vector"] = np.frombuffer(raw, dtype="<f4").astype(np.float32)  # (dim,)
    told["cost_usd"], told["tags"] = Decimal(told["cost_usd"]), tuple(told["tags"])
    return Entry(**{"prompt": UNKNOWN_PROMPT, **told})


def _mark(told: dict[str, Any]) -> Mark:
    return Mark(**{**told, "selector": Selector(**told["selector"])})


def _line(told: dict[str, Any]) -> bytes:
    return orjson.dumps({**told, "checksum": _checksum(told)})


def _checked(line: bytes, number: int) -> dict[str, Any]:
    try:
        told = orjson.loads(line)
    except orjson.JSONDecodeError as fault:
        raise ExchangeError(f"line {number} is no JSON: {fault}") from fault
    if not isinstance(told, dict) or told.pop("checksum", None) != _checksum(told):
        raise ExchangeError(f"line {number} is not what was written: its checksum differs")
    return told


def _checksum(told: dict[str, Any]) -> str:
    packed = orjson.dumps(told, option=orjson.OPT_SORT_KEYS)
    return blake2b(packed, digest_size=_CHECKSUM_BYTES).hexdigest()
