"""Backlog: what waits for the disk, and where an entry is meanwhile."""

from __future__ import annotations

from dataclasses import replace

from cache.entry import Entry
from cache.epochs import EVERYTHING, Mark
from cache.stores.disk import Gone
from sidecar.caching.backlog import MAX_WAITING, Backlog
from tests.sidecar.caching.test_lookup import ENTRY


def made(number: int, key: int | None = None) -> Entry:
    name = number if key is None else key
    return replace(ENTRY, entry_id=number, fingerprint=name.to_bytes(20, "big"))


def test_the_newest_under_a_key_is_written_and_the_others_are_told_of() -> None:
    """One that left again is written too, so that what it replaced on disk does not come back."""
    backlog = Backlog()
    for entry in (made(1, key=7), made(2, key=7), made(3)):
        assert backlog.put(entry)
    backlog.drop(2)
    batch = backlog.take()
    assert [entry.entry_id for entry in batch.puts] == [2, 3]
    assert batch.removals == [2]
    assert batch.overtaken == [Gone(1, ENTRY.partition)]
    assert (len(batch), len(backlog)) == (4, 0)


def test_what_waits_is_found_until_it_is_settled() -> None:
    """And hides what a read brings of its key."""
    backlog, two, three = Backlog(), made(2, key=7), made(3, key=7)
    backlog.put(two)
    assert backlog.release(two, uses=5)
    assert backlog.find(two.fingerprint) == (two, 5)
    assert backlog.replaces(made(1, key=7))
    assert not backlog.replaces(two)
    batch = backlog.take()
    backlog.put(three)
    backlog.settle(batch)
    assert backlog.find(two.fingerprint) == (three, 1)
    backlog.settle(backlog.take())
    assert backlog.find(two.fingerprint) is None


def test_of_a_write_that_failed_removals_and_marks_wait_again_in_their_order() -> None:
    """Entries do not: memory holds them, or nobody."""
    backlog, mark = Backlog(), Mark(EVERYTHING, 1, 1.0)
    for number in (1, 2):
        backlog.put(made(number))
    backlog.drop(9)
    backlog.mark(mark)
    backlog.release(made(2), uses=1)
    backlog.release(made(5), uses=1)  # written before
    batch = backlog.take()
    backlog.drop(10)
    assert backlog.failed(batch) == ([Gone(2, ENTRY.partition)], [5])
    again = backlog.take()
    assert (again.removals, again.marks, again.asked) == ([9, 10], [mark], [])
    assert backlog.release(made(1), uses=1)  # which memory alone held, and is written for that
    assert [entry.entry_id for entry in backlog.take().asked] == [1]


def test_a_full_backlog_takes_no_entry_and_every_removal() -> None:
    """Who has no room to wait lives in memory alone, and is nowhere once that lets go."""
    backlog = Backlog()
    for number in range(MAX_WAITING):
        assert backlog.put(made(number))
    assert not backlog.put(made(MAX_WAITING))
    assert not backlog.release(made(MAX_WAITING), uses=1)
    backlog.drop(1)
    assert len(backlog) == MAX_WAITING + 1
