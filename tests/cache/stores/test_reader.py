"""DiskReader beside DiskStore, and the room that the store makes."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from cache.entry import Entry
from cache.epochs import EVERYTHING, KINDS, Mark, Selector
from cache.errors import StoreError
from cache.stores.disk import DiskStore
from cache.stores.reader import DiskReader
from tests.cache.stores.test_disk import ENCODER, entry, opened

HERE = b"p" * 20


def test_it_reads_what_was_written_by_any_key(tmp_path: Path) -> None:
    """Entry and uses by fingerprint, entries by id, and a partition's rows in parts."""
    store = opened(tmp_path)
    store.write([entry(number) for number in (1, 2, 3)], [])
    store.used([(2, 7), (3, 0)])
    reader = DiskReader.open(store.path, ENCODER)
    found = reader.find(entry(2).fingerprint)
    assert found is not None
    assert (found[0].body, found[1]) == (entry(2).body, 7)
    assert reader.find(b"none" * 5) is None
    assert [one.entry_id for one in reader.entries([3, 1, 99])] == [1, 3]
    first, rest = reader.rows(HERE, 32, limit=2), reader.rows(HERE, 32, limit=9, after=2)
    assert first is not None
    assert rest is not None
    assert (list(first.ids), list(rest.ids)) == ([1, 2], [3])
    assert reader.rows(b"q" * 20, 32, limit=9) is None
    assert reader.rows(HERE, 16, limit=9) is None  # of another encoder, were there one
    assert (reader.newest(HERE, 2), reader.newest(HERE, 3)) == (1, -1)
    reader.close()
    with pytest.raises(StoreError):
        reader.find(entry(2).fingerprint)
    store.close()


def test_what_was_replaced_or_removed_is_told_with_its_partition(tmp_path: Path) -> None:
    """So that its index can forget it; and its vector is gone."""
    store = opened(tmp_path)
    store.write([entry(1), entry(2)], [])
    newer = replace(entry(3), fingerprint=entry(1).fingerprint)
    assert {(*one,) for one in store.write([newer], [2])} == {(1, HERE), (2, HERE)}
    reader = DiskReader.open(store.path, ENCODER)
    rows = reader.rows(HERE, 32, limit=9)
    assert rows is not None
    assert list(rows.ids) == [3]
    reader.close()
    store.close()


@pytest.mark.parametrize("kind", KINDS)
def test_sql_names_what_the_selector_covers(tmp_path: Path, kind: str) -> None:
    """Each kind, with and without a tenant; the two ways agree entry by entry."""
    entries = [
        replace(
            entry(number),
            tenant="ab"[number % 2],
            namespace=["", "n"][number % 3 > 1],
            tags=(("t",), (), ("t", "u"))[number % 3],
            model="m" if number % 4 else "other",
            tier="small" if number % 5 else "m",
            prompt=["", "?", "p1"][number % 3],
        )
        for number in range(1, 20)
    ]
    values = {
        "entry": [entry(4).fingerprint.hex(), "00"],
        "tag": ["t", "u", "x' OR 1=1"],
        "namespace": ["", "n"],
        "model": ["m", "small"],
        "prompt": ["", "p1"],
        "tenant": ["a", "c"],
        "all": [""],
    }[kind]
    for value in values:
        for tenant in ("", "b"):
            store = DiskStore.open(tmp_path / f"{kind}{len(value)}{value[:1]}{tenant}.db", ENCODER)
            store.write(entries, [])
            selector = Selector(kind, value, tenant)  # type: ignore[arg-type] # one of KINDS
            covered = {one.entry_id for one in entries if selector.covers(one)}
            reader = DiskReader.open(store.path, ENCODER)
            assert reader.sizes(selector, -1, 99)[0] == len(covered)
            reader.close()
            gone = store.remove_named(Mark(selector, 1, 0.0), -1, 99)
            assert {one.entry_id for one in gone} == covered
            store.close()


def test_what_was_asked_for_after_a_mark_stays(tmp_path: Path) -> None:
    """And a mark is carried out until it is said to be."""
    store = opened(tmp_path)
    mark = Mark(EVERYTHING, 2, 0.0)
    store.write([replace(entry(n), epoch=n) for n in (1, 2, 3)], [], [mark])
    store.close()
    store = opened(tmp_path)
    assert store.marks_to_carry_out() == [mark]
    assert [one.entry_id for one in store.remove_named(mark, -1, store.max_entry_id())] == [1]
    store.carried_out(mark)
    assert store.marks_to_carry_out() == []
    assert store.count() == 2
    store.close()


def test_expired_rows_leave_a_few_at_a_time(tmp_path: Path) -> None:
    """The first that have expired, and no others."""
    store = opened(tmp_path)
    store.write([entry(number, expires_at=float(number)) for number in range(1, 8)], [])
    assert [one.entry_id for one in store.remove_expired(5.0, limit=3)] == [1, 2, 3]
    assert [one.entry_id for one in store.remove_expired(5.0, limit=3)] == [4, 5]
    assert store.remove_expired(5.0, limit=3) == []
    store.close()


def _large(number: int, cost: str = "0.001") -> Entry:
    return replace(entry(number), body=b"x" * 4_000, cost_usd=Decimal(cost))


def test_the_file_never_exceeds_its_bound(tmp_path: Path) -> None:
    """Room is made before; and what cannot be written is a fault that changes nothing."""
    most = 2**20
    store = DiskStore.open(tmp_path / "cache.sqlite", ENCODER, most)
    gone = set()
    for number in range(1, 601):
        store.write([_large(number)], [])
        while room := store.make_room(0.0):
            gone |= {one.entry_id for one in room}
        assert store.path.stat().st_size <= most
    kept = {one.entry_id for one in store.load(0.0)}
    assert kept | gone == set(range(1, 601))
    assert not kept & gone
    assert 600 in kept
    with pytest.raises(StoreError):
        store.write([_large(number) for number in range(1_000, 1_400)], [])
    assert {one.entry_id for one in store.load(0.0)} == kept
    store.close()


def test_what_is_worth_least_leaves_of_those_kept_longest(tmp_path: Path) -> None:
    """What it cost, times its uses, for its bytes; what has expired before all others."""
    store = DiskStore.open(tmp_path / "cache.sqlite", ENCODER, 2**20)
    store.write([_large(n, "0.1" if n % 2 else "0.001") for n in range(1, 200)], [])
    store.used([(2, 500)])
    gone = {one.entry_id for one in store.make_room(0.0)}
    assert gone
    assert 2 not in gone
    cheap = set(range(4, 200, 2))
    assert cheap <= gone
    assert len(gone) == 100
    store.close()


def test_free_pages_are_given_back(tmp_path: Path) -> None:
    """Some at a time, where many are free."""
    store = opened(tmp_path)
    store.write([_large(number) for number in range(1, 400)], [])
    before = store.used_bytes
    store.write([], list(range(1, 390)))
    while store.shrink():
        pass
    store.close()
    assert (tmp_path / "cache.sqlite").stat().st_size < before / 2
