"""One call to one replica: made, counted in its breaker and load, and noted among the attempts.

A caller who leaves, a deadline shorter than the upstream needs, a request that is refused as such,
a drill: none of these says anything against the upstream.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

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
from sidecar.providers.wire import Call, Completion, Upstream
from sidecar.replicas.drill import Drill
from sidecar.replicas.fleet import Replica
from sidecar.replicas.relay import Publish, Voice, relay
from sidecar.values import value

UNCOUNTED: Final = Ticket(-1, is_trial=False)
"""Of no term, so that no breaker heeds it: a drill's."""


@value(frozen=True, slots=True, eq=False, kw_only=True)
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

    def bound(self, replicas: Sequence[Replica]) -> Sequence[Replica]:
        """Those of `replicas` that it may go to."""
        if self.upstreams is None:
            return replicas
        return [each for each in replicas if each.upstream.name in self.upstreams]

    def has_failed(self, upstream: str) -> bool:
        """This request has called it already, in vain."""
        return bool(self.attempts) and any(
            attempt.upstream == upstream and attempt.body is None and attempt.was_made
            for attempt in self.attempts
        )


class Calls:
    """Those of one tier. Holds nothing between two of them."""

    def __init__(self, price: Price, clock: Callable[[], float]) -> None:
        """`clock` is monotonic, in seconds."""
        self._price = price
        self._clock = clock

    async def made(self, errand: Errand, replica: Replica, ticket: Ticket) -> Attempt:
        """The replica's answer; whatever becomes of the call, its breaker and load are told."""
        begun_s = self._clock()
        upstream, load = replica.upstream, replica.load
        if errand.drill is not None:
            upstream = errand.drill.applied(upstream)
        load.in_flight += 1
        try:
            if errand.publish is None:
                completion = await upstream.ask(errand.call)
            else:
                completion = await self._relayed(errand, upstream, replica, ticket, begun_s)
        except ProviderError as fault:
            spent_s = self._clock() - begun_s
            self.note(errand, replica, type(fault).__name__, spent_s)
            if ticket is not UNCOUNTED:
                self._blame(errand, replica, ticket, fault, spent_s)
            raise
        finally:
            load.in_flight -= 1
            # Of a trial that said nothing of the upstream, above all one whose caller has gone.
            replica.breaker.left(ticket)
        now_s = self._clock()
        if ticket is not UNCOUNTED:
            if errand.publish is None:
                load.answered(now_s - begun_s, now_s, whole=True)
            replica.breaker.succeeded(ticket, now_s)
        return self._answered(errand, replica, completion, now_s - begun_s)

    async def _relayed(
        self, errand: Errand, upstream: Upstream, replica: Replica, ticket: Ticket, begun_s: float
    ) -> Completion:
        """The same as a stream, whose first words say already how the upstream does."""
        assert errand.publish is not None  # noqa: S101 - asked of streams alone
        degraded = degraded_by(errand.attempts, errand.place, upstream.name, errand.entry)

        def begun() -> None:
            if ticket is not UNCOUNTED:
                now_s = self._clock()
                replica.load.answered(now_s - begun_s, now_s, whole=False)
                if ticket.is_trial:  # a stream that has begun is answer enough for a trial
                    replica.breaker.succeeded(ticket, now_s)

        voice = Voice(errand.place, {}, degraded)
        return await relay(upstream, errand.call, voice, begun, errand.publish)

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
        self, errand: Errand, replica: Replica, completion: Completion, spent_s: float
    ) -> Attempt:
        tokens_in, tokens_out = answer.tokens(completion.body, errand.tokens_in)
        return Attempt(
            place=errand.place,
            upstream=replica.upstream.name,
            outcome="answered",
            latency_ms=spent_s * 1e3,
            body=completion.body,
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            cost_usd=cost(self._price, tokens_in, tokens_out),
            headers=completion.headers,
        )
