"""Over HTTP: tenants share nothing, not the very same text, and none spoils another's cache."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiohttp import web

from cache.standing import State
from tests.integration.conftest import PATIENCE_S, Running, Start
from tests.integration.test_learning import (
    ALL_CHECKED,
    FIRST,
    PARAPHRASE,
    PINNED,
    VENDOR,
    FakeVendor,
    vendor_url,
)

MINE, YOURS = {"authorization": "Bearer mine"}, {"authorization": "Bearer yours"}
NAMED = {"x-sidecar-namespace": "n"}
PAIRS = [(f"What is {n} plus 7?", f"How much is {n} plus 7?") for n in range(12, 19)]

OTHERS = [
    pytest.param(MINE, YOURS, id="another-tenant"),
    pytest.param({**MINE, **NAMED}, {**YOURS, **NAMED}, id="another-tenant-same-namespace"),
    pytest.param(MINE, {**MINE, **NAMED}, id="another-namespace"),
    pytest.param({}, MINE, id="a-tenant-and-nobody"),
]


@pytest.mark.parametrize(("one", "other"), OTHERS)
async def test_the_same_text_is_another_question_to_another_tenant(
    start: Start, one: dict[str, str], other: dict[str, str]
) -> None:
    """Neither by key nor by meaning, where the cosine is 1.0; each has an answer of his own."""
    sidecar = await start()
    for headers in (one, other):
        assert (await sidecar.ask(FIRST, headers, **PINNED)).headers["x-sidecar-cache"] == "miss"
        await sidecar.settled()
    assert (await sidecar.ask(PARAPHRASE, other)).headers["x-sidecar-cache"] == "miss"
    for headers in (one, other):
        again = await sidecar.ask(PARAPHRASE, headers, **PINNED)
        assert again.headers["x-sidecar-cache"] == "hit-semantic"
    assert len(sidecar.lasting.store) == 3


class SlowVendor(FakeVendor):
    """Answers nobody until so many have asked."""

    def __init__(self, answers: dict[str, str], wanted: int) -> None:
        super().__init__(answers)
        self._wanted = wanted
        self._came = asyncio.Event()
        self._inside = 0

    async def answer(self, request: web.Request) -> web.Response:
        self._inside += 1
        if self._inside == self._wanted:
            self._came.set()
        async with asyncio.timeout(PATIENCE_S):
            await self._came.wait()
        return await super().answer(request)


@pytest.mark.parametrize(("one", "other"), OTHERS)
@pytest.mark.parametrize("second", [FIRST, PARAPHRASE], ids=["same-text", "same-meaning"])
async def test_no_call_in_flight_is_shared_between_them(
    start: Start, one: dict[str, str], other: dict[str, str], second: str
) -> None:
    """Both are asked upstream at the same time."""
    vendor = SlowVendor({FIRST: "19", PARAPHRASE: "19"}, wanted=2)
    async with AsyncExitStack() as life:
        sidecar = await start(VENDOR.format(url=await vendor_url(vendor, life)), "", life)
        told = await asyncio.gather(
            sidecar.ask(FIRST, one, **PINNED), sidecar.ask(second, other, **PINNED)
        )
        assert [answer.headers["x-sidecar-cache"] for answer in told] == ["miss", "miss"]


async def complain(sidecar: Running, headers: dict[str, str]) -> str:
    """Have each pair served by meaning and say that it was wrong; what the last one got."""
    cache = ""
    for first, second in PAIRS:
        await sidecar.ask(first, headers, **PINNED)
        await sidecar.settled()
        hit = await sidecar.ask(second, headers, **PINNED)
        said = {"request_id": hit.headers["x-sidecar-request-id"], "label": "bad"}
        await sidecar.post("/v1/feedback", said, headers)
        cache = hit.headers["x-sidecar-cache"]
    return cache


async def test_complaints_of_one_tenant_shut_nothing_of_anothers(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """Its own partition is off, and says so; the other one's serves the same questions."""
    sidecar = await start()
    with caplog.at_level(logging.WARNING):
        assert await complain(sidecar, MINE) == "miss"
    changes: list[Any] = [getattr(record, "facts", {}) for record in caplog.records]
    assert [one["after"] for one in changes if "after" in one][-1] == "off"
    for first, second in PAIRS:
        await sidecar.ask(first, YOURS, **PINNED)
        await sidecar.settled()
        hit = await sidecar.ask(second, YOURS, **PINNED)
        assert hit.headers["x-sidecar-cache"] == "hit-semantic"
    report = sidecar.lasting.overseer.report()
    assert (report.partitions[State.OFF], report.partitions[State.OPEN]) == (1, 1)
    assert [one.state for one in report.watched] == [State.OFF]
    assert report.watched[0].owner.tenant != report.busiest[0].owner.tenant


async def test_poisoned_labels_shut_the_partition_that_they_poison(start: Start) -> None:
    """Found out by the checks alone; another tenant's partition goes on serving."""
    answers = {
        text: f"It is {len(text)}{place}." for pair in PAIRS for place, text in enumerate(pair)
    }
    vendor = FakeVendor(answers)
    async with AsyncExitStack() as life:
        text = VENDOR.format(url=await vendor_url(vendor, life))
        sidecar = await start(text, ALL_CHECKED, life)
        for first, second in PAIRS:
            await sidecar.ask(first, MINE, **PINNED)
            await sidecar.settled()
            await sidecar.ask(second, MINE, **PINNED)
            await sidecar.lasting.overseer.settled()
        await sidecar.ask(FIRST, YOURS, **PINNED)
        await sidecar.settled()
        hit = await sidecar.ask(PARAPHRASE, YOURS, **PINNED)
        assert hit.headers["x-sidecar-cache"] == "hit-semantic"
        told = sidecar.lasting.metrics.exposition.text().decode()
        assert 'sidecar_semantic_partitions{state="off"} 1.0' in told
        assert 'sidecar_semantic_partitions{state="open"} 1.0' in told
