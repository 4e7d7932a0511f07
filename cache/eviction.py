"""Entries that compete for one budget in, those that must leave out: the least worth per byte.

Each entry has a priority: the floor at its last use, plus its uses times what it saves, over its
bytes. Whoever leaves lifts the floor to his own priority, so that what is no longer used is
overtaken by what is, however dear it once was. A newcomer that must displace comes in only if it is
worth at least as much as each one that would leave for it; else it stays out, and lifts the floor
all the same, so that a kind of entry that keeps coming gets in. Source: Cherkasova, "Improving WWW
proxies performance with Greedy-Dual-Size-Frequency caching policy", HPL-98-69R1, sections 2 and 3;
the admission rule is ours.

Rule 1: `bytes_held` never exceeds `max_bytes`.
Rule 2: a priority only rises: the heap's stale ones are too low, and are put right on the way.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Final

from cache.entry import EntryId

USD_PER_TOKEN: Final = 1e-6
"""Chosen: what an answer is worth beside its price, for each of its tokens: it took time to make.
A dollar for a million is a small model's price: a ladder without prices has values too."""


def worth_usd(cost_usd: float, tokens_out: int) -> float:
    """What one hit saves, in dollars; never nothing."""
    return cost_usd + USD_PER_TOKEN * (1 + tokens_out)


@dataclass(slots=True)
class _Place:
    size_bytes: int
    usd_per_byte: float
    uses: int
    priority: float


class Pool:
    """One budget. One owner; nothing in here takes a lock."""

    __slots__ = ("_floor", "_heap", "_places", "bytes_held", "max_bytes")

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes_held = 0
        self._floor = 0.0
        self._places: dict[EntryId, _Place] = {}
        self._heap: list[tuple[float, EntryId]] = []

    def __len__(self) -> int:
        return len(self._places)

    def admit(
        self, entry_id: EntryId, size_bytes: int, worth_usd: float, uses: int = 1
    ) -> dict[EntryId, int]:
        """Take an entry in; who must leave for it: others, or itself alone, if it is worth less.

        With each, how often it had been used.

        `uses` are those of the entry that it replaces, if it replaces one.
        """
        if size_bytes > self.max_bytes:
            return {entry_id: uses}
        usd_per_byte = worth_usd / size_bytes
        priority = self._floor + uses * usd_per_byte
        leaving = self._leaving(size_bytes, priority)
        if leaving is None:
            self._floor = max(self._floor, priority)
            return {entry_id: uses}
        gone = {}
        for each in leaving:
            self._floor = max(self._floor, self._places[each].priority)
            gone[each] = self.drop(each)
        self._places[entry_id] = _Place(size_bytes, usd_per_byte, uses, priority)
        self.bytes_held += size_bytes
        heapq.heappush(self._heap, (priority, entry_id))
        return gone

    def _leaving(self, size_bytes: int, priority: float) -> list[EntryId] | None:
        """Who makes room for `size_bytes`; None if that would cost more than it brings."""
        spare, taken = self.max_bytes - self.bytes_held, []
        while spare < size_bytes:
            lowest = self._lowest()
            taken.append(lowest)
            spare += self._places[lowest[1]].size_bytes
            if lowest[0] > priority:
                break
        is_worth_it = spare >= size_bytes and (not taken or taken[-1][0] <= priority)
        if not is_worth_it:
            for each in taken:
                heapq.heappush(self._heap, each)
            return None
        return [entry_id for _, entry_id in taken]

    def _lowest(self) -> tuple[float, EntryId]:
        """The lowest priority and whose it is, taken off the heap."""
        while True:
            priority, entry_id = heapq.heappop(self._heap)
            place = self._places.get(entry_id)
            if place is None:
                continue  # it left
            if place.priority == priority:
                return priority, entry_id
            heapq.heappush(self._heap, (place.priority, entry_id))

    def use(self, entry_id: EntryId) -> None:
        """It was served once more."""
        place = self._places[entry_id]
        place.uses += 1
        place.priority = self._floor + place.uses * place.usd_per_byte

    def drop(self, entry_id: EntryId) -> int:
        """It left; how often it had been used."""
        place = self._places.pop(entry_id)
        self.bytes_held -= place.size_bytes
        if len(self._heap) > 2 * len(self._places) + 64:
            self._heap = [(place.priority, each) for each, place in self._places.items()]
            heapq.heapify(self._heap)
        return place.uses
