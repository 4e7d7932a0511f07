"""Over HTTP: a bad hit is taken back, hits are checked in the background, tenants stay apart."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.integration.conftest import DEMO, Running, Start

FIRST = "What is 12 plus 7?"
PARAPHRASE = "How much is 12 plus 7?"
PINNED: dict[str, Any] = {"model": "large"}


async def served_wrongly(sidecar: Running, headers: dict[str, str] | None = None) -> str:
    """Have the paraphrase served by meaning; the id of that request."""
    await sidecar.ask(FIRST, headers, **PINNED)
    await sidecar.settled()
    hit = await sidecar.ask(PARAPHRASE, headers, **PINNED)
    assert hit.headers["x-sidecar-cache"] == "hit-semantic"
    return hit.headers["x-sidecar-request-id"]


async def test_a_bad_label_takes_the_hit_back_for_good(start: Start) -> None:
    """The next one who asks gets a miss, and kept anew the pair is vetoed."""
    sidecar = await start()
    request_id = await served_wrongly(sidecar)
    await sidecar.post("/v1/feedback", {"request_id": request_id, "label": "bad"})
    await sidecar.settled()
    assert len(sidecar.lasting.store) == 0
    assert sidecar.lasting.index.statistics().entries == 0
    # Asked and kept anew, the entry is near as ever: the pair is what was rejected.
    assert await refused(sidecar) == "veto: rejected before"


async def refused(sidecar: Running) -> str:
    """Why the paraphrase is not served, now that the first question is kept."""
    await sidecar.ask(FIRST, **PINNED)
    await sidecar.settled()
    again = await sidecar.ask(PARAPHRASE, {"x-sidecar-debug": "1"}, **PINNED)
    assert again.headers["x-sidecar-cache"] == "miss"
    return again.headers["x-sidecar-miss-reason"]


async def test_what_was_learnt_outlives_a_restart(start: Start, tmp_path: Path) -> None:
    """The pair is still vetoed, though the kept answers were lost."""
    disk = f'[cache.disk]\npath = "{tmp_path / "cache.sqlite"}"\n'
    async with AsyncExitStack() as life:
        sidecar = await start(DEMO, disk, life)
        request_id = await served_wrongly(sidecar)
        await sidecar.post("/v1/feedback", {"request_id": request_id, "label": "bad"})
    (tmp_path / "cache.sqlite").unlink()
    async with AsyncExitStack() as life:
        sidecar = await start(DEMO, disk, life)
        assert await refused(sidecar) == "veto: rejected before"


async def test_a_bad_label_leaves_nothing_on_disk(start: Start, tmp_path: Path) -> None:
    """A restart finds nothing to serve."""
    disk = f'[cache.disk]\npath = "{tmp_path / "cache.sqlite"}"\n'
    async with AsyncExitStack() as life:
        sidecar = await start(DEMO, disk, life)
        request_id = await served_wrongly(sidecar)
        await sidecar.post("/v1/feedback", {"request_id": request_id, "score": 0.2})
    async with AsyncExitStack() as life:
        sidecar = await start(DEMO, disk, life)
        assert len(sidecar.lasting.store) == 0


async def test_feedback_of_another_tenant_changes_nothing(start: Start) -> None:
    """Whoever guesses an id takes nothing away from its owner."""
    sidecar = await start()
    request_id = await served_wrongly(sidecar, {"authorization": "Bearer mine"})
    bad = {"request_id": request_id, "label": "bad"}
    await sidecar.post("/v1/feedback", bad, {"authorization": "Bearer other"})
    assert len(sidecar.lasting.store) == 1


@pytest.mark.parametrize(
    ("correct", "left"),
    [pytest.param("19", 1, id="agrees"), pytest.param("20", 0, id="differs")],
)
async def test_a_correct_answer_that_differs_is_a_bad_label(
    start: Start, correct: str, left: int
) -> None:
    """Said without a score, it counts by what it says."""
    sidecar = await start()
    request_id = await served_wrongly(sidecar)
    said = {"request_id": request_id, "correct_answer": correct}
    await sidecar.post("/v1/feedback", said)
    assert len(sidecar.lasting.store) == left


async def test_hits_are_checked_behind_the_callers_back(start: Start) -> None:
    """A right hit is found right, at a cost that is told, and goes on being served."""
    sidecar = await start(DEMO, ALL_CHECKED)
    await served_wrongly(sidecar)
    await sidecar.lasting.overseer.settled()
    report = sidecar.lasting.overseer.report()
    assert (report.right, report.wrong) == (1, 0)
    assert report.estimate.upper < 1.0
    told = sidecar.lasting.metrics.exposition.text().decode()
    assert 'sidecar_semantic_verified_total{outcome="right"} 1.0' in told
    assert "sidecar_semantic_false_hit_ratio 0.0" in told
    assert 'sidecar_semantic_partitions{state="open"} 1.0' in told
    assert "sidecar_semantic_verify_cost_usd_total 0.000265" in told


ALL_CHECKED = "[cache.semantic]\nverify_share = 1.0\n"

VENDOR = """
[cache.lookup]
budget_s = 30.0

