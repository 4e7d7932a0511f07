"""The file of what was spent: the same after a restart, whatever became of the one before."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from sidecar.admission.admission import Admission
from sidecar.admission.bookkeeper import Bookkeeper
from sidecar.admission.purses import Spending
from sidecar.admission.rates import Level
from sidecar.admission.store import AdmissionStore
from tests.sidecar.admission.fakes import FakeClock, FakeMeter, admission, tenant

SPENT = [
    Spending("shop", None, None, Decimal("1.25")),
    Spending("shop", None, 20_000, Decimal("0.25")),
    Spending("shop", "", 20_000, Decimal("0.1")),
    Spending("shop", "ann'); --", 20_000, Decimal("0.15")),
]


def bookkeeper(
    door: Admission, meter: FakeMeter | None = None, clock: FakeClock | None = None
) -> Bookkeeper:
    return Bookkeeper(
        purses=door.purses,
        rates=door.rates,
        hook=meter or FakeMeter(),
        logger=logging.getLogger("test"),
        wall=clock or FakeClock(),
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Whatever the users are called, the unnamed one included."""
    store = AdmissionStore.open(tmp_path / "a.sqlite")
    levels = [Level("shop", None, "tokens", -3.5, 100.0), Level("shop", "", "requests", 1, 100.0)]
    store.write(SPENT, levels, 100.0)
    store.close()
    again = AdmissionStore.open(tmp_path / "a.sqlite")
    spendings, read = again.load()
    assert sorted(spendings, key=str) == sorted(SPENT, key=str)
    assert sorted(read, key=str) == sorted(levels, key=str)
    assert (tmp_path / "a.sqlite").stat().st_mode & 0o077 == 0
    again.close()


def test_old_days_and_full_buckets_are_forgotten(tmp_path: Path) -> None:
    """The file stays small; what was spent in all stays."""
    store = AdmissionStore.open(tmp_path / "a.sqlite")
    store.write(SPENT, [Level("shop", None, "tokens", 1.0, 100.0)], 100.0)
    store.write([Spending("shop", None, 20_002, Decimal(1))], [], 161.0)
    spendings, levels = store.load()
    assert {each.day for each in spendings} == {None, 20_002}
    assert levels == []
    store.close()


@pytest.mark.parametrize(
    "content", [pytest.param(b"no database", id="text"), pytest.param(b"\0" * 9000, id="zeros")]
)
def test_a_file_that_is_none_is_put_aside(tmp_path: Path, content: bytes) -> None:
    """And a new one begun."""
    path = tmp_path / "a.sqlite"
    path.write_bytes(content)
    store = AdmissionStore.open(path)
    assert store.renamed_to == tmp_path / "a.sqlite.unreadable-1"
    assert store.load() == ([], [])
    store.close()


async def test_a_restart_goes_on_where_it_ended(tmp_path: Path) -> None:
    """Spent, and what was reserved by calls that nobody settled."""
    clock = FakeClock()
    shop = tenant("shop", budget_usd=10, requests_per_minute=60)

    async def run(*, spend: bool) -> tuple[Decimal, str]:
        door = admission(shop, clock=clock)
        keeper = bookkeeper(door, clock=clock)
        await keeper.start(tmp_path / "a.sqlite")
        if spend:
            door.purses.settle(door.purses.reserve("shop", "", [Decimal(1)]), Decimal("0.5"))
            door.purses.reserve("shop", "", [Decimal(2)])
            for _ in range(10):
                door.rates.take_request("shop", None)
        await keeper.close()
        told = door.rates.headers("shop", "")["x-ratelimit-remaining-requests"]
        return door.purses.peek(("shop", None, None)).committed, told

    assert await run(spend=True) == (Decimal("2.5"), "50")
    assert await run(spend=False) == (Decimal("2.5"), "50")


async def test_a_disk_that_fails_costs_memory_alone(tmp_path: Path) -> None:
    """It is said and counted, and the process starts."""
    meter, door = FakeMeter(), admission(tenant("shop", budget_usd=1))
    keeper = bookkeeper(door, meter)
    (tmp_path / "file").touch()
    await keeper.start(tmp_path / "file" / "a.sqlite")
    door.purses.reserve("shop", "", [Decimal(1)])
    await keeper.close()
    assert meter.lost == 1


async def test_what_could_not_be_written_is_tried_again(tmp_path: Path) -> None:
    """A file held by another process, as a backup may, loses nothing."""
    meter, door = FakeMeter(), admission(tenant("shop", budget_usd=9))
    keeper = bookkeeper(door, meter)
    store = AdmissionStore.open(tmp_path / "a.sqlite")
    store.close()
    door.purses.reserve("shop", "", [Decimal(1)])
    await keeper.written(store)  # closed: every write fails
    assert meter.lost == 2
    fresh = AdmissionStore.open(tmp_path / "a.sqlite")
    await keeper.written(fresh)
    assert {each.committed_usd for each in fresh.load()[0]} == {Decimal(1)}
    fresh.close()
    await keeper.close()


TICKS = 10
_SPENDER = """
import asyncio, logging, sys
from decimal import Decimal
from pathlib import Path
from sidecar.admission.bookkeeper import INTERVAL_S, Bookkeeper
from tests.sidecar.admission.fakes import FakeMeter, admission, tenant

TICKS = int(sys.argv[2])

async def main():
    door = admission(tenant("shop", budget_usd=1000))

    def say(word):
        print(word, door.purses.peek(("shop", None, None)).committed, flush=True)

    class Told(Bookkeeper):
        async def written(self, store):
            say("begins")
            await super().written(store)
            say("ends")

    keeper = Told(
        purses=door.purses, rates=door.rates, hook=FakeMeter(), logger=logging.getLogger("t")
    )
    await keeper.start(Path(sys.argv[1]))
    for number in range(10**6):
        door.purses.settle(door.purses.reserve("shop", "", [Decimal(1)]), Decimal(1))
        door.purses.reserve("shop", "", [Decimal(1)])
        say("spent")
        await asyncio.sleep(INTERVAL_S / TICKS)

asyncio.run(main())
"""


def test_a_kill_loses_no_more_than_the_last_interval(tmp_path: Path) -> None:
    """What was committed when the last write began is there, and one begins at each interval."""
    path = tmp_path / "a.sqlite"
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", _SPENDER, str(path), str(TICKS)]
    told_where = {**os.environ, "PYTHONPATH": str(root)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=told_where) as spender:  # noqa: S603 - our own words
        assert spender.stdout is not None
        told = [spender.stdout.readline().split() for _ in range(4 * TICKS)]
        spender.send_signal(signal.SIGKILL)
        told += [line.split() for line in spender.stdout.readlines() if line.endswith("\n")]
    store = AdmissionStore.open(path)
    kept = {each.committed_usd for each in store.load()[0] if each.day is None}
    store.close()
    begun = [Decimal(committed) for word, committed in told if word == "begins"]
    ends = [place for place, (word, _) in enumerate(told) if word == "ends"]
    assert max(kept) >= begun[len(ends) - 1]
    # By the process's own clock: a machine that stands still is not mistaken for a loss.
    between = [[word for word, _ in told[end + 1 :]] for end in ends[:-1]]
    assert max(words.index("begins") for words in between) <= TICKS + 1
