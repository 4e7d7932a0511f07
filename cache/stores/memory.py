"""Entries in, entries out by key or by id, the least recently used leaving when room is short.

Rule 1: `bytes_held` never exceeds `max_bytes`.
Rule 2: an entry is under its fingerprint and under its id, or under neither.
Rule 3: whatever leaves is told to whoever made it leave, so that index and disk can follow.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from cache.entry import Entry, EntryId

ENTRY_OVERHEAD_BYTES: Final = 1_000
"""What an entry takes beside its body, question and vector: the entry, its two places in the
dictionaries, its keys, decimals, names and the headers of bytes, text and array. Measured:
930 bytes by `tracemalloc` over 2,000 entries, see `tests/cache/stores/test_memory.py`."""


def entry_bytes(entry: Entry) -> int:
    """What `entry` takes of memory, in bytes; and never less."""
    vector_bytes = entry.vector.nbytes if entry.vector is not None else 0
    # ASCII text takes one byte a character, any other up to four.
    width = 1 if entry.question.isascii() else 4
    tags = sum(len(tag) + 64 for tag in entry.tags)
    text = width * len(entry.question)
    return ENTRY_OVERHEAD_BYTES + len(entry.body) + text + vector_bytes + tags


class MemoryStore:
    """The entries that this process serves. One owner; nothing in here takes a lock."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._by_fingerprint: OrderedDict[bytes, Entry] = OrderedDict()  # last used comes last
        self._by_id: dict[EntryId, Entry] = {}
        self.bytes_held = 0

    def __len__(self) -> int:
        return len(self._by_id)

    def get(
        self, fingerprint: bytes, now_at: float, max_age_s: float | None = None
    ) -> Entry | None:
        """The entry under `fingerprint`, now the most recently used; None if none may serve."""
        return self._used(self._by_fingerprint.get(fingerprint), now_at, max_age_s)

    def get_by_id(
        self, entry_id: EntryId, now_at: float, max_age_s: float | None = None
    ) -> Entry | None:
        """The entry with `entry_id`, as in `get`."""
        return self._used(self._by_id.get(entry_id), now_at, max_age_s)

    def _used(self, entry: Entry | None, now_at: float, max_age_s: float | None) -> Entry | None:
        if entry is None or entry.expires_at <= now_at:
            return None
        # An answer made in this very instant is still too old for "max-age=0".
        if max_age_s is not None and now_at - entry.created_at >= max_age_s:
            return None
        self._by_fingerprint.move_to_end(entry.fingerprint)
        return entry

    def put(self, entry: Entry) -> tuple[Entry, ...]:
        """Keep `entry`; what had to leave for it. One larger than the whole room leaves itself."""
        if entry_bytes(entry) > self._max_bytes:
            return (entry,)
        same = (self._by_fingerprint.get(entry.fingerprint), self._by_id.get(entry.entry_id))
        replaced = {old.entry_id: old for old in same if old is not None}
        gone = [self._drop(old) for old in replaced.values()]
        self._by_fingerprint[entry.fingerprint] = entry
        self._by_id[entry.entry_id] = entry
        self.bytes_held += entry_bytes(entry)
        while self.bytes_held > self._max_bytes:
            gone.append(self._drop(next(iter(self._by_fingerprint.values()))))
        return tuple(gone)

    def remove(self, entry_id: EntryId) -> Entry | None:
        """Forget an entry; the entry, or None if it was not kept."""
        entry = self._by_id.get(entry_id)
        return self._drop(entry) if entry is not None else None

    def _drop(self, entry: Entry) -> Entry:
        del self._by_fingerprint[entry.fingerprint]
        del self._by_id[entry.entry_id]
        self.bytes_held -= entry_bytes(entry)
        return entry

    def expired(self, now_at: float) -> tuple[Entry, ...]:
        """Forget what may no longer be served; the entries that left. Looks at every entry."""
        old = [entry for entry in self._by_id.values() if entry.expires_at <= now_at]
        return tuple(self._drop(entry) for entry in old)
