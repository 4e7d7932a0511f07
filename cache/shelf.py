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

    def __init__(self, size: int, can_spare: Callable[[V], bool] = lambda _: True) -> None:
        """Holds `size` values at most."""
        self._size = size
        self._can_spare = can_spare
        self._tenants: dict[K, str] = {}
        self._rows: dict[str, OrderedDict[K, V]] = {}

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
        self.pop(key)
        self._tenants[key] = tenant
        self._rows.setdefault(tenant, OrderedDict())[key] = value
        return self._evicted() if len(self) > self._size else None

    def pop(self, key: K) -> V | None:
        """Let go of `key`; what stood there."""
        tenant = self._tenants.pop(key, None)
        if tenant is None:
            return None
        row = self._rows[tenant]
        value = row.pop(key)
        if not row:
            del self._rows[tenant]
        return value

    def keys_of(self, tenant: str | None) -> list[K]:
        """The keys of one tenant; of all for None."""
        return list(self._tenants) if tenant is None else list(self._rows.get(tenant, ()))

    def _evicted(self) -> tuple[K, V]:
        row = max(self._rows.values(), key=len)
        oldest = islice(row.items(), min(_LOOKS, len(row) - 1))  # never the one that came last
        key = next((key for key, value in oldest if self._can_spare(value)), next(iter(row)))
        value = self.pop(key)
        assert value is not None  # noqa: S101 - it was just seen there
        return key, value
