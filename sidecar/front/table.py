"""Answers in, by the one process that owns them; the same out, to any process that asks.

One piece of shared memory: a head, slots, and an arena. A slot says where in the arena the record
of a key lies; the arena is a ring, where the newest record overwrites the oldest. Readers take no
lock. A reader that comes while its record is overwritten copies something that is not what it was:

1. The reader reads the slot. The owner empties it, then writes another record over the old one.
2. The reader copies bytes, some of them new. Key, generation or checksum do not fit: a miss.

Rule 1: a slot is written after its record, and emptied before its record is overwritten.
Rule 2: a record counts in its own generation alone: one number more, and all of them are gone.
Rule 3: while the table is shut nothing is found in it.
Rule 4: nobody but the owner can write, and nobody can make it shorter: fronts read what strangers
        send, and one that was talked into something must not answer in the others' place.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from struct import Struct
from typing import Final
from zlib import crc32

KEY_BYTES: Final = 16

WAYS: Final = 8
"""Chosen: slots that one key may be in; they are read at once, and the oldest gives way."""

BUCKETS: Final = 4096
"""Chosen: with eight ways 32,768 records; the arena is full before that, at 2 kB each."""

ARENA_BYTES: Final = 64 * 2**20
"""Chosen: once for all processes. Pages that were never written take no memory."""

MAX_RECORD_BYTES: Final = 64 * 1024
"""Chosen: a thousandth of the arena; longer answers are the owner's to give."""

_HEAD: Final = Struct("<QQ")  # generation, 1 if open
_SLOT: Final = Struct("<16sII")  # key, where its record begins, how long it is
_RECORD: Final = Struct("<16sQQdI")  # key, generation, number, expires at, checksum of the rest
_SEAL_FUTURE_WRITE: Final = 0x10
"""Source: Linux's uapi/linux/fcntl.h, F_SEAL_FUTURE_WRITE, since 5.1: mappings that are there stay
writable, and no new one is; Python's `fcntl` names it from 3.13 on."""

_NO_KEY: Final = bytes(KEY_BYTES)

_SLOTS_AT: Final = 64
_ARENA_AT: Final = _SLOTS_AT + BUCKETS * WAYS * _SLOT.size
SIZE: Final = _ARENA_AT + ARENA_BYTES


@dataclass(frozen=True, slots=True)
class Found:
    """A record as it was put.

    Attributes:
        number: By which its owner knows it.
        payload: What it says.
    """

    number: int
    payload: bytes


