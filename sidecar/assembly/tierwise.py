"""A config's tiers, each to be asked by name, outside of any traffic: no cache, no router, no log.

For training, which wants every tier's answer to a question. Upstreams are asked as the served
process asks them: in their order, with their retries, breakers and deadlines.
"""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from router.decision import Decision, Task
from router.policy import Router, RouterConfig
from router.tiers import Ladder
from sidecar import answer, chat
from sidecar.assembly.upstreams import MAX_CONNECTIONS, build_tiers, build_upstream
from sidecar.config.file import load_config
from sidecar.deadline import Deadline
from sidecar.dispatch import Dispatch, Job
from sidecar.errors import SidecarError
from sidecar.oversight.asking import TIMEOUT_S, Asking
from sidecar.providers.pool import Pools
from sidecar.replicas.fleet import Fleet
from sidecar.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """What a tier said.

    Attributes:
        text: Its answer; None if it gave none.
        fault: Why not; empty if it did.
        model: The vendor's model id.
        tokens_in: Prompt tokens billed.
        tokens_out: Completion tokens billed.
        cost_usd: What it cost, failed calls included.
        finish_reason: The vendor's word.
    """

    text: str | None
    fault: str
    model: str
    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: Decimal = Decimal(0)
    finish_reason: str = ""


@dataclass(frozen=True, slots=True)
class _Means:
    """What asking takes of a running sidecar."""

    fleet: Fleet
    metrics: Metrics
    dice: Callable[[], float]


class Tierwise:
    """The tiers of one config."""

    def __init__(self, ladder: Ladder, dispatch: Dispatch) -> None:
        self.ladder = ladder
        self._dispatch = dispatch

    def asking(self, judge: str) -> Asking:
        """The same, for whoever has answers compared by the tier `judge`."""
        return Asking(ladder=self.ladder, dispatch=self._dispatch, judge=judge)

    async def ask(self, tier: str, messages: list[Mapping[str, Any]]) -> Spoken:
        """What `tier`, which is on the ladder, says to a conversation; never a fault."""
        place = self.ladder.find_place(tier)
        assert place is not None, "the tier is on the ladder"  # noqa: S101 - a bug of ours
        job = Job(
            body={"messages": messages},
            task=Task(
                text=chat.question_of(messages) or "",
                vector=None,
                tokens_in=chat.prompt_tokens(messages),
                turns=len(messages),
                allowed=(place,),
                quality=1.0,
            ),
            decision=Decision(entry=place, probabilities=(), reason="pinned"),
            deadline=Deadline.after_s(TIMEOUT_S),
            headers={},
            upstreams=None,
        )
        model = self.ladder[place].model
        try:
            outcome = await self._dispatch.climb(job, None)
        except SidecarError as fault:
            spent = sum((each.cost_usd for each in job.attempts), Decimal(0))
            return Spoken(text=None, fault=type(fault).__name__, model=model, cost_usd=spent)
        served = outcome.served
        assert served.body is not None  # noqa: S101 - an outcome's served attempt answered
        return Spoken(
            text=answer.text(served.body),
            fault="",
            model=model,
            tokens_in=served.tokens_in,
            tokens_out=served.tokens_out,
            cost_usd=outcome.cost_usd,
            finish_reason=served.body["choices"][0].get("finish_reason") or "",
        )


@asynccontextmanager
async def tierwise(path: Path) -> AsyncIterator[Tierwise]:
    """The tiers of the config at `path`, for as long as the block runs.

    Raises:
        ConfigError: With all its faults.
    """
    config = load_config(path)
    ladder = Ladder([tier.tier() for tier in config.tiers])
    pools = Pools(MAX_CONNECTIONS)
    try:
        upstreams = {each.name: build_upstream(each, pools) for each in config.upstreams}
        dice = random.Random().random  # noqa: S311 - for spreading retries
        means = _Means(Fleet(time.monotonic), Metrics(), dice)
        judge = Router(ladder=ladder, artifact=None, config=RouterConfig())
        tiers = build_tiers(config, ladder, upstreams, means)
        yield Tierwise(ladder, Dispatch(ladder=ladder, judge=judge, tiers=tiers))
    finally:
        await pools.close()
