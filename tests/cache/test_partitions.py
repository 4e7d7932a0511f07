"""Partitions and the laying of their indexes, against the oracle, whatever happens meanwhile."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import cache.growth
from cache.entry import Vector
from cache.errors import CacheError
from cache.growth import Change, GrowingIndex, Layout, filled, replay
from cache.index.cells import CellIndex, Cells
from cache.index.codes import Rows, encoded
from cache.index.rows import RowIndex
from cache.partitions import SMALL, Partitions
from tests.cache.index.test_layouts import DIM, vectors

HERE, THERE = b"h" * 20, b"t" * 20
KEPT = vectors(40, 21)


def cells() -> CellIndex:
    return CellIndex(Cells(encoded(vectors(4, 7)), fit=1.0), probes=4)


class FakeDisk:
    """The rows that are written, and how often they were read."""

    def __init__(self, rows: dict[bytes, dict[int, Vector]] | None = None) -> None:
        self.written: dict[bytes, dict[int, Vector]] = rows or {}
        self.reads = 0
        self.is_broken = False

    def rows(self, partition: bytes, dim: int, limit: int) -> Rows | None:
        self.reads += 1
        if self.is_broken:
            raise CacheError("broken")
        kept = sorted(self.written.get(partition, {}).items())[:limit]
        if not kept:
            return None
        ids, rows = zip(*kept, strict=True)
        return Rows(np.array(ids), encoded(np.stack(rows)))


class Laying(RuleBasedStateMachine):
    """An index is laid anew, step by step, while it changes: nothing is lost and nothing stays."""

    def __init__(self) -> None:
        super().__init__()
        self.index = GrowingIndex(DIM)
        self.model: set[int] = set()
        self.used: set[int] = set()
        self.copied: list[Rows] | None = None
        self.parts = 0
        self.layout: Layout | None = None

    @rule(entry_id=st.integers(0, 39))
    def add(self, entry_id: int) -> None:
        """An id is used once."""
        if entry_id not in self.used:
            self.index.add(entry_id, KEPT[entry_id])
            self.model.add(entry_id)
            self.used.add(entry_id)

    @rule(entry_id=st.integers(0, 39))
    def remove(self, entry_id: int) -> None:
        """Whether it is kept or not."""
        self.index.remove(entry_id)
        self.model.discard(entry_id)

    @precondition(lambda self: self.copied is None)
    @rule()
    def begin(self) -> None:
        """Changes are noted from here on."""
        self.index.begin()
        self.copied, self.parts, self.layout = [], self.index.parts, None

    @precondition(lambda self: self.copied is not None and len(self.copied) < self.parts)
    @rule()
    def copy(self) -> None:
        """One part, at any time."""
        assert self.copied is not None
        self.copied.append(self.index.copy(len(self.copied), self.parts))

    @precondition(lambda self: self.copied is not None and len(self.copied) == self.parts)
    @rule(has_cells=st.booleans())
    def fill(self, has_cells: bool) -> None:  # noqa: FBT001 - drawn
        """The other thread's work."""
        if self.layout is None and self.copied is not None:
            self.layout = cells() if has_cells else RowIndex(DIM)
            for rows in self.copied:
                self.layout.take(rows)

    @precondition(lambda self: self.layout is not None)
    @rule()
    def catch_up(self) -> None:
        """As often as one likes."""
        assert self.layout is not None
        replay(self.layout, self.index.changes())

    @precondition(lambda self: self.layout is not None)
    @rule()
    def swap(self) -> None:
        """The new one is at work."""
        assert self.layout is not None
        self.index.swap(self.layout)
        self.copied = self.layout = None

    @precondition(lambda self: self.copied is not None)
    @rule()
    def give_up(self) -> None:
        """The old one stays at work."""
        self.index.give_up()
        self.copied = self.layout = None

    @invariant()
    def agrees(self) -> None:
        """No ghost, none missing."""
        assert set(self.index.oldest(99)) == self.model
        assert {one.entry_id for one in self.index.nearest(KEPT[0], 99)} == self.model
        assert len(self.index) == len(self.model)


Laying.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestLaying = Laying.TestCase


