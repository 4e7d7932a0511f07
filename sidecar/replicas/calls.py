"""One call to one replica: made, counted in its breaker and load, and noted among the attempts.

A caller who leaves, a deadline shorter than the upstream needs, a request that is refused as such,
a drill: none of these says anything against the upstream.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from router.pricing import Price, cost
from sidecar import answer
from sidecar.errors import ProviderError
from sidecar.outcome import Attempt, degraded_by
from sidecar.providers.breaker import Breaker, Ticket
from sidecar.providers.errors import (
    CallerAtFault,
    CallerRefused,
    KeyRefused,
    StreamBroken,
    UpstreamTooSlow,
)
from sidecar.providers.wire import Call, Completion
from sidecar.replicas.drill import Drill
from sidecar.replicas.fleet import Replica
from sidecar.replicas.relay import Kind, Publish, Told, Voice, relay

UNCOUNTED: Final = Ticket(-1, is_trial=False)
"""Of no term, so that no breaker heeds it: a drill's."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Errand:
    """What a tier is asked.

    Attributes:
        call: The request, with the tier's model.
        place: The tier's.
        entry: The place where the climb began.
        tokens_in: Estimated tokens of the prompt.
        publish: Where the chunks go; None asks for a whole answer.
        attempts: Every call that fails is added here as it ends, those of other tiers before it.
        drill: A fault on purpose.
        upstreams: Nobody else may be asked; None if anybody may.
    """

    call: Call
    place: int
    entry: int
    tokens_in: int
    publish: Publish | None
    attempts: list[Attempt]
    drill: Drill | None = None
    upstreams: frozenset[str] | None = None

    def may_ask(self, upstream: str) -> bool:
        """Nothing binds the request to others."""
        return self.upstreams is None or upstream in self.upstreams

    def has_failed(self, upstream: str) -> bool:
        """This request has called it already, in vain."""
        return any(
            attempt.upstream == upstream and attempt.body is None and attempt.was_made
            for attempt in self.attempts
        )


class Answered(NamedTuple):
    """The call that was answered, and the vendor's headers."""

    attempt: Attempt
    headers: Mapping[str, str]


class Calls:
    """Those of one tier. Holds nothing between two of them."""

    def __init__(self, price: Price, clock: Callable[[], float]) -> None:
        """`clock` is monotonic, in seconds."""
        self._price = price
        self._clock = clock

    async def made(self, errand: Errand, replica: Replica, ticket: Ticket) -> Answered:
        """The replica's answer; whatever becomes of the call, its breaker and load are told."""
        begun_s = self._clock()
        try:
            with replica.load.carried():
                completion = await self._said(errand, replica, ticket, begun_s)
        except ProviderError as fault:
            spent_s = self._clock() - begun_s
            self.note(errand, replica, type(fault).__name__, spent_s)
            if ticket is not UNCOUNTED:
                self._blame(errand, replica, ticket, fault, spent_s)
            raise
        finally:
            # Of a trial that said nothing of the upstream, above all one whose caller has gone.
            replica.breaker.left(ticket)
        return Answered(self._answered(errand, replica, completion, begun_s), completion.headers)

    async def _said(
        self, errand: Errand, replica: Replica, ticket: Ticket, begun_s: float
    ) -> Completion:
        upstream = replica.upstream
        if errand.drill is not None:
            upstream = errand.drill.applied(upstream)
        publish = errand.publish

        def hear(*, whole: bool) -> None:
            if ticket is UNCOUNTED:
                return
            now_s = self._clock()
            replica.load.answered(now_s - begun_s, now_s, whole=whole)
            if whole or ticket.is_trial:  # a stream that has begun is answer enough for a trial
                replica.breaker.succeeded(ticket, now_s)

        if publish is None:
            completion = await _in_time(upstream.ask(errand.call), errand.call, upstream.name)
            hear(whole=True)
            return completion
        degraded = degraded_by(errand.attempts, errand.place, upstream.name, errand.entry)
        voice: Voice | None = None

        def tell(data: bytes, kind: Kind, headers: Mapping[str, str]) -> None:
            nonlocal voice
            if voice is None:
                voice = Voice(errand.place, headers, degraded)
                hear(whole=False)
            publish(Told(data, kind, voice))

        completion = await relay(upstream, errand.call, tell)
        replica.breaker.succeeded(ticket, self._clock())
        return completion

    def _blame(
        self, errand: Errand, replica: Replica, ticket: Ticket, fault: ProviderError, spent_s: float
    ) -> None:
        """Tell the breaker what the fault says of the upstream, if anything."""
        breaker, now_s = replica.breaker, self._clock()
        if isinstance(fault, CallerRefused) or self._is_cut(errand, fault, spent_s, breaker):
            return
        if isinstance(fault, CallerAtFault):
            breaker.succeeded(ticket, now_s)  # it is well enough to refuse
            return
        replica.load.failed(spent_s, now_s)
        if isinstance(fault, KeyRefused) and fault.is_certain:
            breaker.refused_key(ticket, now_s)
        else:
            breaker.failed(ticket, now_s, fault.retry_after_s or 0.0)

    def _is_cut(
        self, errand: Errand, fault: ProviderError, spent_s: float, breaker: Breaker
    ) -> bool:
        """The caller's own deadline ended it, and it had not had long; a stream had even begun."""
        if errand.call.deadline.remaining_s() > 0.0:
            return False
        is_short = isinstance(fault, UpstreamTooSlow) and spent_s < breaker.config.slow_s
        return is_short or isinstance(fault, StreamBroken)

    def note(
        self,
        errand: Errand,
        replica: Replica,
        outcome: str,
        spent_s: float,
        tokens_in: int = 0,
    ) -> None:
        """Write a call without an answer down; `tokens_in` are those that it is billed for."""
        errand.attempts.append(
            Attempt(
                place=errand.place,
                upstream=replica.upstream.name,
                outcome=outcome,
                latency_ms=spent_s * 1e3,
                tokens_in=tokens_in,
                cost_usd=cost(self._price, tokens_in, 0),
            )
        )

    def _answered(
        self, errand: Errand, replica: Replica, completion: Completion, begun_s: float
    ) -> Attempt:
        tokens_in, tokens_out = answer.tokens(completion.body, errand.tokens_in)
        return Attempt(
            place=errand.place,
            upstream=replica.upstream.name,
            outcome="answered",
            latency_ms=(self._clock() - begun_s) * 1e3,
            body=completion.body,
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            cost_usd=cost(self._price, tokens_in, tokens_out),
        )


async def _in_time(asking: Awaitable[Completion], call: Call, upstream: str) -> Completion:
    try:
        async with asyncio.timeout(call.deadline.remaining_s()):
            return await asking
    except TimeoutError as fault:
        raise UpstreamTooSlow(f"upstream {upstream} had not answered by the deadline") from fault
