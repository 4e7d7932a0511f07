"""Hits to be checked in; each asked again at leisure, compared, and told to whoever keeps count.

Right: what the tier says now, and what was kept, say the same. Else two more questions are asked,
since a model that samples differs from itself: what the tier says to the entry's own question, and
once more to the one asked. Wrong is only what differs while each side agrees with itself; all other
differences are unclear and count for nothing.

1. Nobody waits: a queue that is full drops what comes, and counts it.
2. Off-peak first: work waits while more than a share of the places inside is taken.
3. A check begins only while there is budget left, and once begun it is finished: giving up midway
   would lose more of those that differ than of those that agree.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, Literal, Protocol, TypeVar

import orjson

from cache.entry import Entry, Vector
from cache.rejections import Question
from sidecar import answer
from sidecar.encoder.encoding import Encoding
from sidecar.errors import EncoderError
from sidecar.oversight.asking import Asking
from sidecar.oversight.budget import Budget
from sidecar.oversight.sameness import Sameness, compare

T = TypeVar("T")

Verdict = Literal["right", "wrong", "unclear", "failed", "dropped", "over_budget"]

MAX_WAITING: Final = 256
"""Chosen: with bodies of `MAX_BODY_BYTES` 16 MiB, with ordinary ones far less."""

MAX_BODY_BYTES: Final = 65_536
"""Chosen: a request some 16,000 tokens long; longer ones are not checked."""

WORKERS: Final = 2
"""Chosen: so many calls of ours at once are no burden to an upstream."""

SAME_SIMILARITY: Final = 0.9
"""Chosen: of the answers' vectors, where close reading is unsure. Among real answers of two models
to one question, of 48 such pairs with other results none reached it, and a tenth reached 0.85; of
144 with the same result 11 % did. So it errs towards asking once more."""

_PAUSE_S: Final = 1.0
"""Chosen: how often a worker looks whether the peak is over."""


class Encoder(Protocol):
    """Text to a vector."""

    async def encode(self, text: str, then: Callable[[Encoding], T]) -> T:
        """Raises EncoderError."""
        ...


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Check:
    """One hit to be checked.

    Attributes:
        kind: It was served; it was, in a partition that is looked at more closely; it would have
            been; or it lay just above what may be served.
        entry: Whose answer it was.
        partition: Where it was found.
        asked: What was asked.
        kept: The entry's own question.
        raw: The request's body as JSON.
        headers: What goes upstream with a call.
        fresh: What the entry's own tier has said to it since; None if that is not known yet.
        asking: The tiers as they were.
    """

    kind: Literal["served", "watched", "withheld", "near"]
    entry: Entry
    partition: bytes
    asked: Question
    kept: Question
    raw: bytes
    headers: Mapping[str, str]
    fresh: str | None
    asking: Asking


@dataclass(slots=True, eq=False)
class _Spent:
    """What one check has cost so far."""

    usd: Decimal = field(default_factory=Decimal)


async def _pause() -> None:
    await asyncio.sleep(_PAUSE_S)


class Checks:
    """Owns the queue and those who work it off."""

    def __init__(
        self,
        *,
        encoder: Encoder,
        budget: Budget,
        is_busy: Callable[[], bool],
        heard: Callable[[Check, Verdict, Decimal], None],
        logger: logging.Logger,
        pause: Callable[[], Awaitable[None]] = _pause,
    ) -> None:
        """`heard` is told of each check once, with its verdict and its cost."""
        self._encoder = encoder
        self._budget = budget
        self._is_busy = is_busy
        self._heard = heard
        self._logger = logger
        self._pause = pause
        self._waiting: asyncio.Queue[Check] = asyncio.Queue(MAX_WAITING)
        self._workers: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to work."""
        self._workers = [asyncio.create_task(self._work()) for _ in range(WORKERS)]

    def offer(self, check: Check) -> None:
        """Have `check` made some time. Returns at once."""
        if self._waiting.full() or len(check.raw) > MAX_BODY_BYTES:
            self._heard(check, "dropped", Decimal(0))
            return
        self._waiting.put_nowait(check)

    async def settled(self) -> None:
        """Wait until nothing waits or is under way."""
        await self._waiting.join()

    async def _work(self) -> None:
        while True:
            check = await self._waiting.get()
            try:
                while self._is_busy():
                    await self._pause()
                await self._make(check)
            except Exception:  # the supervisor: one check lost, the next one made
                self._logger.exception("unforeseen fault in a check")
                self._heard(check, "failed", Decimal(0))
            finally:
                self._waiting.task_done()

    async def _make(self, check: Check) -> None:
        if not self._budget.has_left:
            self._heard(check, "over_budget", Decimal(0))
            return
        spent = _Spent()
        try:
            verdict = await self._verdict(check, spent)
        except EncoderError:
            verdict = "failed"
        self._budget.spend(spent.usd)
        self._heard(check, verdict, spent.usd)

    async def _verdict(self, check: Check, spent: _Spent) -> Verdict:
        kept = answer.text(orjson.loads(check.entry.body))
        fresh = check.fresh or await self._ask(check, check.asked, spent)
        if fresh is None:
            return "failed"
        if await self._same(check, kept, fresh, spent):
            return "right"
        again = await self._ask(check, check.asked, spent)
        own = await self._ask(check, check.kept, spent)
        if again is None or own is None:
            return "failed"
        is_steady = await self._same(check, kept, own, spent) and await self._same(
            check, fresh, again, spent
        )
        return (
            "wrong" if is_steady and not await self._same(check, kept, again, spent) else "unclear"
        )

    async def _ask(self, check: Check, question: Question, spent: _Spent) -> str | None:
        """What the entry's tier says to `question`, all else being as it was asked."""
        body: dict[str, Any] = orjson.loads(check.raw)
        # A hit is found inside a partition: but for this turn, both requests are the same.
        body["messages"][-1]["content"] = question.text
        said = await check.asking.ask(check.entry.tier, body, check.headers)
        spent.usd += said.cost_usd
        return said.text

    async def _same(self, check: Check, left: str, right: str, spent: _Spent) -> bool:
        verdict = compare(left, right)
        if verdict is not Sameness.UNSURE:
            return verdict is Sameness.SAME
        if await self._similarity(left, right) >= SAME_SIMILARITY:
            return True
        if not check.asking.judge:
            return False
        agree, cost_usd = await check.asking.agree(check.asked.text, left, right, check.headers)
        spent.usd += cost_usd
        return agree

    async def _similarity(self, left: str, right: str) -> float:
        ours, theirs = [await self._encoder.encode(text, _vector) for text in (left, right)]
        return float(ours @ theirs)

    async def close(self) -> None:
        """End what is under way; what waits is let go."""
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)


def _vector(encoding: Encoding) -> Vector:
    return encoding.vector
