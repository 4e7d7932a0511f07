"""Answers that were served in; what other tiers say to the same, beside them in the log, out.

Of a served answer nobody may ever say whether it was good. The tier above says something too:
where it comes to the same, escalating would have bought nothing. So a share of the requests is
asked there as well, behind the caller's back, and what came of it is logged as a label of the
answer served. Or, if all are to be asked, every tier that was not: a question of which each tier's
answer is known is worth many of which one is, to whoever learns from the log.

1. Nobody waits: a queue that is full drops what comes, and counts it.
2. Off-peak first, and within a budget of its own: no tenant pays for it.
3. What the caller pinned, bypassed or forbade to keep is not asked again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final, Literal, Protocol

import orjson

from router.policy import ShadowTiers
from sidecar import answer
from sidecar.ledger import Ledger
from sidecar.outcome import Outcome
from sidecar.oversight.asking import Asking, Said
from sidecar.oversight.budget import Budget
from sidecar.oversight.sameness import Sameness, compare
from sidecar.traffic.record import Record, ShadowRecord

MAX_WAITING: Final = 128
"""Chosen: with bodies of `MAX_BODY_BYTES` 8 MiB, with ordinary ones far less."""

MAX_BODY_BYTES: Final = 65_536
"""Chosen: a request some 16,000 tokens long; longer ones are not asked again."""

_PAUSE_S: Final = 1.0
"""Chosen: so often it is looked whether others are still busy."""

Fate = Literal["same", "different", "unsure", "failed", "dropped", "over_budget"]
"""What became of it: what both answers come to, or why there is no second one."""


class Log(Protocol):
    """Where records go. Never raises, never waits."""

    def put(self, record: Record) -> None:
        """Take one record."""
        ...


class Meter(Protocol):
    """Where counts go."""

    def shadowed(self, fate: str, cost_usd: Decimal) -> None:
        """A request was asked again, or could not be."""
        ...


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Shadow:
    """One request to be asked again.

    Attributes:
        request_id: Whose answer is labelled.
        tenant: Whose request it is.
        question: Its last question; for a judge.
        tiers: Whom to ask, in this order.
        next_tier: The one of them whose word labels the answer served; empty if none of them.
        served: What the caller got.
        raw: The request's body as JSON.
        headers: What goes upstream with the call.
        propensity: Chance with which it was drawn.
        asking: The tiers as they were.
    """

    request_id: str
    tenant: str
    question: str
    tiers: tuple[str, ...]
    next_tier: str
    served: str
    raw: bytes
    headers: Mapping[str, str]
    propensity: float
    asking: Asking


async def _pause() -> None:
    await asyncio.sleep(_PAUSE_S)


class Shadows:
    """Owns the queue and the one who works it off. Lives on the event loop's thread."""

    def __init__(
        self,
        *,
        budget: Budget,
        is_busy: Callable[[], bool],
        dice: Callable[[], float],
        log: Log,
        meter: Meter,
        labelled: Callable[[str, str, float], None],
        logger: logging.Logger,
        pause: Callable[[], Awaitable[None]] = _pause,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`labelled` hears of each served answer that was found to stand (1), or not (0)."""
        self._budget = budget
        self._is_busy = is_busy
        self._dice = dice
        self._log = log
        self._meter = meter
        self._labelled = labelled
        self._logger = logger
        self._pause = pause
        self._clock = clock
        self._waiting: asyncio.Queue[Shadow] = asyncio.Queue(MAX_WAITING)
        self._worker: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to work."""
        self._worker = asyncio.create_task(self._work())

    async def close(self) -> None:
        """End what is under way; what waits is let go."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)

    async def settled(self) -> None:
        """Wait until nothing waits or is under way."""
        await self._waiting.join()

    def answered(
        self,
        ledger: Ledger,
        outcome: Outcome,
        asking: Asking,
        share: float,
        whom: ShadowTiers = "next",
    ) -> None:
        """A climb ended well: with the chance `share` other tiers are asked. Returns at once."""
        if not share or not _may_be_asked(ledger) or self._dice() >= share:
            return
        shadow = _shadow(ledger, outcome, asking, share, whom)
        if shadow is None:
            return
        if self._waiting.full() or len(shadow.raw) > MAX_BODY_BYTES:
            self._meter.shadowed("dropped", Decimal(0))
            return
        self._waiting.put_nowait(shadow)

    async def _work(self) -> None:
        while True:
            shadow = await self._waiting.get()
            try:
                while self._is_busy():
                    await self._pause()
                for tier in shadow.tiers:
                    await self._ask(shadow, tier)
            except Exception:  # the supervisor: one lost, the next one asked
                self._logger.exception("unforeseen fault in a shadow ask")
                self._meter.shadowed("failed", Decimal(0))
            finally:
                self._waiting.task_done()

    async def _ask(self, shadow: Shadow, tier: str) -> None:
        if not self._budget.has_left:
            self._meter.shadowed("over_budget", Decimal(0))
            return
        said = await shadow.asking.ask(tier, orjson.loads(shadow.raw), shadow.headers)
        cost_usd, fate, by = said.cost_usd, _fate(shadow, said), "agreement"
        is_next = tier == shadow.next_tier
        if is_next and fate == "unsure" and shadow.asking.judge and said.text is not None:
            agree, judge_usd = await shadow.asking.agree(
                shadow.question, shadow.served, said.text, shadow.headers
            )
            cost_usd, fate, by = cost_usd + judge_usd, "same" if agree else "different", "judge"
        self._budget.spend(cost_usd)
        self._meter.shadowed(fate, cost_usd)
        if said.text is not None:
            self._tell(shadow, tier, replace(said, cost_usd=cost_usd), fate, by)

    def _tell(self, shadow: Shadow, tier: str, said: Said, fate: Fate, by: str) -> None:
        is_next = tier == shadow.next_tier
        label = {"same": 1.0, "different": 0.0}.get(fate) if is_next else None
        self._log.put(
            ShadowRecord(
                request_id=shadow.request_id,
                at=self._clock(),
                tenant=shadow.tenant,
                tier=tier,
                answer=said.text or "",
                cost_usd=str(said.cost_usd),
                propensity=shadow.propensity,
                label=label,
                by=by if is_next else "",
                tokens_in=said.tokens_in,
                tokens_out=said.tokens_out,
            )
        )
        if label is not None:
            self._labelled(shadow.request_id, shadow.tenant, label)


def _fate(shadow: Shadow, said: Said) -> Fate:
    if said.text is None:
        return "failed"
    fates: dict[Sameness, Fate] = {
        Sameness.SAME: "same",
        Sameness.DIFFERENT: "different",
        Sameness.UNSURE: "unsure",
    }
    return fates[compare(shadow.served, said.text)]


def _may_be_asked(ledger: Ledger) -> bool:
    """The router chose for it, and the caller did not forbid that it be kept."""
    aim, options = ledger.aim, ledger.inquiry.options
    if aim is None or aim.target.is_pinned or options.bypass or ledger.inquiry.is_background:
        return False
    return ledger.ruling.writes and not options.cache_control.no_store


def _shadow(
    ledger: Ledger, outcome: Outcome, asking: Asking, share: float, whom: ShadowTiers
) -> Shadow | None:
    """Of the tier above all that were asked, or of all that were not; None if there is none."""
    assert ledger.aim is not None  # noqa: S101 - looked at a line ago
    asked = {attempt.place for attempt in outcome.attempts}
    unasked = [place for place in ledger.aim.target.allowed if place not in asked]
    above = [place for place in unasked if place > max(asked)]
    wanted = [*above, *(place for place in unasked if place < max(asked))]
    wanted = wanted if whom == "all" else above[:1]
    served = answer.text(outcome.served.body) if outcome.served.body is not None else ""
    if not wanted or not served:
        return None
    request, options = ledger.inquiry.request, ledger.inquiry.options
    return Shadow(
        request_id=ledger.inquiry.request_id,
        tenant=ledger.inquiry.caller.tenant,
        question=request.question or "",
        tiers=tuple(asking.ladder[place].name for place in wanted),
        next_tier=asking.ladder[above[0]].name if above else "",
        served=served,
        raw=orjson.dumps({k: v for k, v in request.body.items() if not k.startswith("stream")}),
        headers=options.upstream_headers,
        propensity=share,
        asking=asking,
    )
