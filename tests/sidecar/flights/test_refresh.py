"""Refreshes: one a key, few at once, and none outlives its owner."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

from sidecar.errors import ProviderError
from sidecar.flights.refresh import MAX_RUNNING, Refreshes


class FakeHook:
    """Counts how they ended."""

    def __init__(self) -> None:
        self.outcomes = Counter[str]()

    def refreshed(self, outcome: str) -> None:
        self.outcomes[outcome] += 1


def made() -> tuple[Refreshes, FakeHook]:
    hook = FakeHook()
    return Refreshes(hook, logging.getLogger("test")), hook


async def test_a_key_is_refreshed_once_at_a_time() -> None:
    """Whoever asks meanwhile begins nothing; afterwards the next one may."""
    refreshes, hook = made()
    go, begun = asyncio.Event(), Counter[str]()

    async def work() -> None:
        begun["work"] += 1
        await go.wait()

    for _ in range(5):
        refreshes.begin(b"k", work)
        await asyncio.sleep(0)
    assert (begun["work"], len(refreshes)) == (1, 1)
    go.set()
    while len(refreshes):
        await asyncio.sleep(0)
    refreshes.begin(b"k", work)
    await asyncio.sleep(0)
    assert begun["work"] == 2
    await refreshes.close()
    assert hook.outcomes["done"] == 2


async def test_beyond_the_bound_nothing_is_begun() -> None:
    """It is counted, and the expired answer goes on being served."""
    refreshes, hook = made()
    for number in range(MAX_RUNNING + 3):
        refreshes.begin(bytes([number]), asyncio.Event().wait)  # type: ignore[arg-type]  # what it returns is not looked at
    assert len(refreshes) == MAX_RUNNING
    assert hook.outcomes == {"full": 3}
    await refreshes.close()
    assert len(refreshes) == 0


async def test_a_failure_is_counted_and_may_be_tried_again() -> None:
    """Of an upstream, and of ours."""
    refreshes, hook = made()

    async def fails() -> None:
        raise ProviderError("down")

    async def breaks() -> None:
        raise RuntimeError("a bug")

    for work in (fails, breaks):
        refreshes.begin(b"k", work)
        while len(refreshes):
            await asyncio.sleep(0)
    assert hook.outcomes == {"failed": 2}