[[upstreams]]
name = "vendor"
kind = "openai"
base_url = "{url}v1"

[[tiers]]
name = "large"
model = "m"
upstreams = ["vendor"]
price_in_usd_per_mtok = 1.0
price_out_usd_per_mtok = 1.0
"""


class FakeVendor:
    """Answers by the question's words, and counts how often it was asked."""

    def __init__(self, answers: dict[str, str]) -> None:
        self.asked: list[str] = []
        self._answers = answers

    async def answer(self, request: web.Request) -> web.Response:
        question = (await request.json())["messages"][-1]["content"]
        self.asked.append(question)
        message = {"role": "assistant", "content": self._answers[question]}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
        return web.json_response({"object": "x", "choices": [choice], "usage": usage})


async def vendor_url(vendor: FakeVendor, life: AsyncExitStack) -> str:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", vendor.answer)
    server = await life.enter_async_context(TestServer(app))
    return str(server.make_url("/"))


async def test_a_wrong_hit_is_found_and_taken_back(start: Start) -> None:
    """What the tier says to the question itself differs, and each side agrees with itself."""
    vendor = FakeVendor({FIRST: "19", PARAPHRASE: "21"})
    async with AsyncExitStack() as life:
        text = VENDOR.format(url=await vendor_url(vendor, life))
        sidecar = await start(text, ALL_CHECKED, life)
        await served_wrongly(sidecar)
        await sidecar.lasting.overseer.settled()
        report = sidecar.lasting.overseer.report()
        assert (report.right, report.wrong, report.rejections) == (0, 1, 1)
        assert vendor.asked == [FIRST, PARAPHRASE, PARAPHRASE, FIRST]
        assert len(sidecar.lasting.store) == 0
        after = await sidecar.ask(PARAPHRASE, **PINNED)
        assert after.body["choices"][0]["message"]["content"] == "21"


async def test_a_partition_of_wrong_hits_turns_itself_off(start: Start) -> None:
    """After four of four; and what is withheld from then on is still checked."""
    pairs = [(f"What is {n} plus 7?", f"How much is {n} plus 7?") for n in range(12, 18)]
    answers = {first: "19" for first, _ in pairs} | {second: "21" for _, second in pairs}
    vendor = FakeVendor(answers)
    async with AsyncExitStack() as life:
        text = VENDOR.format(url=await vendor_url(vendor, life))
        sidecar = await start(text, ALL_CHECKED, life)
        seen = []
        for first, second in pairs:
            await sidecar.ask(first, **PINNED)
            await sidecar.settled()
            asked = await sidecar.ask(second, {"x-sidecar-debug": "1"}, **PINNED)
            seen.append(asked.headers.get("x-sidecar-miss-reason", "hit"))
            await sidecar.lasting.overseer.settled()
        assert seen == ["hit"] * 4 + ["off: too many hits of this partition were wrong"] * 2
        watched = sidecar.lasting.overseer.report().watched
        assert [(one.state.value, one.wrong) for one in watched] == [("off", 2)]
        told = sidecar.lasting.metrics.exposition.text().decode()
        assert 'sidecar_semantic_partitions{state="off"} 1.0' in told


async def test_shadow_mode_checks_what_it_would_have_served(start: Start) -> None:
    """The caller's own answer settles it: nobody is asked once more."""
    vendor = FakeVendor({FIRST: "19", PARAPHRASE: "19"})
    async with AsyncExitStack() as life:
        text = VENDOR.format(url=await vendor_url(vendor, life))
        sidecar = await start(text, ALL_CHECKED + 'mode = "shadow"\n', life)
        await sidecar.ask(FIRST, **PINNED)
        await sidecar.settled()
        shadow = await sidecar.ask(PARAPHRASE, **PINNED)
        assert shadow.headers["x-sidecar-cache"] == "miss"
        await sidecar.lasting.overseer.settled()
        assert sidecar.lasting.overseer.report().right == 1
        assert vendor.asked == [FIRST, PARAPHRASE]


async def test_a_judge_is_heard_where_words_differ(start: Start) -> None:
    """Asked in the ordinary way, at the tier that the config names."""
    kept, fresh = "Press the red button on the left.", "Nineteen, as any abacus shows."
    vendor = FakeJudge({FIRST: kept, PARAPHRASE: fresh})
    async with AsyncExitStack() as life:
        text = VENDOR.format(url=await vendor_url(vendor, life))
        sidecar = await start(text, ALL_CHECKED + 'verify_judge = "large"\n', life)
        await served_wrongly(sidecar)
        await sidecar.lasting.overseer.settled()
        assert sidecar.lasting.overseer.report().right == 1
        assert "yes or no" in vendor.asked[-1]


class FakeJudge(FakeVendor):
    """Says yes to whatever it has not learnt by heart."""

    def __init__(self, answers: dict[str, str]) -> None:
        super().__init__(_Yes(answers))


class _Yes(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return "Yes."
