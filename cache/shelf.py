"""Values of many tenants in, so many of them at most out: whoever holds the most gives way.

A shelf is memory that tenants share. One that fills it would push out what the others had learnt:
their partitions that are off would be open again. So what leaves when it is full is, of the tenant
with the most, what was not used longest; and of that, what can be spared, if there is any.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final, Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

_LOOKS: Final = 32
"""Chosen: so many of the oldest are looked at for one that can be spared."""


class Shelf(Generic[K, V]):
    """A bounded mapping. One owner; nothing in here takes a lock."""

    def __init__(self, size: int, can_spare: Callable[[V], bool] | None = None) -> None:
        """Holds `size` values at most; any can be spared if `can_spare` does not say which."""
        self._size = size
        self._can_spare = can_spare
        self._tenants: dict[K, str] = {}
        self._rows: dict[str, OrderedDict[K, V]] = {}
        self._with: dict[int, dict[str, None]] = {}  # by how many they hold, the tenants
        self._most = 0

    def __len__(self) -> int:
        return len(self._tenants)

    def __iter__(self) -> Iterator[tuple[K, V]]:
        """All keys with their values, tenant by tenant."""
        return (pair for row in self._rows.values() for pair in row.items())

    def get(self, key: K) -> V | None:
        """What stands under `key`; that somebody looked changes nothing."""
        tenant = self._tenants.get(key)
        return self._rows[tenant][key] if tenant is not None else None

    def touch(self, key: K) -> None:
        """`key`, which is held, was used."""
        self._rows[self._tenants[key]].move_to_end(key)

    def put(self, key: K, value: V, tenant: str) -> tuple[K, V] | None:
        """Hold `value`, as the last one used; what had to leave for it."""
        if key in self._tenants:
            self.pop(key)
        self._tenants[key] = tenant
        row = self._rows.get(tenant)
        if row is None:
            row = self._rows[tenant] = OrderedDict()
        row[key] = value
        is_full = len(self._tenants) > self._size
        if is_full and len(row) > self._most:
            # One of his own gives way, so that he holds as many as before: there is none to count.
            gone = self._spared(row)
            del self._tenants[gone]
            return gone, row.pop(gone)
        self._counted(tenant, len(row) - 1, len(row))
        return self._evicted() if is_full else None

    def pop(self, key: K) -> V | None:
        """Let go of `key`; what stood there."""
        tenant = self._tenants.pop(key, None)
        if tenant is None:
            return None
        row = self._rows[tenant]
        value = row.pop(key)
        self._counted(tenant, len(row) + 1, len(row))
        if not row:
            del self._rows[tenant]
        return value

    def _counted(self, tenant: str, before: int, after: int) -> None:
        """Who holds the most is known at once, however many tenants there are."""
        if before:
            del self._with[before][tenant]
            if not self._with[before]:
                del self._with[before]
        if after:
            self._with.setdefault(after, {})[tenant] = None
        # One more or one less: the most is where it was, or one beside it.
        self._most = max(self._most, after) if self._most in self._with else after

    def keys_of(self, tenant: str | None) -> list[K]:
        """The keys of one tenant; of all for None."""
        return list(self._tenants) if tenant is None else list(self._rows.get(tenant, ()))

    def _evicted(self) -> tuple[K, V]:
        key = self._spared(self._rows[next(iter(self._with[self._most]))])
        value = self.pop(key)
        assert value is not None  # noqa: S101 - it was just seen there
        return key, value

    def _spared(self, row: OrderedDict[K, V]) -> K:
        """Which of `row` gives way."""
        key, can_spare = next(iter(row)), self._can_spare
        if can_spare is None:
            return key
        oldest = islice(row.items(), min(_LOOKS, len(row) - 1))  # never the one that came last
        return next((key for key, value in oldest if can_spare(value)), key)
