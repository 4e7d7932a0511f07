"""Checks: the verdicts, and that nothing is asked that was not paid for, in time or money."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, TypeVar

import orjson
import pytest

from cache.rejections import Question
from router.pricing import Price
from router.tiers import Ladder, Tier
from sidecar.dispatch import Job, Publish
from sidecar.encoder.encoding import Encoding
from sidecar.errors import EncoderError, ProviderError
from sidecar.outcome import Attempt, Outcome
from sidecar.oversight.asking import Asking
from sidecar.oversight.budget import Budget
from sidecar.oversight.checks import MAX_BODY_BYTES, MAX_WAITING, Check, Checks, Verdict
from tests.sidecar.caching.test_lookup import ENTRY, VECTOR

T = TypeVar("T")

ASKED, OWN = "asked", ENTRY.question
LADDER = Ladder(
    [
        Tier(
            name="small",
            model="m",
            price=Price(in_usd_per_mtok=Decimal(1), out_usd_per_mtok=Decimal(1)),
        )
    ]
)


class FakeDispatch:
    """Says by question what it was given to say, in turn; an exception is raised."""

    def __init__(self, answers: Mapping[str, list[str | Exception]]) -> None:
        self.asked: list[str] = []
        self._answers = {question: list(said) for question, said in answers.items()}

    async def climb(self, job: Job, publish: Publish | None) -> Outcome:
        question = job.body["messages"][-1]["content"]
        self.asked.append(question)
        said = self._answers[question].pop(0)
        if isinstance(said, Exception):
            raise said
        served = Attempt(
            place=job.decision.entry,
            upstream="u",
            outcome="answered",
            latency_ms=1.0,
            body=body_of(said),
            cost_usd=Decimal("0.01"),
        )
        return Outcome(served=served, attempts=(served,), decision=job.decision, judgement=None)


class FakeEncoder:
    """Finds all texts alike, or fails."""

    def __init__(self, *, fails: bool = False) -> None:
        self._fails = fails

    async def encode(self, text: str, then: Callable[[Encoding], T]) -> T:
        if self._fails:
            raise EncoderError("closed")
        sign = -1.0 if text.startswith("far") else 1.0
        return then(
            Encoding(vector=sign * VECTOR, tokens=1, truncated=False, queue_ms=0, encode_ms=0)
        )


def body_of(text: str) -> dict[str, Any]:
    return {"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}


@dataclass
class Bench:
    """Checks at work, and what was heard of them."""

    dispatch: FakeDispatch
    encoder: FakeEncoder = field(default_factory=FakeEncoder)
    usd: float = 1.0
    busy: list[bool] = field(default_factory=list)
    heard: list[tuple[Verdict, Decimal]] = field(default_factory=list)
    pauses: int = 0

    def __post_init__(self) -> None:
        self.budget = Budget(self.usd, lambda: 0.0)
        self.checks = Checks(
            encoder=self.encoder,
            budget=self.budget,
            is_busy=lambda: bool(self.busy) and self.busy.pop(0),
            heard=lambda _check, verdict, usd: self.heard.append((verdict, usd)),
            logger=logging.getLogger("test"),
            pause=self.pause,
        )

    async def pause(self) -> None:
        self.pauses += 1

    async def made(self, *checks: Check) -> list[tuple[Verdict, Decimal]]:
        self.checks.start()
        for check in checks:
            self.checks.offer(check)
        await self.checks.settled()
        await self.checks.close()
        return self.heard

    def check(self, *, kept: str = "19", fresh: str | None = None, judge: str = "") -> Check:
        entry = replace(ENTRY, body=orjson.dumps(body_of(kept)))
        return Check(
            kind="served",
            entry=entry,
            partition=b"p" * 20,
            asked=Question(ASKED, VECTOR),
            kept=Question(OWN, VECTOR),
            raw=orjson.dumps({"messages": [{"role": "user", "content": ASKED}]}),
            headers={},
            fresh=fresh,
            asking=Asking(ladder=LADDER, dispatch=self.dispatch, judge=judge),
        )


DOWN = ProviderError("down")


@pytest.mark.parametrize(
    ("answers", "verdict", "asked"),
    [
        pytest.param({ASKED: ["It is 19"]}, "right", 1, id="the-same"),
        pytest.param({ASKED: ["21", "21"], OWN: ["19"]}, "wrong", 3, id="each-side-steady"),
        pytest.param({ASKED: ["21", "22"], OWN: ["19"]}, "unclear", 3, id="asked-side-unsteady"),
        pytest.param({ASKED: ["21", "21"], OWN: ["18"]}, "unclear", 3, id="kept-side-unsteady"),
        pytest.param({ASKED: ["21", "19"], OWN: ["19"]}, "unclear", 3, id="changed-its-mind"),
        pytest.param({ASKED: [DOWN]}, "failed", 1, id="upstream-down"),
        pytest.param({ASKED: ["21", DOWN], OWN: ["19"]}, "failed", 3, id="down-midway"),
    ],
)
async def test_verdicts(
    answers: dict[str, list[str | Exception]], verdict: Verdict, asked: int
) -> None:
    """Wrong is only what differs while each side agrees with itself."""
    bench = Bench(FakeDispatch(answers))
    heard = await bench.made(bench.check())
    assert [one[0] for one in heard] == [verdict]
    assert len(bench.dispatch.asked) == asked
    failed = sum(isinstance(one, Exception) for said in answers.values() for one in said)
    assert heard[0][1] == Decimal("0.01") * (asked - failed)


async def test_the_callers_own_answer_costs_nothing() -> None:
    """It is at hand where a hit was withheld."""
    bench = Bench(FakeDispatch({}))
    assert await bench.made(bench.check(fresh="19")) == [("right", Decimal(0))]


@pytest.mark.parametrize(
    ("says", "verdict"),
    [
        pytest.param("Yes.", "right", id="yes"),
        pytest.param("No", "wrong", id="no"),
        pytest.param("Perhaps", "wrong", id="neither"),
    ],
)
async def test_the_judge_is_asked_where_words_and_vectors_differ(
    says: str, verdict: Verdict
) -> None:
    """And believed only where it says yes."""

    class Judge(FakeDispatch):
        async def climb(self, job: Job, publish: Publish | None) -> Outcome:
            prompt = job.body["messages"][-1]["content"]
            if "yes or no" in prompt:
                self._answers.setdefault(prompt, []).append(says)
            return await super().climb(job, publish)

    bench = Bench(Judge({ASKED: ["far off", "far off"], OWN: ["near by"]}))
    heard = await bench.made(bench.check(kept="close", judge="small"))
    assert heard[0][0] == verdict


async def test_without_vectors_nothing_is_told() -> None:
    """A fault of the encoder is nobody's wrong answer."""
    bench = Bench(FakeDispatch({ASKED: ["some words"]}), FakeEncoder(fails=True))
    assert await bench.made(bench.check(kept="other words")) == [("failed", Decimal("0.01"))]


