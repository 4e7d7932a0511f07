"""Notebook: a kill costs the last moment, a disk that fails costs nothing but memory."""

from __future__ import annotations

import logging
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from cache.standing import State
from cache.stores.learnt import LearntStore
from cache.trust import Trust
from sidecar.oversight.notebook import Notebook

HERE = b"p" * 20


class FakeHook:
    """Counts what was lost."""

    def __init__(self) -> None:
        self.lost = 0

    def lost_write(self, count: int) -> None:
        self.lost += count


def fresh() -> Trust:
    return Trust(bound=0.02, risk_limit=0.05)


def notebook(trust: Trust, hook: FakeHook | None = None) -> Notebook:
    return Notebook(trust=trust, hook=hook or FakeHook(), logger=logging.getLogger("test"))


async def test_a_partition_that_was_off_is_off_after_a_restart(tmp_path: Path) -> None:
    """What is new is written at the end, however soon it comes."""
    first, path = fresh(), tmp_path / "learnt"
    book = notebook(first)
    await book.start(path, "e", 1)
    for _ in range(4):
        first.checked(HERE, 1, is_right=False)
    await book.close()
    second = fresh()
    book = notebook(second)
    await book.start(path, "e", 1)
    assert second.state(HERE) is State.OFF
    await book.close()


async def test_a_disk_that_cannot_be_opened_costs_memory_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told, and the sidecar starts."""
    (tmp_path / "file").write_text("")
    book = notebook(fresh())
    await book.start(tmp_path / "file" / "learnt", "e", 1)
    assert "memory alone" in caplog.text
    await book.close()


async def test_what_was_not_written_is_tried_again(tmp_path: Path) -> None:
    """A full or a locked disk is counted, and loses nothing while the process lives."""
    trust, hook, path = fresh(), FakeHook(), tmp_path / "learnt"
    book = notebook(trust, hook)
    await book.start(path, "e", 1)
    store = book._store
    assert store is not None
    store._connection.execute("PRAGMA query_only = ON")
    trust.checked(HERE, 1, is_right=True)
    await book._write(store)
    assert hook.lost == 2  # the partition and the entry
    store._connection.execute("PRAGMA query_only = OFF")
    await book.close()
    with sqlite3.connect(path) as connection:
        [(rows,)] = connection.execute("SELECT count(*) FROM learnt WHERE kind != 'whole'")
    connection.close()
    assert rows == 2


_WRITER = """
import sys
sys.path[:0] = {paths!r}
from pathlib import Path
from cache.stores.learnt import LearntStore
from cache.trust import Trust
store, trust = LearntStore.open(Path({path!r}), "e"), Trust(bound=0.02, risk_limit=0.05)
learnt = store.load()
if learnt is not None:
    trust.restore(learnt, 10**9)
for number in range(10**6):
    trust.checked((number % 50).to_bytes(20), number % 50, is_right=number % 7 > 0)
    if number % 3 == 0:
        store.write(trust.changes())
        print(trust.right, trust.wrong, flush=True)
"""


def test_a_kill_loses_nothing_that_was_written(tmp_path: Path) -> None:
    """Ten times kill -9: each start finds what the last one was told was written, or more."""
    path = tmp_path / "learnt"
    code = _WRITER.format(paths=[str(Path(__file__).parents[3])], path=str(path))
    right = wrong = 0
    for lines in range(1, 11):
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as writer:  # noqa: S603 - ours
            assert writer.stdout is not None
            for _ in range(lines):
                right, wrong = map(int, writer.stdout.readline().split())
            writer.kill()
        store = LearntStore.open(path, "e")
        learnt = store.load()
        assert learnt is not None
        assert learnt.right >= right
        assert learnt.wrong >= wrong
        assert (store.dropped, store.renamed_to) == (0, None)
        store.close()
