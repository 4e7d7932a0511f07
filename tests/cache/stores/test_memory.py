"""MemoryStore against a naive model, and its bytes against the interpreter's."""

from __future__ import annotations

import tracemalloc
from decimal import Decimal

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cache.entry import Entry
from cache.eviction import worth_usd
from cache.stores.memory import MemoryStore, entry_bytes

MAX_BYTES = 12_000


QUOTAS = {"a": 5_000, "b": 3_000}
TENANTS = ("a", "b", "c", "d")


def entry(
    entry_id: int,
    name: int = 0,
    size: int = 10,
    expires_at: float = 50.0,
    tenant: str = "",
    cost: int = 1,
) -> Entry:
    return Entry(
        entry_id=entry_id,
        fingerprint=name.to_bytes(20, "big"),
        partition=None,
        question="",
        vector=None,
        body=b"x" * size,
        tier="small",
        model="m",
        tokens_in=1,
        tokens_out=1,
        cost_usd=Decimal(cost) / 10,
        created_at=float(entry_id),
        expires_at=expires_at,
        tenant=tenant,
    )


class Naive:
    """One pool as a list: the floor, and what each entry's priority came to."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes, self.floor = max_bytes, 0.0
        self.kept: list[Entry] = []
        self.uses: dict[int, int] = {}
        self.priority: dict[int, float] = {}

    def use(self, one: Entry) -> None:
        self.uses[one.entry_id] += 1
        self.priority[one.entry_id] = self.floor + self.uses[one.entry_id] * density(one)

    def put(self, made: Entry) -> None:
        old = next((one for one in self.kept if one.fingerprint == made.fingerprint), None)
        uses = self.uses[old.entry_id] if old else 1
        self.kept = [one for one in self.kept if one is not old]
        if entry_bytes(made) > self.max_bytes:
            return
        priority, staying = self.floor + uses * density(made), list(self.kept)
        staying.sort(key=lambda one: (self.priority[one.entry_id], one.entry_id))
        leaving = []
        while sum(map(entry_bytes, staying)) + entry_bytes(made) > self.max_bytes:
            leaving.append(self.priority[staying.pop(0).entry_id])
        if leaving and leaving[-1] > priority:
            self.floor = max(self.floor, priority)
            return
        self.floor = max([self.floor, *leaving])
        self.kept = [one for one in self.kept if one in staying] + [made]
        self.uses[made.entry_id], self.priority[made.entry_id] = uses, priority


def density(one: Entry) -> float:
    return worth_usd(float(one.cost_usd), one.tokens_out) / entry_bytes(one)


class Ledger(RuleBasedStateMachine):
    """Two tenants of their own quota and the others, each against a naive pool."""

    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryStore(MAX_BYTES, QUOTAS)
        shared = Naive(MAX_BYTES - sum(QUOTAS.values()))
        self.pools = {"": shared, **{name: Naive(quota) for name, quota in QUOTAS.items()}}
        self.last_id = 0

    @property
    def model(self) -> list[Entry]:
        return [one for pool in self.pools.values() for one in pool.kept]

    @rule(
        name=st.integers(0, 9),
        size=st.integers(0, 6_000),
        expires_at=st.floats(0, 100),
        cost=st.integers(0, 3),
    )
    def put(self, name: int, size: int, expires_at: float, cost: int) -> None:
        """Replaces its namesake, evicts what is worth least in its pool, tells what left."""
        self.last_id += 1
        tenant = TENANTS[name % len(TENANTS)]
        made = entry(self.last_id, name, size, expires_at, tenant=tenant, cost=cost)
        before = self.model
        self.pools[tenant if tenant in QUOTAS else ""].put(made)
        left = self.store.put(made)
        gone = [*left.replaced, *(one for one, _ in left.evicted)]
        expected = {one.entry_id for one in [*before, made]} - {one.entry_id for one in self.model}
        assert {one.entry_id for one in gone} == expected
        assert len(gone) == len(expected)
        own = {one.tenant if one.tenant in QUOTAS else "" for one in gone}
        assert own <= {tenant if tenant in QUOTAS else ""}

    @rule(
        name=st.integers(0, 9),
        now_at=st.floats(0, 100),
        max_age_s=st.none() | st.floats(0, 50),
        stale_s=st.sampled_from([0.0, 10.0]),
    )
    def get(self, name: int, now_at: float, max_age_s: float | None, stale_s: float) -> None:
        """By key and by id the same entry, unless it is too old."""
        key = name.to_bytes(20, "big")
        kept = next((one for one in self.model if one.fingerprint == key), None)
        if kept is not None and (
            kept.expires_at <= now_at - stale_s
            or (max_age_s is not None and now_at - kept.created_at >= max_age_s)
        ):
            kept = None
        assert self.store.get(key, now_at, max_age_s, stale_s) is kept
        if kept is not None:
            self._pool(kept).use(kept)
            if kept.expires_at > now_at:
                assert self.store.get_by_id(kept.entry_id, now_at, max_age_s) is kept
                self._pool(kept).use(kept)

    def _pool(self, one: Entry) -> Naive:
        return self.pools[one.tenant if one.tenant in QUOTAS else ""]

    @rule(entry_id=st.integers(0, 30))
    def remove(self, entry_id: int) -> None:
        """Gives back what was kept."""
        kept = next((one for one in self.model if one.entry_id == entry_id), None)
        if kept is not None:
            self._pool(kept).kept.remove(kept)
        assert self.store.remove(entry_id) is kept

    @rule(now_at=st.floats(0, 100))
    def expire(self, now_at: float) -> None:
        """Everything that may no longer be served leaves."""
        old = {one.entry_id for one in self.model if one.expires_at <= now_at}
        for pool in self.pools.values():
            pool.kept = [one for one in pool.kept if one.entry_id not in old]
        assert {one.entry_id for one in self.store.expired(now_at)} == old

    @invariant()
    def agrees(self) -> None:
        """The same entries, counted and within each budget."""
        assert {one.entry_id for one in self.store} == {one.entry_id for one in self.model}
        assert len(self.store) == len(self.model)
        assert self.store.bytes_held == sum(map(entry_bytes, self.model)) <= MAX_BYTES
        for tenant, pool in self.store.pools().items():
            assert pool.bytes_held == sum(map(entry_bytes, self.pools[tenant].kept))
            assert pool.bytes_held <= pool.max_bytes


TestLedger = Ledger.TestCase


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 4_000)), max_size=40))
def test_new_quotas_hold_at_once(asked: list[tuple[int, int]]) -> None:
    """After a change nobody holds more than he may, and what left was told."""
    store, told = MemoryStore(MAX_BYTES), set[int]()
    for number, (name, size) in enumerate(asked):
        tenant = TENANTS[name % len(TENANTS)]
        left = store.put(entry(number, name, size, tenant=tenant))
        told |= {one.entry_id for one in (*left.replaced, *(one for one, _ in left.evicted))}
    told |= {one.entry_id for one, _ in store.allot(QUOTAS)}
    assert {one.entry_id for one in store} == set(range(len(asked))) - told
    assert all(pool.bytes_held <= pool.max_bytes for pool in store.pools().values())
    assert store.pools()["a"].max_bytes == QUOTAS["a"]


def test_bytes_are_honest() -> None:
    """What an entry is said to take lies within a tenth above what the interpreter takes for it."""
    count, store = 2_000, MemoryStore(1 << 30)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for i in range(count):
        store.put(
            Entry(
                entry_id=10_000 + i,
                fingerprint=i.to_bytes(20, "big"),
                partition=i.to_bytes(20, "little"),
                question=f"How do I bake {i} loaves of bread?",
                vector=np.full(384, i, np.float32),
                body=b"x" * (500 + i % 7),
                tier=f"tier {i}",
                model=f"model {i}",
                tokens_in=1_000 + i,
                tokens_out=2_000 + i,
                cost_usd=Decimal(i) / 1000,
                created_at=float(i),
                expires_at=float(i) + 0.5,
            )
        )
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert taken <= store.bytes_held <= 1.1 * taken
