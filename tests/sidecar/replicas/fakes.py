"""Upstreams that do as they are told, and the small parts that Replicas is handed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import orjson

from router.pricing import Price
from sidecar import answer
from sidecar.errors import ProviderError
from sidecar.providers.breaker import BreakerConfig
from sidecar.providers.errors import UpstreamTooSlow, UpstreamUnreachable
from sidecar.providers.wire import Call, Completion, Hear, Tell
from sidecar.replicas.calls import Errand
from sidecar.replicas.drill import Drill
from sidecar.replicas.fleet import Fleet, Identity, Manner, Replica
from sidecar.replicas.relay import Publish
from sidecar.replicas.replicas import Replicas
from tests.patience import PatientDeadline

PRICE = Price(in_usd_per_mtok=Decimal(2), out_usd_per_mtok=Decimal(1))
TOKENS_IN = 500_000
"""A dollar's worth."""


def completion(text: str, finish_reason: str = "stop") -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {
        "id": "x",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1_000_000, "total_tokens": 1_000_001},
    }


class FakeUpstream:
    """Says one thing after the other, the last one for ever; a fault is raised, None hangs."""

    def __init__(
        self,
        *says: str | ProviderError | None,
        name: str = "fake",
        breaks_after: int | None = None,
    ) -> None:
        self.name = name
        self.asked: list[str] = []
        self.left = 0
        self._says = list(says)
        self._breaks_after = breaks_after

    async def ask(self, call: Call) -> Completion:
        self.asked.append(call.body["model"])
        said = self._says.pop(0) if len(self._says) > 1 else self._says[0]
        if said is None:
            await self._hang(call.deadline.remaining_s())
        if isinstance(said, ProviderError):
            raise said
        return Completion(body=completion(str(said)))

    async def _hang(self, budget_s: float) -> None:
        try:
            async with asyncio.timeout(budget_s):
                await asyncio.Event().wait()
        except TimeoutError as fault:
            raise UpstreamTooSlow("the deadline passed") from fault
        finally:
            self.left += 1

    async def stream(self, call: Call, hear: Hear, tell: Tell) -> None:
        body = (await self.ask(call)).body
        for number, chunk in enumerate(answer.chunks(body, include_usage=True)):
            if number == self._breaks_after:
                raise UpstreamUnreachable("gone")
            tell([orjson.dumps(chunk)])


class FakeClock:
    """Stands still until it is set; a pause sets it."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now_s

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now_s += seconds


class FakeMeter:
    """Counts."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def retried(self, outcome: str) -> None:
        self.counts[f"retried {outcome}"] += 1

    def hedged(self, outcome: str) -> None:
        self.counts[f"hedged {outcome}"] += 1


def manner(upstream: FakeUpstream, **fields: Any) -> Manner:
    settings = {"breaker": BreakerConfig(), **fields}
    return Manner(identity=Identity.of(upstream.name, "http://u", "k"), **settings)


class Bench:
    """One tier over fake upstreams."""

    def __init__(
        self, *upstreams: FakeUpstream, fleet: Fleet | None = None, hedge: Any = None, **fields: Any
    ) -> None:
        self.clock, self.meter = FakeClock(), FakeMeter()
        self.fleet = fleet or Fleet(self.clock)
        wanted = [[(each, "m", manner(each, **fields)) for each in upstreams]]
        self.members: Sequence[Replica] = self.fleet.muster(wanted)[0]
        self.tier = Replicas(
            price=PRICE,
            replicas=self.members,
            meter=self.meter,
            clock=self.clock,
            dice=lambda: 0.5,
            pause=self.clock.pause,
            hedge=hedge,
        )


def errand(
    *, publish: Publish | None = None, budget_s: float = 60.0, drill: Drill | None = None
) -> Errand:
    call = Call(body={"model": "m"}, tier="small", deadline=PatientDeadline.after_s(budget_s))
    return Errand(
        call=call,
        place=0,
        entry=0,
        tokens_in=TOKENS_IN,
        publish=publish,
        attempts=[],
        drill=drill,
    )


def outcomes(told: Errand) -> list[str]:
    return [f"{attempt.upstream} {attempt.outcome}" for attempt in told.attempts]
