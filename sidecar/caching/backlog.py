"""Changes that the disk does not have yet in, in their order; one transaction of them out.

It also knows where an entry is that memory lets go: on disk, on its way there, or nowhere.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from cache.entry import Entry, EntryId
from cache.epochs import Mark
from cache.stores.disk import Gone

MAX_WAITING: Final = 10_000
"""Chosen: writes that may wait for a slow disk; beyond it an entry lives in memory alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one transaction is to write.

    Attributes:
        asked: Entries, in the order in which they came.
        removals: Ids that were told to leave.
        marks: Invalidations.
        released: Ids that memory let go, with their uses.
    """

    asked: Sequence[Entry] = ()
    removals: Sequence[EntryId] = ()
    marks: Sequence[Mark] = ()
    released: dict[EntryId, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.asked) + len(self.removals) + len(self.marks)

    @property
    def puts(self) -> list[Entry]:
        """The newest entry under each key, and also one that left again.

        What that one replaced on disk must not come back.
        """
        return list({entry.fingerprint: entry for entry in self.asked}.values())

    @property
    def overtaken(self) -> list[Gone]:
        """Entries that others replaced before they were written."""
        kept = {entry.entry_id for entry in self.puts}
        return [_gone(entry) for entry in self.asked if entry.entry_id not in kept]


class Backlog:
    """What waits for the disk. One owner: persistence."""

    def __init__(self) -> None:
        self._is_open = True
        self._waiting: deque[Entry | EntryId | Mark] = deque()
        self._unwritten: dict[bytes, Entry] = {}  # by fingerprint, of what waits
        self._lost: set[EntryId] = set()  # in memory, and not on disk nor on its way there
        self._released: dict[EntryId, int] = {}  # let go by memory, with their uses

    def __len__(self) -> int:
        return len(self._waiting)

    def find(self, fingerprint: bytes) -> tuple[Entry, int] | None:
        """The entry that waits under `fingerprint`, and its uses."""
        if (waiting := self._unwritten.get(fingerprint)) is None:
            return None
        return waiting, self._released.get(waiting.entry_id, 1)

    def replaces(self, entry: Entry) -> bool:
        """Another entry waits under its key."""
        return self._unwritten.get(entry.fingerprint, entry).entry_id != entry.entry_id

    def put(self, entry: Entry) -> bool:
        """Have it written; whether there is room for it to wait."""
        if not self._is_open or len(self._waiting) >= MAX_WAITING:
            self._lost.add(entry.entry_id)
            return False
        self._unwritten[entry.fingerprint] = entry
        self._waiting.append(entry)
        return True

    def drop(self, entry_id: EntryId) -> None:
        """Have it off the disk; memory holds it no more."""
        self._lost.discard(entry_id)
        self._released.pop(entry_id, None)
        if self._is_open:
            self._waiting.append(entry_id)

    def mark(self, mark: Mark) -> None:
        """Have an invalidation in writing."""
        self._waiting.append(mark)

    def forget(self, entry_id: EntryId) -> None:
        """Memory holds it no more, and an invalidation takes it off the disk."""
        self._lost.discard(entry_id)

    def lack(self, entry_id: EntryId) -> None:
        """The disk let go of it, and memory did not: it is written again when it must be."""
        self._lost.add(entry_id)

    def release(self, entry: Entry, uses: int) -> bool:
        """Memory holds it no more; whether the disk does, or soon will."""
        if entry.entry_id in self._lost:
            self._lost.discard(entry.entry_id)
            if not self.put(entry):
                self._lost.discard(entry.entry_id)
                return False
        self._released[entry.entry_id] = uses
        return True

    def take(self) -> Batch:
        """All that waits; `settle` is told once it was tried, `failed` if it was in vain."""
        changes, released = list(self._waiting), self._released
        self._waiting.clear()
        self._released = {}
        return Batch(
            asked=[change for change in changes if isinstance(change, Entry)],
            removals=[change for change in changes if isinstance(change, int)],
            marks=[change for change in changes if isinstance(change, Mark)],
            released=released,
        )

    def settle(self, batch: Batch) -> None:
        """It waits no more."""
        for entry in batch.asked:
            if self._unwritten.get(entry.fingerprint) is entry:
                del self._unwritten[entry.fingerprint]

    def failed(self, batch: Batch) -> tuple[list[Gone], list[EntryId]]:
        """Nothing was written, and marks wait again, and removals unless it is closed.

        Those entries that are nowhere now, and those that the disk alone holds.
        """
        gone, released = set(batch.removals), batch.released
        puts = [entry for entry in batch.asked if entry.entry_id not in gone]
        ids = {entry.entry_id for entry in puts}
        self._lost |= ids - released.keys()
        removals = batch.removals if self._is_open else ()
        self._waiting.extendleft(reversed([*removals, *batch.marks]))
        nowhere = [_gone(entry) for entry in puts if entry.entry_id in released]
        return nowhere, list(released.keys() - ids)

    def close(self) -> None:
        """Let nothing wait but invalidations, from now on."""
        self._is_open = False


def _gone(entry: Entry) -> Gone:
    return Gone(entry.entry_id, entry.partition)
