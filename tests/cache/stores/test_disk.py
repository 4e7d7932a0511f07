"""DiskStore: what is written comes back, what is torn does not, and killing it tears nothing."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from hashlib import blake2b
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cache.entry import UNKNOWN_PROMPT, Entry
from cache.epochs import EVERYTHING, Mark, Selector
from cache.errors import StoreError
from cache.stores.disk import DiskStore
from cache.stores.reader import DiskReader

ENCODER = "encoder-a"


def entry(entry_id: int, expires_at: float = 1e9, question: str = "Why?") -> Entry:
    vector = np.random.default_rng(entry_id).normal(size=32).astype(np.float32)
    return Entry(
        entry_id=entry_id,
        fingerprint=entry_id.to_bytes(20, "big"),
        partition=b"p" * 20,
        question=question,
        vector=vector / np.float32(np.linalg.norm(vector)),
        body=b'{"choices": []}' * (entry_id % 50 + 1),
        tier="small",
        model="m",
        tokens_in=3,
        tokens_out=4,
        cost_usd=Decimal("0.000120"),
        created_at=float(entry_id),
        expires_at=expires_at,
        tags=("a", "b"),
    )


def opened(folder: Path, encoder_id: str = ENCODER) -> DiskStore:
    return DiskStore.open(folder / "cache.sqlite", encoder_id)


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    """Every field, oldest first, after a restart; the vector to half precision."""
    store = opened(tmp_path)
    store.write([entry(2), entry(1), entry(3)], [])
    store.write([entry(4)], [3])
    store.close()
    store = opened(tmp_path)
    loaded = list(store.load(0.0))
    assert [one.entry_id for one in loaded] == [1, 2, 4]
    for one in loaded:
        kept = entry(one.entry_id)
        assert replace(one, vector=None).__repr__() == replace(kept, vector=None).__repr__()
        assert one.vector is not None
        assert kept.vector is not None
        assert float(one.vector @ kept.vector) > 0.99999
    assert store.size_bytes > 0
    store.close()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(question=st.text(), cost=st.decimals(0, 100, places=6), body=st.binary(max_size=50))
def test_any_values_come_back(tmp_path: Path, question: str, cost: Decimal, body: bytes) -> None:
    """`load(write(entry)) == entry`, whatever the text."""
    store = DiskStore.open(tmp_path / f"{random.random()}", ENCODER)  # noqa: S311 - a name
    store.write([replace(entry(1, question=question), cost_usd=cost, body=body)], [])
    (loaded,) = store.load(0.0)
    assert (loaded.question, loaded.cost_usd, loaded.body) == (question, cost, body)
    store.close()


def test_the_file_is_the_owners_alone(tmp_path: Path) -> None:
    """And so is the log beside it, while the store is open."""
    store = opened(tmp_path)
    store.write([entry(1)], [])
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert len(modes) > 1
    assert set(modes.values()) == {0o600}
    store.close()


def test_an_id_is_never_used_again(tmp_path: Path) -> None:
    """Rule 1: not after its entry was removed, nor after a restart."""
    store = opened(tmp_path)
    assert store.max_entry_id() == 0
    store.write([entry(7)], [])
    store.write([], [7, 9])
    store.close()
    store = opened(tmp_path)
    assert store.max_entry_id() == 9
    assert list(store.load(0.0)) == []
    store.close()


def test_vectors_of_two_encoders_never_mix(tmp_path: Path) -> None:
    """Rule 2: under another encoder an entry is found by its exact key only."""
    store = opened(tmp_path)
    store.write([entry(1)], [])
    store.close()
    store = opened(tmp_path, "encoder-b")
    (loaded,) = store.load(0.0)
    assert (loaded.partition, loaded.question, loaded.vector) == (None, "", None)
    assert loaded.body == entry(1).body
    store.close()


def test_expired_rows_are_deleted_and_counted(tmp_path: Path) -> None:
    """They take no room after the next start."""
    store = opened(tmp_path)
    store.write([entry(1, expires_at=5.0), entry(2)], [])
    assert [one.entry_id for one in store.load(5.0)] == [2]
    assert store.expired == 1
    assert [one.entry_id for one in store.load(0.0)] == [2]
    store.close()


@pytest.mark.parametrize("column", ["body", "question", "vector", "expires_at", "fingerprint"])
def test_a_row_that_was_changed_is_never_served(tmp_path: Path, column: str) -> None:
    """Its checksum tells; it is deleted and counted."""
    store = opened(tmp_path)
    store.write([entry(1), entry(2)], [])
    store.close()
    raw = sqlite3.connect(tmp_path / "cache.sqlite")
    table = "vectors" if column == "vector" else "entries"
    raw.execute(f"UPDATE {table} SET {column} = 'x' WHERE entry_id = 1")  # noqa: S608 - as listed
    raw.commit()
    raw.close()
    store = opened(tmp_path)
    assert [one.entry_id for one in store.load(0.0)] == [2]
    assert store.dropped == 1
    store.close()


@pytest.mark.parametrize("damage", ["noise", "header", "pages", "another program's"])
def test_a_file_that_is_none_of_ours_is_put_aside(tmp_path: Path, damage: str) -> None:
    """Rule 3: the start is never refused; the old file is kept under another name."""
    path = tmp_path / "cache.sqlite"
    store = opened(tmp_path)
    store.write([entry(i) for i in range(200)], [])
    store.close()
    whole = path.read_bytes()
    if damage == "another program's":
        path.unlink()
        other = sqlite3.connect(path)
        other.execute("CREATE TABLE theirs (x)")
        other.close()
    else:
        noise = random.Random(0).randbytes(len(whole))  # noqa: S311 - not a secret
        start = {"noise": 0, "header": 0, "pages": 4096}[damage]
        end = 100 if damage == "header" else len(whole)
        path.write_bytes(whole[:start] + noise[start:end] + whole[end:])
    store = opened(tmp_path)
    assert store.renamed_to is not None
    assert store.renamed_to.exists()
    store.write([entry(1)], [])
    assert len(list(store.load(0.0))) == 1
    store.close()


def test_a_folder_that_cannot_be_written_is_a_store_error(tmp_path: Path) -> None:
    """So that the sidecar can run without a disk."""
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StoreError):
        DiskStore.open(tmp_path / "file" / "cache.sqlite", ENCODER)


def test_a_closed_store_is_a_store_error(tmp_path: Path) -> None:
    """As is every other fault of the library."""
    store = opened(tmp_path)
    store.close()
    with pytest.raises(StoreError):
        store.write([entry(1)], [])
    with pytest.raises(StoreError):
        store.max_entry_id()


def test_a_file_of_an_older_schema_is_put_aside(tmp_path: Path) -> None:
    """Its entries do not say whose they are; it is kept under another name, and a new one begun."""
    store = opened(tmp_path)
    store.write([entry(1)], [])
    store.close()
    raw = sqlite3.connect(tmp_path / "cache.sqlite")
    raw.execute("PRAGMA user_version = 1")
    raw.close()
    store = opened(tmp_path)
    assert store.renamed_to is not None
    assert list(store.load(0.0)) == []
    store.close()


_OLDER = [
    "entry_id",
    "encoder_id",
    "fingerprint",
    "partition",
    "question",
    "vector",
    "body",
    "tier",
    "model",
    "tokens_in",
    "tokens_out",
    "cost_usd",
    "created_at",
    "expires_at",
    "tags",
    "tenant",
    "namespace",
    "epoch",
    "prompt",
]


def written_before(path: Path, entries: Sequence[Entry], version: int) -> None:
    """Write the file as version 2 or 3 wrote it: vectors among the fields, 2 without a prompt."""
    names = _OLDER[:-1] if version == 2 else _OLDER
    raw = sqlite3.connect(path)
    raw.execute(
        f"CREATE TABLE entries (entry_id INTEGER PRIMARY KEY, {', '.join(names[1:])}, checksum)"
    )
    raw.execute("CREATE UNIQUE INDEX by_fingerprint ON entries (fingerprint)")
    raw.execute("CREATE TABLE highest (entry_id INTEGER NOT NULL)")
    raw.execute("INSERT INTO highest VALUES (9)")
    raw.execute(
        "CREATE TABLE marks (kind, value, tenant, epoch, raised_at,"
        " PRIMARY KEY (kind, value, tenant))"
    )
    for one in entries:
        assert one.vector is not None
        told = {name: getattr(one, name, None) for name in names} | {
            "encoder_id": ENCODER,
            "vector": one.vector.astype("<f2").tobytes(),
            "cost_usd": str(one.cost_usd),
            "tags": orjson.dumps(one.tags),
        }
        hashed = blake2b(digest_size=16)
        for field in told.values():
            value = field if isinstance(field, bytes) else repr(field).encode()
            hashed.update(b"%s %d " % (type(field).__name__.encode(), len(value)) + value)
        row = [*told.values(), hashed.digest()]
        raw.execute(f"INSERT INTO entries VALUES ({', '.join('?' * len(row))})", row)  # noqa: S608 - places
    raw.execute(f"PRAGMA application_id = {0x53434143}")
    raw.execute(f"PRAGMA user_version = {version}")
    raw.commit()
    raw.close()


@pytest.mark.parametrize("version", [2, 3])
def test_a_file_of_a_schema_before_is_taken_over(tmp_path: Path, version: int) -> None:
    """Its entries serve on, with their vectors; from 2 every invalidation by prompt names them."""
    kept = [replace(entry(number), prompt="sha-0123456789ab", epoch=3) for number in (1, 2)]
    written_before(tmp_path / "cache.sqlite", kept, version)
    store = opened(tmp_path)
    assert store.renamed_to is None
    prompt = UNKNOWN_PROMPT if version == 2 else "sha-0123456789ab"
    loaded = list(store.load(0.0))
    assert [one.prompt for one in loaded] == [prompt, prompt]
    assert [one.tags for one in loaded] == [("a", "b"), ("a", "b")]
    assert all(one.vector is not None for one in loaded)
    assert (store.max_entry_id(), store.max_epoch(), store.dropped) == (9, 3, 0)
    reader = DiskReader.open(store.path, ENCODER)
    rows = reader.rows(b"p" * 20, 32, limit=9)
    assert rows is not None
    assert list(rows.ids) == [1, 2]
    reader.close()
    store.close()
    again = opened(tmp_path)
    assert [one.entry_id for one in again.load(0.0)] == [1, 2]
    again.close()


def test_invalidations_are_kept_and_one_on_everything_ends_the_rest(tmp_path: Path) -> None:
    """Each selector has one mark, the newest; a mark on everything makes the others moot."""
    tag, tenant = Selector("tag", "a"), Selector("tenant", "b")
    store = opened(tmp_path)
    store.write([], [], [Mark(tag, 1, 0.5), Mark(tenant, 2, 0.5)])
    store.write([], [], [Mark(tag, 3, 1.5)])
    store.close()
    store = opened(tmp_path)
    assert sorted(store.marks(), key=lambda one: one.epoch) == [
        Mark(tenant, 2, 0.5),
        Mark(tag, 3, 1.5),
    ]
    store.write([], [], [Mark(EVERYTHING, 4, 2.5)])
    assert store.marks() == [Mark(EVERYTHING, 4, 2.5)]
    store.close()


_WRITER = """
import sys
from pathlib import Path
sys.path[:0] = {paths!r}
from test_disk import entry, opened
store = opened(Path({folder!r}))
first = store.max_entry_id() + 1
for start in range(first, first + 100_000, 5):
    store.write([entry(i) for i in range(start, start + 5)], [start - 5])
    print(start + 4, flush=True)
"""


def test_killing_the_writer_tears_nothing(tmp_path: Path) -> None:
    """Ten times: all that `write` returned from is there, nothing torn, no half transaction."""
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[3])]
    code = _WRITER.format(paths=paths, folder=str(tmp_path))
    dice = random.Random(1)  # noqa: S311 - not a secret
    for _ in range(10):
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as writer:  # noqa: S603 - ours
            assert writer.stdout is not None
            told = 0
            for _ in range(dice.randrange(1, 40)):
                told = int(writer.stdout.readline())
            writer.send_signal(signal.SIGKILL)
        store = opened(tmp_path)
        ids = {one.entry_id for one in store.load(0.0)}
        assert store.renamed_to is None
        assert store.dropped == 0
        assert store.max_entry_id() >= told
        assert {told - 3, told - 2, told - 1, told} <= ids
        assert store.max_entry_id() == max(ids)
        assert (max(ids) % 5) == 0
        store.close()