def created() -> int:
    """A file handle of memory for one table; it has no name, and ends with who holds it."""
    handle = os.memfd_create("sidecar-front", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(handle, SIZE)
    fcntl.fcntl(handle, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    return handle


def _bucket_at(key: bytes) -> int:
    place = int.from_bytes(key[:4], "little") % BUCKETS
    return _SLOTS_AT + place * WAYS * _SLOT.size


class Reader:
    """One front's view. Never raises, never waits."""

    def __init__(self, handle: int) -> None:
        self._memory = mmap.mmap(handle, SIZE, prot=mmap.PROT_READ)

    def find(self, key: bytes, now_at: float) -> Found | None:
        """What is kept under `key` and may be served at `now_at`."""
        memory = self._memory
        generation, is_open = _HEAD.unpack_from(memory, 0)
        if not is_open:
            return None
        begin = _bucket_at(key)
        bucket = memory[begin : begin + WAYS * _SLOT.size]
        at = bucket.find(key)
        if at < 0 or at % _SLOT.size:
            return None
        _, offset, length = _SLOT.unpack_from(bucket, at)
        record = memory[offset : offset + length]
        if len(record) < _RECORD.size:
            return None
        held, of, number, expires_at, checksum = _RECORD.unpack_from(record)
        payload = record[_RECORD.size :]
        if held != key or of != generation or expires_at <= now_at or crc32(payload) != checksum:
            return None
        return Found(number, payload)

    def close(self) -> None:
        """Let go of the memory."""
        self._memory.close()


@dataclass(frozen=True, slots=True)
class _Placed:
    key: bytes
    slot_at: int
    begin: int
    end: int


class Table:
    """The owner's side. One owner thread; nothing in here takes a lock."""

    def __init__(self, handle: int, on_gone: Callable[[int], None] = lambda _: None) -> None:
        """`on_gone` hears the number of each record that is not found any more."""
        self._memory = mmap.mmap(handle, SIZE)
        with suppress(OSError):  # a kernel that does not know it
            fcntl.fcntl(handle, fcntl.F_ADD_SEALS, _SEAL_FUTURE_WRITE)
        self._on_gone = on_gone
        self._placed: OrderedDict[int, _Placed] = OrderedDict()  # by number: in the ring's order
        self._head = _ARENA_AT
        self._next = 1
        self.generation = 1
        self.is_open = False
        self._tell()

    def __len__(self) -> int:
        return len(self._placed)

    def __contains__(self, number: int) -> bool:
        return number in self._placed

    def _tell(self) -> None:
        _HEAD.pack_into(self._memory, 0, self.generation, self.is_open)

    def open(self) -> None:
        """Let it be read."""
        self.is_open = True
        self._tell()

    def shut(self) -> None:
        """Let nothing be found from this instant on, until it is opened."""
        self.is_open = False
        self._tell()

    def empty(self) -> None:
        """Let nothing be found of what was put by now, and nothing that was begun before this."""
        self.generation += 1
        self._tell()
        for number in list(self._placed):
            self.remove(number)

    def put(self, key: bytes, payload: bytes, expires_at: float) -> int | None:
        """Keep `payload` under `key`; its number, or None if it is too long."""
        length = _RECORD.size + len(payload)
        if length > MAX_RECORD_BYTES:
            return None
        slot_at = self._slot(key)
        begin = self._room(length)
        number, self._next = self._next, self._next + 1
        head = _RECORD.pack(key, self.generation, number, expires_at, crc32(payload))
        self._memory[begin : begin + length] = head + payload
        _SLOT.pack_into(self._memory, slot_at, key, begin, length)
        self._placed[number] = _Placed(key, slot_at, begin, begin + length)
        return number

    def _slot(self, key: bytes) -> int:
        """Where the slot of `key` is to be: its own, an empty one, or the oldest's; it is empty."""
        begin = _bucket_at(key)
        slots = [begin + way * _SLOT.size for way in range(WAYS)]
        held = {bytes(self._memory[at : at + KEY_BYTES]): at for at in reversed(slots)}
        slot_at = held.get(key, held.get(_NO_KEY))
        if slot_at is None:
            slot_at = min(slots, key=self._number_at)
        if self._memory[slot_at : slot_at + KEY_BYTES] != _NO_KEY:
            self.remove(self._number_at(slot_at))
        return slot_at

    def _number_at(self, slot_at: int) -> int:
        """The number of the record that a slot, which is not empty, points to."""
        begin = _SLOT.unpack_from(self._memory, slot_at)[1]
        return int(_RECORD.unpack_from(self._memory, begin)[2])

    def _room(self, length: int) -> int:
        """Where in the ring `length` bytes may be written; what lay there is gone."""
        if self._head + length > SIZE:
            self._drop_from(self._head, SIZE)
            self._head = _ARENA_AT
        begin, self._head = self._head, self._head + length
        self._drop_from(begin, self._head)
        return begin

    def _drop_from(self, begin: int, end: int) -> None:
        while self._placed:
            number, oldest = next(iter(self._placed.items()))
            if not (oldest.begin < end and begin < oldest.end):
                return
            self.remove(number)

    def remove(self, number: int) -> None:
        """Let the record of that number be found no more; one that is gone is no fault."""
        placed = self._placed.pop(number, None)
        if placed is not None:
            _SLOT.pack_into(self._memory, placed.slot_at, _NO_KEY, 0, 0)
            self._on_gone(number)

    def drop_oldest(self) -> None:
        """Let go of the record that was put first."""
        if self._placed:
            self.remove(next(iter(self._placed)))

    def close(self) -> None:
        """Let go of the memory; who reads it keeps his."""
        self.shut()
        self._memory.close()
