"""Ids told to leave the disk in; whether an entry that was read there may still be served out.

Rule 1: an id is refused from the moment that it is told to leave, and still once it has left: a
        read that began before that may end after it.
Rule 2: only so many are remembered. Who reads draws a ticket first; where more left since than are
        remembered, every id is refused.
Rule 3: a disk that lets go of nothing is trusted no more: whatever it holds is refused.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final

from cache.entry import EntryId
from cache.stores.disk import Gone

MAX_DEPARTED: Final = 8_192
"""Chosen: ids remembered as gone; a read takes milliseconds, in which fewer leave."""

MAX_DEPARTING: Final = 65_536
"""Chosen: ids that a disk which cannot be written may owe us; beyond it it is of no use."""


class Departures:
    """Who is leaving, and who has left lately. One owner: persistence.

    Attributes:
        is_trusted: The disk lets go of what is told to leave, so that it may be read.
    """

    def __init__(self) -> None:
        self.is_trusted = True
        self._departing: dict[EntryId, Gone] = {}
        self._departed: OrderedDict[EntryId, None] = OrderedDict()
        self._count = 0

    @property
    def ticket(self) -> int:
        """To be drawn before a read, and shown to `refuses` with what was read."""
        return self._count

    def refuses(self, entry_id: EntryId, ticket: int) -> bool:
        """It left since the ticket was drawn, is about to, or may have."""
        if self._count - ticket > MAX_DEPARTED or not self.is_trusted:
            return True
        return entry_id in self._departing or entry_id in self._departed

    def begin(self, one: Gone) -> None:
        """It was told to leave."""
        if self.is_trusted:
            self._departing[one.entry_id] = one

    def end(self, entry_ids: Iterable[EntryId]) -> list[Gone]:
        """The disk was told; of these, those that were leaving."""
        leaving = self._departing.keys() & set(entry_ids)
        return [self._departing.pop(entry_id) for entry_id in leaving]

    def note(self, gone: Sequence[Gone]) -> None:
        """These are off the disk, told to leave or not."""
        for one in gone:
            self._departed[one.entry_id] = None
        self._count += len(gone)
        while len(self._departed) > MAX_DEPARTED:
            self._departed.popitem(last=False)

    def welcome(self, entry_id: EntryId) -> None:
        """It is written again: the disk had let go of what memory still held."""
        self._departed.pop(entry_id, None)

    def give_up(self) -> bool:
        """Trust the disk no more, if it owes too many; whether that came of it now."""
        if len(self._departing) <= MAX_DEPARTING:
            return False
        self.is_trusted = False
        self._departing.clear()
        return True
