"""What is found in the table is what was put there last, or nothing."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.front import table
from sidecar.front.table import BUCKETS, MAX_RECORD_BYTES, WAYS, Reader, Table

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="Linux alone has memfd")

FAR_AT = 2e9
NOW_AT = 1e9


@dataclass
class Bench:
    """An owner's table and one reader of it."""

    handle: int = field(default_factory=table.created)
    gone: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.memory = mmap.mmap(self.handle, table.SIZE)  # before it is the table's owner's alone
        self.table = Table(self.handle, self.gone.append)
        self.reader = Reader(self.handle)
        self.table.open()

    def found(self, key: bytes, now_at: float = NOW_AT) -> bytes | None:
        found = self.reader.find(key, now_at)
        return None if found is None else found.payload

    def close(self) -> None:
        self.memory.close()
        self.reader.close()
        self.table.close()
        os.close(self.handle)


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


def key(number: int, bucket: int = 0) -> bytes:
    """One of many keys of one bucket."""
    return bucket.to_bytes(4, "little") + (number + 1).to_bytes(12, "big")


def test_what_was_put_is_found_by_its_key_alone(bench: Bench) -> None:
    """And its number with it."""
    number = bench.table.put(key(1), b"one", FAR_AT)
    found = bench.reader.find(key(1), NOW_AT)
    assert found is not None
    assert (found.number, found.payload) == (number, b"one")
    assert bench.found(key(2)) is None


def test_an_expired_record_is_not_found(bench: Bench) -> None:
    """From its instant on."""
    bench.table.put(key(1), b"one", NOW_AT)
    assert bench.found(key(1), NOW_AT - 1.0) == b"one"
    assert bench.found(key(1), NOW_AT) is None


def test_nothing_is_found_while_it_is_shut(bench: Bench) -> None:
    """And everything again once it is opened."""
    bench.table.put(key(1), b"one", FAR_AT)
    bench.table.shut()
    assert bench.found(key(1)) is None
    bench.table.open()
    assert bench.found(key(1)) == b"one"


def test_emptied_means_gone_also_for_whoever_reads_an_old_slot(bench: Bench) -> None:
    """A record of an older generation is none, whatever its slot says."""
    number = bench.table.put(key(1), b"one", FAR_AT)
    bench.table.empty()
    assert bench.found(key(1)) is None
    assert bench.gone == [number]
    assert len(bench.table) == 0
    bench.table.put(key(1), b"two", FAR_AT)
    assert bench.found(key(1)) == b"two"


def test_the_newest_record_of_a_key_counts(bench: Bench) -> None:
    """The older one is told as gone."""
    first = bench.table.put(key(1), b"one", FAR_AT)
    bench.table.put(key(1), b"two", FAR_AT)
    assert bench.found(key(1)) == b"two"
    assert bench.gone == [first]


def test_in_a_full_bucket_the_oldest_gives_way(bench: Bench) -> None:
    """Others of that bucket stay."""
    for number in range(WAYS + 1):
        bench.table.put(key(number), b"%d" % number, FAR_AT)
    assert bench.found(key(0)) is None
    assert [bench.found(key(n)) for n in range(1, WAYS + 1)] == [
        b"%d" % n for n in range(1, WAYS + 1)
    ]


def test_a_record_that_is_too_long_is_not_kept(bench: Bench) -> None:
    """And makes nothing else leave."""
    bench.table.put(key(1), b"one", FAR_AT)
    assert bench.table.put(key(2), bytes(MAX_RECORD_BYTES), FAR_AT) is None
    assert bench.found(key(1)) == b"one"


def test_a_torn_record_is_a_miss(bench: Bench) -> None:
    """One byte of the payload that is not what was put, and the checksum does not fit."""
    bench.table.put(key(1), b"one and more", FAR_AT)
    where = os.pread(bench.handle, table.SIZE, 0).index(b"one and more")
    bench.memory[where : where + 1] = b"X"
    assert bench.found(key(1)) is None


def test_the_ring_overwrites_the_oldest_first_and_says_so(bench: Bench) -> None:
    """After more than it holds: what is not told as gone is found whole, what is told is not."""
    payload = bytes(MAX_RECORD_BYTES - 1_000)
    put: dict[int, bytes] = {}
    for count in range(table.ARENA_BYTES // len(payload) + 50):
        each = key(count, count % BUCKETS)
        number = bench.table.put(each, payload + b"%d" % count, FAR_AT)
        assert number is not None
        put[number] = each
    gone = set(bench.gone)
    assert len(gone) >= 50
    assert gone == set(sorted(put)[: len(gone)])
    for number, each in put.items():
        found = bench.reader.find(each, NOW_AT)
        assert (found is None) == (number in gone)
        assert found is None or found.number == number


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["put", "remove", "empty", "oldest"]),
            st.integers(0, 30),
            st.binary(max_size=200),
        ),
        max_size=60,
    )
)
def test_it_never_gives_what_a_dictionary_would_not(steps: list[tuple[str, int, bytes]]) -> None:
    """It may forget what a dictionary holds; it holds nothing else."""
    bench, model, numbers = Bench(), dict[bytes, bytes](), dict[bytes, int]()
    try:
        for step, place, payload in steps:
            each = key(place, place % 3)
            match step:
                case "put":
                    number = bench.table.put(each, payload, FAR_AT)
                    assert number is not None
                    model[each], numbers[each] = payload, number
                case "remove" if each in numbers:
                    bench.table.remove(numbers[each])
                    model.pop(each, None)
                case "empty":
                    bench.table.empty()
                    model.clear()
                case "oldest":
                    bench.table.drop_oldest()
            for known in range(31):
                known_key = key(known, known % 3)
                found = bench.found(known_key)
                assert found is None or found == model.get(known_key)
        assert len(bench.table) == len(set(numbers.values()) - set(bench.gone))
    finally:
        bench.close()


def test_nobody_but_the_owner_writes_and_nobody_makes_it_shorter(bench: Bench) -> None:
    """A front holds the handle: it can neither map it to write, nor write to it, nor cut it off."""
    bench.table.put(b"k" * 16, b"what the owner says", FAR_AT)
    with pytest.raises(PermissionError):
        mmap.mmap(bench.handle, table.SIZE)
    with pytest.raises(PermissionError):
        os.pwrite(bench.handle, b"x" * 16, 0)
    with pytest.raises(PermissionError):
        os.ftruncate(bench.handle, 0)
    bench.table.put(b"l" * 16, b"and goes on saying", FAR_AT)
    assert bench.found(b"k" * 16) == b"what the owner says"
    assert bench.found(b"l" * 16) == b"and goes on saying"
