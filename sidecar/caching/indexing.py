"""Changes of what is kept in; the index's owner told of them, in their order, and nobody waits."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final, Protocol

from cache.entry import Entry, EntryId
from cache.stores.disk import Gone
from sidecar.errors import EncoderError

MAX_WAITING: Final = 10_000
"""Chosen: changes that may wait for an owner whose queue is full; as many as for the disk."""

_AT_ONCE: Final = 128
"""Chosen: entries in one work of the index's owner: 4 ms where they lie in cells, then texts again.
"""


class Owner(Protocol):
    """The thread that owns the index."""

    def post(self, work: Callable[[], None]) -> None:
        """Have `work` done there, in order; raises EncoderError if too much waits."""
        ...


class MeaningKeeper(Protocol):
    """The half of SemanticCache that changes it."""

    def add(self, entry: Entry) -> None:
        """Raises CacheError."""
        ...

    def hold(self, entry: Entry) -> None:
        """Memory holds it again."""
        ...

    def settle(self, entry_ids: Iterable[EntryId]) -> None:
        """These are on disk."""
        ...

    def release(self, entry_ids: Iterable[EntryId]) -> None:
        """Memory let go of these, and the disk keeps them."""
        ...

    def remove(self, entry_id: EntryId, partition: bytes | None = None) -> None:
        """An id that is not kept is no fault."""
        ...


class Hook(Protocol):
    """Hears what cannot be raised."""

    def lost_write(self, count: int) -> None:
        """So many changes did not reach the index."""
        ...


class Indexing:
    """What the owner has yet to hear. One owner: the keeper.

    A fault of the index costs the entry's meaning, never the entry.
    """

    def __init__(self, *, index: MeaningKeeper, owner: Owner, hook: Hook) -> None:
        self._index = index
        self._owner = owner
        self._hook = hook
        self._held_back: deque[Callable[[], None]] = deque()

    def add(self, entry: Entry) -> None:
        """It is kept from now on, and is to be found by its meaning."""
        self._post(partial(self._index.add, entry))

    def hold(self, entry: Entry) -> None:
        """Memory holds it again."""
        self._post(partial(self._index.hold, entry))

    def settle(self, entry_ids: Sequence[EntryId]) -> None:
        """These are on disk."""
        self._post(partial(self._index.settle, entry_ids))

    def release(self, entry_ids: Sequence[EntryId]) -> None:
        """Memory let go of these, and the disk keeps them."""
        self._post(partial(self._index.release, entry_ids))

    def forget(self, entry_id: EntryId) -> None:
        """It is kept no more, and where it lay is not known."""
        self._post(partial(self._index.remove, entry_id))

    def remove(self, departing: Sequence[Gone]) -> None:
        """These are kept no more; one without a partition has no meaning to forget."""
        gone = [one for one in departing if one.partition is not None]
        for begin in range(0, len(gone), _AT_ONCE):
            self._post(partial(self._remove, gone[begin : begin + _AT_ONCE]))

    def _remove(self, gone: Iterable[Gone]) -> None:
        """On the owner's thread."""
        for one in gone:
            self._index.remove(one.entry_id, one.partition)

    def _post(self, work: Callable[[], None]) -> None:
        self._held_back.append(work)
        self.hand_over()

    def hand_over(self) -> None:
        """Hand what is held back to the owner, as far as its queue has room."""
        try:
            while self._held_back:
                self._owner.post(self._held_back[0])
                self._held_back.popleft()
        except EncoderError:
            if len(self._held_back) > MAX_WAITING:
                # Removals go too: the store answers for what is gone, the index only points to it.
                self._held_back.popleft()
                self._hook.lost_write(1)
