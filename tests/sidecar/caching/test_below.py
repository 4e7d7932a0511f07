"""Memory, index and disk together against a naive model, whatever happens and in whatever order."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cache.entry import Candidate, Entry, Vector
from cache.epochs import EVERYTHING, Selector
from cache.errors import StoreError
from cache.look import SecondLook
from cache.policy import SemanticConfig
from cache.risk import RiskModel
from cache.semantic import SemanticCache
from cache.stores.disk import DiskStore
from cache.stores.memory import MemoryStore, entry_bytes
from cache.stores.reader import DiskReader
from sidecar.caching.indexing import Indexing
from sidecar.caching.keeper import Keeper
from sidecar.caching.persistence import Persistence
from sidecar.caching.reads import Reads
from tests.sidecar.caching.test_keeper import FakeHook, FakeOwner
from tests.sidecar.caching.test_lookup import ENTRY

T = TypeVar("T")

LOOK = SecondLook(RiskModel.load(), 0.02)
NAMES, TAGS = 8, ("a", "b")
PARTITION = b"p" * 20
_ROOM = 3.5


class AtOnce(Executor):
    """An executor that has done the work before it says that it will."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        done: Future[T] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except StoreError as fault:
            done.set_exception(fault)
        return done


def direction(name: int) -> Vector:
    vector = np.zeros(NAMES, np.float32)
    vector[name] = 1.0
    return vector


class Life:
    """One process's parts; `crash` leaves the disk as it is."""

    def __init__(self, path: Path) -> None:
        self.disk = DiskStore.open(path, "e")
        self.readers = [DiskReader.open(path, "e") for _ in range(2)]
        self.index = SemanticCache(
            encoder_id="e", look=LOOK, config=SemanticConfig(), source=self.readers[0]
        )
        self.store = MemoryStore(int(_ROOM * entry_bytes(ENTRY)))
        self.below = Persistence(
            disk=self.disk,
            reads=Reads(self.readers[1], thread=AtOnce(), hook=FakeHook(), budget_s=60.0),
            thread=AtOnce(),
            hook=FakeHook(),
        )
        self.keeper = Keeper(
            store=self.store,
            indexing=Indexing(index=self.index, owner=FakeOwner(), hook=FakeHook()),
            below=self.below,
        )

    async def find(self, entry: Entry) -> Entry | None:
        """What a caller would get under this key."""
        kept = self.store.get(entry.fingerprint, 1.0)
        kept = kept or await self.keeper.find_below(entry.fingerprint)
        return None if kept is None or self.keeper.is_void(kept) else kept


class Below(RuleBasedStateMachine):
    """`current` is what must be found, `durable` what is if the process dies now."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.runner = asyncio.Runner()
        self.current: dict[int, Entry] = {}
        self.durable: dict[int, Entry | None] = {}
        self.begin()

    def begin(self) -> None:
        self.life = Life(self.folder / "cache.sqlite")
        self.runner.run(self.life.keeper.start())

    def settle(self) -> None:
        self.runner.run(self.life.keeper.tally(EVERYTHING))
        self.durable = dict(self.current)

    @rule(name=st.integers(0, NAMES - 1), tag=st.sampled_from(TAGS), cost=st.integers(0, 2))
    def put(self, name: int, tag: str, cost: int) -> None:
        """It takes the place of what was kept under its key."""
        entry = self.made(name, tag, cost)
        assert self.life.keeper.keep(entry)
        self.durable.setdefault(name, self.current.get(name))
        self.current[name] = entry

    def made(self, name: int, tag: str, cost: int) -> Entry:
        keeper = self.life.keeper
        return replace(
            ENTRY,
            entry_id=keeper.next_id(),
            fingerprint=bytes([name]) * 20,
            partition=PARTITION,
            question=f"What is question {name}?",
            vector=direction(name),
            tags=(tag,),
            cost_usd=ENTRY.cost_usd + cost,
            epoch=keeper.epochs.now,
            expires_at=1e12,
        )

    @rule(name=st.integers(0, NAMES - 1))
    def get(self, name: int) -> None:
        """The newest one, wherever it lies."""
        found = self.runner.run(self.life.find(replace(ENTRY, fingerprint=bytes([name]) * 20)))
        expected = self.current.get(name)
        assert (found and found.entry_id) == (expected and expected.entry_id)

    @rule(name=st.integers(0, NAMES - 1))
    def find_by_meaning(self, name: int) -> None:
        """No ghost is accepted, and none that is kept is missing."""
        index = self.life.index
        found = index.judge(PARTITION, f"What is question {name}?", direction(name), now_at=1.0)
        near = [
            one.candidate.entry_id
            for one in found
            if one.candidate.similarity > 0.9 and self.may_serve(one.candidate)
        ]
        expected = self.current.get(name)
        assert near == ([expected.entry_id] if expected is not None else [])

    def may_serve(self, candidate: Candidate) -> bool:
        """Rows outlive what voids or replaces them by a moment, and never come up in it."""
        entry, life = candidate.below, self.life
        assert entry is not None
        return life.below.may_rise(entry, life.below.ticket) and not life.keeper.epochs.voids(entry)

    @rule()
    def write(self) -> None:
        """The disk has caught up, and no id is left in the index that nothing is kept under."""
        self.settle()
        self.runner.run(self.life.below.carry_out())
        index = self.life.index.partitions.find(PARTITION, NAMES)
        kept = [one.entry_id for one in self.current.values()]
        assert (index.oldest(99) if index is not None else []) == sorted(kept)

    @rule(tag=st.sampled_from(TAGS))
    def invalidate(self, tag: str) -> None:
        """Nothing with the tag comes back, not from disk either."""
        assert self.runner.run(self.life.keeper.invalidate(Selector("tag", tag)))
        self.current = {n: e for n, e in self.current.items() if tag not in e.tags}
        self.durable = dict(self.current)

    @rule(name=st.integers(0, NAMES - 1))
    def forget(self, name: int) -> None:
        """One that went wrong is gone at once."""
        entry = self.current.pop(name, None)
        if entry is not None:
            self.durable.setdefault(name, entry)
            assert self.life.keeper.forget(entry.entry_id)

    @rule()
    def restart(self) -> None:
        """Nothing is lost, and nothing is loaded."""
        self.runner.run(self.life.keeper.close())
        self.life.readers[0].close()
        self.durable = dict(self.current)
        self.begin()
        assert len(self.life.store) == 0

    @rule()
    def crash(self) -> None:
        """What was not written is lost; what was kept before it under that key may be back."""
        self.runner.close()
        self.runner = asyncio.Runner()
        before = self.current
        self.begin()
        for name in {*before, *self.durable}:
            found = self.runner.run(self.life.find(replace(ENTRY, fingerprint=bytes([name]) * 20)))
            allowed = [before.get(name), self.durable.get(name, before.get(name))]
            assert (found and found.entry_id) in [one and one.entry_id for one in allowed]
            before = {k: v for k, v in before.items() if k != name}
            if found is not None:
                before[name] = found
        self.current = before
        self.durable = {}

    @invariant()
    def memory_is_bounded(self) -> None:
        """And counts what it holds."""
        assert self.life.store.bytes_held <= _ROOM * entry_bytes(ENTRY)

    def teardown(self) -> None:
        self.runner.run(self.life.keeper.close())
        self.runner.close()
        shutil.rmtree(self.folder)


Below.TestCase.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)
TestBelow = Below.TestCase
