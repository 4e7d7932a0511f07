"""Where cells lie is given back as it was kept, or not at all."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cache.index.cells import Cells
from cache.stores.cells import MAX_KEPT, CellStore

HERE, THERE, DIM = b"h" * 20, bytes(20), 8
ENCODER = "e"


def cells(seed: int = 0) -> Cells:
    dice = np.random.default_rng(seed)
    return Cells(dice.integers(0, 256, (5, DIM), np.uint8), fit=0.5)


class FakeCipher:
    """Turns each byte about; opens in its own place alone."""

    def __init__(self, mark: int = 7) -> None:
        self.mark = mark

    def seal(self, data: bytes, bound_to: bytes) -> bytes:
        return bound_to + bytes(255 - byte for byte in data)

    def open(self, sealed: bytes, bound_to: bytes) -> bytes | None:
        if not sealed.startswith(bound_to):
            return None
        return bytes(255 - byte for byte in sealed.removeprefix(bound_to))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CellStore]:
    made = CellStore.open(tmp_path / "cells", ENCODER)
    yield made
    made.close()


def same(one: Cells | None, other: Cells) -> bool:
    return one is not None and one.fit == other.fit and (one.centres == other.centres).all()


def changed(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement)
    connection.close()


def test_what_was_kept_outlives_the_store(tmp_path: Path) -> None:
    """The last that was kept of each partition, and its own."""
    store = CellStore.open(tmp_path / "cells", ENCODER)
    for where, seed in ((HERE, 0), (THERE, 1), (HERE, 2)):
        store.keep(where, cells(seed))
    store.close()
    again = CellStore.open(tmp_path / "cells", ENCODER)
    assert same(again.find(HERE, DIM), cells(2))
    assert same(again.find(THERE, DIM), cells(1))
    assert again.find(b"x" * 20, DIM) is None
    again.close()
    assert (tmp_path / "cells").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("UPDATE cells SET fit = fit + 0.1", id="fit"),
        pytest.param("UPDATE cells SET centres = zeroblob(40)", id="centres"),
        pytest.param("UPDATE cells SET checksum = NULL", id="checksum"),
        pytest.param("UPDATE cells SET dim = 4", id="dim"),
        pytest.param("UPDATE cells SET partition = zeroblob(20)", id="partition"),
    ],
)
def test_a_changed_row_is_not_given(tmp_path: Path, statement: str) -> None:
    """It is deleted, and the next that is kept is as good as any."""
    path = tmp_path / "cells"
    store = CellStore.open(path, ENCODER)
    store.keep(HERE, cells())
    changed(path, statement)
    assert store.find(HERE, DIM) is None
    assert store.find(THERE, DIM) is None
    store.keep(HERE, cells())
    assert same(store.find(HERE, DIM), cells())
    store.close()


def test_another_encoders_cells_are_not_given(tmp_path: Path, store: CellStore) -> None:
    """Nor those of another length."""
    store.keep(HERE, cells())
    assert store.find(HERE, 2 * DIM) is None
    store.keep(HERE, cells())
    another = CellStore.open(tmp_path / "cells", "another")
    assert another.find(HERE, DIM) is None
    another.close()


@pytest.mark.parametrize("kind", ["no database", "another's", "another version", "another key"])
def test_a_file_that_does_not_suit_is_begun_anew(tmp_path: Path, kind: str) -> None:
    """Nothing is lost with it that cannot be worked out again."""
    path = tmp_path / "cells"
    CellStore.open(path, ENCODER, FakeCipher(8) if kind == "another key" else None).close()
    match kind:
        case "no database":
            path.write_bytes(b"no database" * 1_000)
        case "another's":
            changed(path, "PRAGMA application_id = 1")
        case "another version":
            changed(path, "PRAGMA user_version = 99")
    store = CellStore.open(path, ENCODER)
    store.keep(HERE, cells())
    assert same(store.find(HERE, DIM), cells())
    store.close()


def test_no_more_than_so_many_are_kept(store: CellStore) -> None:
    """What was kept longest ago leaves first."""
    names = [number.to_bytes(20, "big") for number in range(MAX_KEPT + 1)]
    for name in names[:-1]:
        store.keep(name, cells())
    store.keep(names[0], cells())
    store.keep(names[-1], cells())
    held = [name for name in names if store.find(name, DIM) is not None]
    assert held == [names[0], *names[2:]]


def test_a_partition_that_is_no_more_is_forgotten(store: CellStore) -> None:
    """And no other."""
    store.keep(HERE, cells())
    store.keep(THERE, cells())
    store.forget_all_but(lambda partition: partition == HERE)
    assert store.find(THERE, DIM) is None
    assert store.find(HERE, DIM) is not None


def test_with_a_key_no_centre_is_there_to_read(tmp_path: Path) -> None:
    """It is bound to its partition; with the key it is given back."""
    path = tmp_path / "cells"
    store = CellStore.open(path, ENCODER, FakeCipher())
    store.keep(HERE, cells())
    assert same(store.find(HERE, DIM), cells())
    store.close()
    assert cells().centres.tobytes() not in path.read_bytes()
