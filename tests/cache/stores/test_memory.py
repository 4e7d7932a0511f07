"""MemoryStore against a naive model, and its bytes against the interpreter's."""

from __future__ import annotations

import tracemalloc
from decimal import Decimal

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cache.entry import Entry
from cache.stores.memory import MemoryStore, entry_bytes

MAX_BYTES = 12_000


def entry(entry_id: int, name: int = 0, size: int = 10, expires_at: float = 50.0) -> Entry:
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
        cost_usd=Decimal("0.1"),
        created_at=float(entry_id),
        expires_at=expires_at,
    )


class Ledger(RuleBasedStateMachine):
    """The naive model is a list, last used last."""

    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryStore(MAX_BYTES)
        self.model: list[Entry] = []
        self.last_id = 0

    @rule(name=st.integers(0, 6), size=st.integers(0, 13_000), expires_at=st.floats(0, 100))
    def put(self, name: int, size: int, expires_at: float) -> None:
        """Replaces its namesake, evicts the least recently used, tells what left."""
        self.last_id += 1
        made = entry(self.last_id, name, size, expires_at)
        before = [*self.model]
        if entry_bytes(made) <= MAX_BYTES:
            self.model = [one for one in self.model if one.fingerprint != made.fingerprint]
            self.model.append(made)
            while sum(map(entry_bytes, self.model)) > MAX_BYTES:
                self.model.pop(0)
        gone = self.store.put(made)
        expected = {one.entry_id for one in [*before, made]} - {one.entry_id for one in self.model}
        assert {one.entry_id for one in gone} == expected
        assert len(gone) == len(expected)

    @rule(name=st.integers(0, 6), now_at=st.floats(0, 100), max_age_s=st.none() | st.floats(0, 50))
    def get(self, name: int, now_at: float, max_age_s: float | None) -> None:
        """By key and by id the same entry, unless it is too old."""
        key = name.to_bytes(20, "big")
        kept = next((one for one in self.model if one.fingerprint == key), None)
        if kept is not None and (
            kept.expires_at <= now_at
            or (max_age_s is not None and now_at - kept.created_at >= max_age_s)
        ):
            kept = None
        assert self.store.get(key, now_at, max_age_s) is kept
        if kept is not None:
            self.model.remove(kept)
            self.model.append(kept)
            assert self.store.get_by_id(kept.entry_id, now_at, max_age_s) is kept

    @rule(entry_id=st.integers(0, 30))
    def remove(self, entry_id: int) -> None:
        """Gives back what was kept."""
        kept = next((one for one in self.model if one.entry_id == entry_id), None)
        self.model = [one for one in self.model if one is not kept]
        assert self.store.remove(entry_id) is kept

    @rule(now_at=st.floats(0, 100))
    def expire(self, now_at: float) -> None:
        """Everything that may no longer be served leaves."""
        old = {one.entry_id for one in self.model if one.expires_at <= now_at}
        self.model = [one for one in self.model if one.entry_id not in old]
        assert {one.entry_id for one in self.store.expired(now_at)} == old

    @invariant()
    def agrees(self) -> None:
        """Count and bytes, within the budget."""
        assert len(self.store) == len(self.model)
        assert self.store.bytes_held == sum(map(entry_bytes, self.model)) <= MAX_BYTES


TestLedger = Ledger.TestCase


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
