"""The disk below memory, over HTTP: what memory has no room for, and what a restart finds."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

from cache.epochs import Selector
from tests.integration.conftest import Answer, Running, Start

DEBUG = {"x-sidecar-debug": "1"}
LOOSE = "[cache.semantic]\nmax_false_hit_rate = 0.05\n"
ONLY = {"cache-control": "only-if-cached"}
SMALL = "[cache]\nmax_bytes = 9000\n"
"""Room for two entries."""


def _disk(folder: Path) -> str:
    return f'[cache.disk]\npath = "{folder / "cache.sqlite"}"\nbudget_s = 30.0\n'


def _sum(number: int) -> str:
    return f"What is {number} plus {number + 3}?"


async def _written(sidecar: Running) -> None:
    """Wait until the disk has all that was kept, and the index has heard of it."""
    await sidecar.lasting.keeper.tally(Selector("all"))
    await sidecar.settled()


async def _fill(sidecar: Running, count: int) -> None:
    for number in range(count):
        await sidecar.ask(_sum(number), {"x-sidecar-tags": f"t{number % 2}"})
    await _written(sidecar)


def _where(answer: Answer) -> tuple[str, str]:
    return answer.headers["x-sidecar-cache"], answer.headers.get("x-sidecar-cache-store", "")


async def test_what_memory_has_no_room_for_is_served_from_disk(
    start: Start, tmp_path: Path
) -> None:
    """By its exact key, and then from memory, which it filled; debug says from where."""
    sidecar = await start(extra=SMALL + _disk(tmp_path))
    await _fill(sidecar, 8)
    assert len(sidecar.lasting.store) < 4
    first = await sidecar.ask(_sum(0), DEBUG)
    again = await sidecar.ask(_sum(0), DEBUG)
    assert (_where(first), _where(again)) == (("hit-exact", "disk"), ("hit-exact", "memory"))
    assert first.body["choices"] == again.body["choices"]
    exposition = sidecar.lasting.metrics.exposition.text()
    assert b'sidecar_cache_disk_reads_total{outcome="hit"} 1.0' in exposition


async def test_without_a_disk_memory_is_all_there_is(start: Start) -> None:
    """What had to leave is a miss, by its key and by its meaning."""
    sidecar = await start(extra=SMALL)
    for number in range(8):
        await sidecar.ask(_sum(number))
    await sidecar.settled()
    assert len(sidecar.lasting.index.partitions) == 1
    assert sidecar.lasting.index.statistics().entries == len(sidecar.lasting.store)
    kept = {entry.question for entry in sidecar.lasting.store}
    gone = next(_sum(number) for number in range(8) if _sum(number) not in kept)
    assert _where(await sidecar.ask(gone, DEBUG))[0] == "miss"


async def test_a_restart_loads_nothing_and_finds_everything(start: Start, tmp_path: Path) -> None:
    """By key and by meaning from disk; a question's own words, only on disk, are read for it."""
    async with AsyncExitStack() as first_life:
        sidecar = await start(extra=LOOSE + _disk(tmp_path), until=first_life)
        await _fill(sidecar, 6)
        await sidecar.ask("How do I reset my password?")
    assert not (tmp_path / "cache.sqlite-wal").exists()
    sidecar = await start(extra=LOOSE + _disk(tmp_path))
    assert len(sidecar.lasting.store) == 0
    assert sidecar.lasting.index.statistics().entries == 0
    assert _where(await sidecar.ask("How can I reset my password?", DEBUG)) == (
        "hit-semantic",
        "disk",
    )
    assert sidecar.lasting.index.statistics().entries == 7
    assert len(sidecar.lasting.store) == 1
    assert _where(await sidecar.ask(_sum(3), DEBUG)) == ("hit-exact", "disk")
    assert _where(await sidecar.ask(_sum(77), DEBUG))[0] == "miss"


async def test_an_invalidation_names_what_only_the_disk_holds(start: Start, tmp_path: Path) -> None:
    """At once, before its rows are gone; and not after a restart either."""
    async with AsyncExitStack() as first_life:
        sidecar = await start(extra=SMALL + _disk(tmp_path), until=first_life)
        await _fill(sidecar, 8)
        told = await sidecar.lasting.keeper.tally(Selector("tag", "t0"))
        assert told.entries == 4
        assert await sidecar.lasting.keeper.invalidate(Selector("tag", "t0"))
        for number, status in ((0, 504), (1, 200)):
            assert (await sidecar.ask(_sum(number), ONLY)).status == status
    sidecar = await start(extra=SMALL + _disk(tmp_path))
    for number, status in ((2, 504), (3, 200)):
        assert (await sidecar.ask(_sum(number), ONLY)).status == status


async def test_one_that_went_wrong_is_forgotten_on_disk_too(start: Start, tmp_path: Path) -> None:
    """By its id, though memory does not hold it: it does not come up again."""
    async with AsyncExitStack() as first_life:
        sidecar = await start(extra=_disk(tmp_path), until=first_life)
        await _fill(sidecar, 3)
        wrong = next(iter(sidecar.lasting.store)).entry_id
    async with AsyncExitStack() as second_life:
        sidecar = await start(extra=_disk(tmp_path), until=second_life)
        lasting = sidecar.lasting
        entry = await lasting.keeper.entry(wrong)
        assert entry is not None
        assert len(lasting.store) == 0
        assert await lasting.keeper.entry(9_999) is None
        assert lasting.keeper.forget(wrong)
        assert await lasting.keeper.entry(wrong) is None
        assert (await sidecar.ask(entry.question, ONLY)).status == 504
