"""Entries in, entries out by key or by id, those worth least leaving when room is short.

Rule 1: `bytes_held` never exceeds `max_bytes`.
Rule 2: an entry is under its fingerprint and under its id, or under neither.
Rule 3: whatever leaves is told to whoever made it leave, so that index and disk can follow.
Rule 4: a tenant with a quota has a pool of its own and the others share what is left: what is kept
        in one pool never makes an entry of another leave.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

from cache.entry import Entry, EntryId
from cache.eviction import Pool, worth_usd

ENTRY_OVERHEAD_BYTES: Final = 1_200
"""What an entry takes beside its body, question and vector: the entry, its two places in the
dictionaries and one in its pool, its keys, decimals, names and the headers of bytes, text and
array. Measured: 1,143 bytes by `tracemalloc` over 2,000 entries, see
`tests/cache/stores/test_memory.py`."""


def entry_bytes(entry: Entry) -> int:
    """What `entry` takes of memory, in bytes; and never less."""
    vector_bytes = entry.vector.nbytes if entry.vector is not None else 0
    # ASCII text takes one byte a character, any other up to four.
    width = 1 if entry.question.isascii() else 4
    tags = sum(len(tag) + 64 for tag in entry.tags)
    text = width * len(entry.question)
    return ENTRY_OVERHEAD_BYTES + len(entry.body) + text + vector_bytes + tags


class Left(NamedTuple):
    """What one newcomer made leave.

    Attributes:
        replaced: Kept under the same key before: the newcomer takes their place.
        evicted: There was no room for them, the newcomer perhaps among them; with each, how often
            it had been used.
    """

    replaced: tuple[Entry, ...]
    evicted: tuple[tuple[Entry, int], ...]


class MemoryStore:
    """The entries that this process serves. One owner; nothing in here takes a lock."""

    def __init__(
        self,
        max_bytes: int,
        quotas: Mapping[str, int] | None = None,
        on_left: Callable[[Entry], None] | None = None,
    ) -> None:
        """`quotas` are bytes by tenant; together they must leave room within `max_bytes`.

        `on_left` hears of each entry that is not held any more, at once; but not of what `allot`
        lets go.
        """
        self._on_left = on_left
        self._max_bytes = max_bytes
        self._by_fingerprint: dict[bytes, Entry] = {}
        self._by_id: dict[EntryId, Entry] = {}
        self._shared = Pool(max_bytes)
        self._own: dict[str, Pool] = {}
        self.allot(quotas or {})

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Entry]:
        """Every entry, expired ones too, the one kept first coming first."""
        return iter(list(self._by_id.values()))

    @property
    def bytes_held(self) -> int:
        """What all entries take."""
        return self._shared.bytes_held + sum(pool.bytes_held for pool in self._own.values())

    def pools(self) -> dict[str, Pool]:
        """The budgets by tenant; the shared one under the empty name."""
        return {"": self._shared, **self._own}

    def get(
        self,
        fingerprint: bytes,
        now_at: float,
        max_age_s: float | None = None,
        stale_s: float = 0.0,
    ) -> Entry | None:
        """The entry under `fingerprint`, used once more; None if none may serve.

        `stale_s` is how long after it expired it may still serve.
        """
        return self._used(
            self._by_fingerprint.get(fingerprint), now_at - stale_s, now_at, max_age_s
        )

    def get_by_id(
        self, entry_id: EntryId, now_at: float, max_age_s: float | None = None
    ) -> Entry | None:
        """The entry with `entry_id`, as in `get`."""
        return self._used(self._by_id.get(entry_id), now_at, now_at, max_age_s)

    def peek(self, entry_id: EntryId) -> Entry | None:
        """The entry with `entry_id`, expired or not; looking is no use of it."""
        return self._by_id.get(entry_id)

    def peek_by_fingerprint(self, fingerprint: bytes) -> Entry | None:
        """The entry under `fingerprint`, as in `peek`."""
        return self._by_fingerprint.get(fingerprint)

    def _used(
        self, entry: Entry | None, alive_at: float, now_at: float, max_age_s: float | None
    ) -> Entry | None:
        if entry is None or entry.expires_at <= alive_at:
            return None
        # An answer made in this very instant is still too old for "max-age=0".
        if max_age_s is not None and now_at - entry.created_at >= max_age_s:
            return None
        self._pool(entry).use(entry.entry_id)
        return entry

    def put(self, entry: Entry, uses: int = 1) -> Left:
        """Keep `entry`; what had to leave for it, or `entry` itself if it is not worth its room.

        `uses` are those that it brings along.
        """
        same = (self._by_fingerprint.get(entry.fingerprint), self._by_id.get(entry.entry_id))
        replaced = {old.entry_id: old for old in same if old is not None}
        uses = max([uses, *(self._drop(old) for old in replaced.values())])
        worth = worth_usd(float(entry.cost_usd), entry.tokens_out)
        leaving = self._pool(entry).admit(entry.entry_id, entry_bytes(entry), worth, uses)
        evicted = tuple(
            (entry if each == entry.entry_id else self._unlist(self._by_id[each]), used)
            for each, used in leaving.items()
        )
        if entry.entry_id not in leaving:
            self._by_fingerprint[entry.fingerprint] = entry
            self._by_id[entry.entry_id] = entry
        return Left(tuple(replaced.values()), evicted)

    def remove(self, entry_id: EntryId) -> Entry | None:
        """Forget an entry; the entry, or None if it was not kept."""
        entry = self._by_id.get(entry_id)
        if entry is not None:
            self._drop(entry)
        return entry

    def expired(self, now_at: float) -> tuple[Entry, ...]:
        """Forget what may no longer be served; the entries that left. Looks at every entry."""
        old = [entry for entry in self._by_id.values() if entry.expires_at <= now_at]
        for entry in old:
            self._drop(entry)
        return tuple(old)

    def allot(self, quotas: Mapping[str, int]) -> tuple[tuple[Entry, int], ...]:
        """Give each tenant the quota that stands here and no other; what had no room any more.

        Built anew where the quotas have changed, the dearest coming in first: uses are forgotten.
        """
        if {tenant: pool.max_bytes for tenant, pool in self._own.items()} == dict(quotas):
            return ()
        kept = sorted(self._by_id.values(), key=_usd_per_byte)
        self._own = {tenant: Pool(quota) for tenant, quota in quotas.items()}
        self._shared = Pool(max(0, self._max_bytes - sum(quotas.values())))
        self._by_fingerprint.clear()
        self._by_id.clear()
        return tuple(gone for entry in reversed(kept) for gone in self.put(entry).evicted)

    def _pool(self, entry: Entry) -> Pool:
        return self._own.get(entry.tenant, self._shared)

    def _drop(self, entry: Entry) -> int:
        self._unlist(entry)
        return self._pool(entry).drop(entry.entry_id)

    def _unlist(self, entry: Entry) -> Entry:
        del self._by_fingerprint[entry.fingerprint]
        del self._by_id[entry.entry_id]
        if self._on_left is not None:
            self._on_left(entry)
        return entry


def _usd_per_byte(entry: Entry) -> float:
    return worth_usd(float(entry.cost_usd), entry.tokens_out) / entry_bytes(entry)
