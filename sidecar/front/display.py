"""The owner's exact hits in; in the table, for as long as they are true, out.

What is shown is an exact hit that the owner has just given, under the key of the request as it
came. It goes as soon as anything changes that it followed from:

Rule 1: an entry that leaves memory, for whatever reason, takes what was shown of it along.
Rule 2: an invalidation, a new config, another artifact empty the table; and what was begun before
        is not shown after.
Rule 3: while any switch of the operator holds, the table is shut.
Rule 4: a caller whose requests are counted (rates), a drill, a request with cache directives or
        debug headers is never shown: each of those is to be decided anew.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from decimal import Decimal
from typing import Final

from cache.entry import Entry, EntryId
from cache.policy import CacheControl
from cache.stores.memory import entry_bytes
from sidecar.accounting.again import Again, may_be_given_again, weight_bytes
from sidecar.front.table import Table
from sidecar.ledger import Ledger

MAX_WEIGHT_BYTES: Final = 64 * 2**20
"""Chosen: what the owner holds to account for what is shown, beside the table itself."""

MAX_RETIRED: Final = 4_096
"""Chosen: of records that are shown no more; a front tells what it served within 50 ms."""

MAX_RETIRED_BYTES: Final = 16 * 2**20
"""Chosen: of their entries, which the cache may have let go of; four thousand of 4 kB."""


class Display:
    """The one owner of the table. Lives on the event loop's thread.

    Attributes:
        last: The account that was closed last.
    """

    def __init__(self, handle: int) -> None:
        self._table = Table(handle, self._left)
        self._shown: dict[int, tuple[Again, int]] = {}  # by number, with what it weighs
        self._numbers: dict[EntryId, set[int]] = {}
        self._weight = 0
        self._retired: OrderedDict[int, Again] = OrderedDict()
        self._retired_bytes = 0
        self._is_ruled = self._is_ready = False
        self.last: Ledger | None = None

    def __len__(self) -> int:
        return len(self._table)

    @property
    def generation(self) -> int:
        """To be drawn before a request is served, see `show`."""
        return self._table.generation

    def closed(self, ledger: Ledger, cost_usd: Decimal) -> None:  # noqa: ARG002 - the protocol's shape
        """See accounting.Watch."""
        self.last = ledger

    def gone(self, entry: Entry) -> None:
        """Memory does not hold `entry` any more."""
        for number in list(self._numbers.get(entry.entry_id, ())):
            self._table.remove(number)

    def void(self) -> None:
        """Something changed that any answer may have followed from."""
        self._table.empty()

    def ready(self) -> None:
        """From now on it may be read."""
        self._is_ready = True
        self._turn()

    def ruled(self, *, is_ruled: bool) -> None:
        """Whether any switch of the operator holds."""
        self._is_ruled = is_ruled
        self._turn()

    def _turn(self) -> None:
        if self._is_ready and not self._is_ruled:
            self._table.open()
        else:
            self._table.shut()

    def show(self, key: bytes, payload: bytes, again: Again, request_bytes: int) -> None:
        """Let fronts give what a hit gave."""
        assert again.ledger.hit is not None  # noqa: S101 - see `may_show`
        entry = again.ledger.hit.entry
        number = self._table.put(key, payload, entry.expires_at)
        if number is None:
            return
        weight = weight_bytes(request_bytes)
        self._shown[number] = again, weight
        self._numbers.setdefault(entry.entry_id, set()).add(number)
        self._weight += weight
        while self._weight > MAX_WEIGHT_BYTES:
            self._table.drop_oldest()

    def find(self, number: int) -> Again | None:
        """What was shown under `number`, also if it has just gone."""
        shown = self._shown.get(number)
        return shown[0] if shown is not None else self._retired.get(number)

    def _left(self, number: int) -> None:
        again, weight = self._shown.pop(number)
        self._weight -= weight
        assert again.ledger.hit is not None  # noqa: S101 - shown
        entry_id = again.ledger.hit.entry.entry_id
        self._numbers[entry_id].discard(number)
        if not self._numbers[entry_id]:
            del self._numbers[entry_id]
        self._retired[number] = again
        self._retired_bytes += _entry_bytes(again)
        while len(self._retired) > MAX_RETIRED or self._retired_bytes > MAX_RETIRED_BYTES:
            self._retired_bytes -= _entry_bytes(self._retired.popitem(last=False)[1])

    def close(self) -> None:
        """Shut it for good."""
        self._table.close()


def _entry_bytes(again: Again) -> int:
    assert again.ledger.hit is not None  # noqa: S101 - shown
    return entry_bytes(again.ledger.hit.entry)


def may_show(ledger: Ledger, find: Callable[[EntryId], Entry | None]) -> bool:
    """It is an exact hit that the same bytes would get again; `find` gives what is kept now."""
    hit = ledger.hit
    return (
        hit is not None
        and may_be_given_again(ledger)
        and ledger.status == 200  # noqa: PLR2004 - HTTP's own
        and not ledger.error
        and ledger.teaches
        and ledger.inquiry.options.cache_control == CacheControl()
        and find(hit.entry.entry_id) is hit.entry
    )
