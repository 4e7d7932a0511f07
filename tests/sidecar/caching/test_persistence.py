"""Persistence: a disk that fails for long is given up, and costs no ghost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cache.entry import Entry, EntryId
from cache.epochs import EVERYTHING, Mark, Selector
from cache.errors import StoreError
from cache.stores.disk import DiskStore, Gone
from cache.stores.reader import DiskReader
from sidecar.caching.departures import MAX_DEPARTING
from sidecar.caching.persistence import Persistence
from sidecar.caching.reads import Reads
from tests.sidecar.caching.test_below import AtOnce
from tests.sidecar.caching.test_keeper import FakeHook
from tests.sidecar.caching.test_lookup import ENTRY


class FullDisk(DiskStore):
    """Takes no write as long as it is full."""

    is_full = False

    def write(
        self, puts: Sequence[Entry], removals: Sequence[EntryId], marks: Sequence[Mark] = ()
    ) -> list[Gone]:
        if self.is_full:
            raise StoreError("disk full")
        return super().write(puts, removals, marks)


class Life:
    """One process's disk."""

    def __init__(self, folder: Path) -> None:
        path = folder / "cache.sqlite"
        disk = FullDisk.open(path, "encoder")
        assert isinstance(disk, FullDisk)
        self.disk = disk
        self.hook, self.gone = FakeHook(), list[EntryId]()
        reads = Reads(DiskReader.open(path, "encoder"), thread=AtOnce(), hook=self.hook)
        self.below = Persistence(disk=self.disk, reads=reads, thread=AtOnce(), hook=self.hook)

    async def start(self) -> Persistence:
        await self.below.start(
            on_written=lambda *_: None, on_gone=lambda gone: self.gone.extend(g[0] for g in gone)
        )
        return self.below


def made(number: int) -> Entry:
    return replace(ENTRY, entry_id=number, fingerprint=number.to_bytes(20, "big"), epoch=3)


async def test_a_disk_that_owes_too_many_removals_is_given_up_and_voided(tmp_path: Path) -> None:
    """Nothing of it comes up any more, not after a restart either; what is owed is bounded."""
    life = Life(tmp_path)
    below = await life.start()
    for number in (1, 2):
        below.put(made(number))
    assert await below.mark(Mark(Selector("tag", "a"), 4, 1.0))
    life.disk.is_full = True
    below.put(made(3))
    below.drop(Gone(number, None) for number in range(10, 11 + MAX_DEPARTING))
    assert not await below.mark(Mark(Selector("tag", "b"), 5, 1.0))
    assert await below.find(made(1).fingerprint) is None
    lost = life.hook.lost
    below.drop(Gone(number, None) for number in range(10, 11 + MAX_DEPARTING))
    below.put(made(4))
    below.let_go([(made(4), 1)])
    assert life.gone == [4]
    assert not await below.mark(Mark(Selector("tag", "c"), 6, 1.0))
    assert life.hook.lost < lost + 10
    life.disk.is_full = False
    await below.sizes(EVERYTHING)
    await below.carry_out()
    assert {1, 2} < set(life.gone)
    await below.close()
    again = Life(tmp_path)
    kept = await again.below.start(on_written=lambda *_: None, on_gone=lambda _: None)
    assert kept.entries == 0
    assert [mark.selector for mark in kept.marks] == [EVERYTHING]
    assert kept.epoch == 7
    await again.below.close()