@settings(deadline=None)
@given(
    on_disk=st.sets(st.integers(0, 19)),
    unwritten=st.sets(st.integers(10, 29)),
    added=st.sets(st.integers(30, 39)),
    removed=st.sets(st.integers(0, 39)),
    is_large=st.booleans(),
)
def test_a_cold_partition_gives_what_one_gives_that_was_always_there(
    on_disk: set[int],
    unwritten: set[int],
    added: set[int],
    removed: set[int],
    is_large: bool,  # noqa: FBT001 - drawn
) -> None:
    """What the disk holds and what is on its way there, less what left while it was read."""
    disk = FakeDisk({HERE: {each: KEPT[each] for each in on_disk}})
    far = {1_000 + each: KEPT[each % 40] for each in range(SMALL + 1)} if is_large else {}
    disk.written[HERE] |= far
    wanted: list[bytes] = []
    waiting = [Change(each, KEPT[each]) for each in unwritten]
    partitions = Partitions(
        source=disk, on_wanted=wanted.append, unwritten=lambda p: waiting if p == HERE else ()
    )
    index = partitions.find(HERE, DIM)
    for each in added:
        partitions.add(HERE, each, KEPT[each])
    for each in removed:
        partitions.remove(HERE, each)
    if is_large:
        index = partitions.begin(HERE)
        assert wanted == [HERE]
        assert index is not None
        assert not index.is_open
        rows = disk.rows(HERE, DIM, 10_000)
        assert rows is not None
        layout = filled([rows], DIM)
        replay(layout, index.changes())
        partitions.end(HERE, index, layout)
    expected = ((on_disk | unwritten | added) - removed) | far.keys()
    index = partitions.find(HERE, DIM)
    # What left while it was only on disk leaves the disk too, and is then told once more.
    ghosts = set() if index is None else set(index.oldest(9_999)) - expected
    assert ghosts <= (on_disk | unwritten) & removed
    for each in removed:
        partitions.remove(HERE, each)
        disk.written[HERE].pop(each, None)
    waiting[:] = [change for change in waiting if change.entry_id not in removed]
    index = partitions.find(HERE, DIM)
    assert (set() if index is None else set(index.oldest(9_999))) == expected
    assert partitions.rows == len(expected)


def test_what_was_not_asked_for_lately_is_closed_and_read_again() -> None:
    """The bytes of all open ones stay within their budget."""
    disk = FakeDisk({bytes([n]) * 20: {n * 100 + i: KEPT[i] for i in range(40)} for n in range(9)})
    partitions = Partitions(source=disk, max_bytes=9_000)
    for number in range(9):
        assert partitions.find(bytes([number]) * 20, DIM) is not None
        assert partitions.bytes_held <= 9_000
    assert 1 <= len(partitions) < 9
    reads = disk.reads
    assert partitions.find(bytes([8]) * 20, DIM) is not None
    assert disk.reads == reads
    index = partitions.find(bytes([0]) * 20, DIM)
    assert disk.reads == reads + 1
    assert index is not None
    assert len(index) == 40


def test_one_that_is_too_large_keeps_its_newest() -> None:
    """Where a disk keeps the others; without one memory is all there is."""
    for source in (FakeDisk(), None):
        partitions = Partitions(source=source, max_bytes=6_000)
        for each in range(400):
            partitions.add(HERE, each, KEPT[each % 40])
        assert (partitions.bytes_held <= 6_000) == (source is not None)
        index = partitions.find(HERE, DIM)
        assert index is not None
        assert index.oldest(999)[-1] == 399


def test_a_disk_that_fails_hides_nothing() -> None:
    """The partition is not taken for an empty one: it is asked for again."""
    disk = FakeDisk({HERE: {1: KEPT[1]}})
    partitions = Partitions(source=disk)
    disk.is_broken = True
    with pytest.raises(CacheError):
        partitions.find(HERE, DIM)
    with pytest.raises(CacheError):
        partitions.add(HERE, 2, KEPT[2])
    disk.is_broken = False
    index = partitions.find(HERE, DIM)
    assert index is not None
    assert index.oldest(9) == [1]


def test_a_build_that_fails_leaves_the_old_one_at_work() -> None:
    """And is asked for again when there are twice as many; one from disk at the next search."""
    wanted: list[bytes] = []
    disk = FakeDisk({THERE: {each: KEPT[each % 40] for each in range(SMALL + 9)}})
    partitions = Partitions(source=disk, on_wanted=wanted.append)
    for each in range(10):
        partitions.add(HERE, each, KEPT[each])
    index = partitions.begin(HERE, is_forced=True)
    assert index is not None
    partitions.end(HERE, index, None)
    assert not index.is_laid
    assert index.oldest(99) == list(range(10))
    partitions.find(THERE, DIM)
    cold = partitions.begin(THERE)
    assert cold is not None
    partitions.end(THERE, cold, None)
    partitions.find(THERE, DIM)
    assert wanted == [THERE, THERE]


def test_nothing_is_laid_that_need_not_be() -> None:
    """Nor what is gone, nor what is being laid."""
    partitions = Partitions()
    assert partitions.begin(HERE) is None
    partitions.add(HERE, 1, KEPT[1])
    assert partitions.begin(HERE) is None
    assert partitions.begin(HERE, is_forced=True) is not None
    assert partitions.begin(HERE, is_forced=True) is None


def _ids(rows: Iterable[Rows]) -> set[int]:
    return {int(each) for some in rows for each in some.ids}


def test_it_is_wanted_when_it_has_outgrown_its_layout() -> None:
    """Beyond ROWS_AT_MOST, and then at twice what it was laid for."""
    index = GrowingIndex(DIM)
    most = cache.growth.ROWS_AT_MOST
    rows = encoded(vectors(most + 1, 5))
    index.take(Rows(np.arange(most), rows[:most]))
    assert not index.is_outgrown
    index.take(Rows(np.arange(most, most + 1), rows[most:]))
    assert index.is_outgrown
    index.begin()
    assert not index.is_outgrown
    layout = filled([index.copy(0, 1)], DIM)
    assert isinstance(layout, CellIndex)
    index.swap(layout)
    assert not index.is_outgrown
    assert len(index) == most + 1
    assert _ids(index.copy(part, index.parts) for part in range(index.parts)) == set(
        range(most + 1)
    )