async def test_an_unforeseen_fault_costs_one_check() -> None:
    """The worker lives on."""
    bench = Bench(FakeDispatch({ASKED: [KeyError("odd"), KeyError("odd"), "19"]}))
    heard = await bench.made(*[bench.check() for _ in range(3)])
    assert sorted(one[0] for one in heard) == ["failed", "failed", "right"]


async def test_peaks_are_waited_out() -> None:
    """A check begins when there is room, however often it has to look."""
    bench = Bench(FakeDispatch({ASKED: ["19"]}), busy=[True, True, False])
    assert await bench.made(bench.check()) == [("right", Decimal("0.01"))]
    assert bench.pauses == 2


async def test_an_empty_budget_asks_nobody() -> None:
    """What was begun is finished, and the next one not begun."""
    bench = Bench(FakeDispatch({ASKED: ["21", "21"], OWN: ["19"]}), usd=0.02)
    bench.budget.spend(Decimal("0.015"))
    first = await bench.made(bench.check())
    assert first == [("wrong", Decimal("0.03"))]
    bench.heard.clear()
    assert await bench.made(bench.check()) == [("over_budget", Decimal(0))]
    assert len(bench.dispatch.asked) == 3


async def test_what_does_not_fit_is_dropped() -> None:
    """A full queue, or a body that is too large to hold."""
    bench = Bench(FakeDispatch({}))
    for _ in range(MAX_WAITING + 1):
        bench.checks.offer(bench.check())
    bench.checks.offer(replace(bench.check(), raw=b" " * (MAX_BODY_BYTES + 1)))
    assert bench.heard == [("dropped", Decimal(0))] * 2


async def test_closing_ends_what_is_under_way() -> None:
    """No task is left behind."""

    class Hanging(FakeDispatch):
        async def climb(self, job: Job, publish: Publish | None) -> Outcome:
            await asyncio.Event().wait()
            raise AssertionError

    bench = Bench(Hanging({}))
    bench.checks.start()
    bench.checks.offer(bench.check())
    await asyncio.sleep(0)
    await bench.checks.close()
    assert all(worker.done() for worker in bench.checks._workers)


def test_a_budget_fills_up_evenly() -> None:
    """It holds an hour's worth at most, and what was overdrawn comes off."""
    now_s = [0.0]
    budget = Budget(3.6, lambda: now_s[0])
    budget.spend(Decimal("3.7"))
    assert not budget.has_left
    now_s[0] = 99.0
    assert not budget.has_left
    now_s[0] = 101.0
    assert budget.has_left
    now_s[0] = 1e6
    assert budget.has_left
    budget.spend(Decimal("3.7"))
    assert not budget.has_left
