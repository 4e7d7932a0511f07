"""One call for one tier in, the first answer of any of its replicas out, or the last fault.

Every replica is asked once, in the order that balancing gives, before one is asked again: who
stands ready answers sooner than who must be waited for. Then the one that may be asked soonest is,
after its backoff, as long as it has retries, its upstream has budget and the caller has time.

Where hedging is on, a whole answer that is late is asked of the next replica too, and the first of
the two is served. A stream is never hedged: its first words would have to be thrown away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from router.pricing import Price
from sidecar.errors import ProviderError
from sidecar.outcome import CANCELLED, Attempt
from sidecar.providers.breaker import Ticket
from sidecar.providers.errors import CallerAtFault, StreamBroken, UpstreamShut
from sidecar.replicas import retries
from sidecar.replicas.balance import Balance, ordered
from sidecar.replicas.calls import UNCOUNTED, Calls, Errand
from sidecar.replicas.fleet import Replica
from sidecar.replicas.hedge import Hedge


class Meter(Protocol):
    """Where counts go."""

    def retried(self, outcome: str) -> None:
        """A retry was `made`, or not for want of `budget` or `time`."""
        ...

    def hedged(self, outcome: str) -> None:
        """A second call was made, and `won`, `lost`, or nobody answered: `failed`."""
        ...


@dataclass(slots=True, eq=False)
class _Run:
    """How far one errand has come."""

    untried: list[Replica]
    faults: dict[Replica, ProviderError] = field(default_factory=dict)
    retried: dict[Replica, int] = field(default_factory=dict)
    fault: ProviderError | None = None

    def failed(self, replica: Replica, fault: ProviderError) -> None:
        self.faults[replica] = fault
        # What an upstream said is worth more to the caller than that it was not asked.
        if self.fault is None or not isinstance(fault, UpstreamShut):
            self.fault = fault


class Replicas:
    """Those of one tier. Holds nothing between requests but what the fleet knows."""

    def __init__(
        self,
        *,
        price: Price,
        replicas: Sequence[Replica],
        meter: Meter,
        clock: Callable[[], float],
        dice: Callable[[], float],
        pause: Callable[[float], Awaitable[Any]],
        balance: Balance = "order",
        hedge: Hedge | None = None,
    ) -> None:
        """`clock` is monotonic, in seconds; `dice` are uniform in [0, 1); `pause` waits seconds."""
        self._calls = Calls(price, clock)
        self._replicas = replicas
        self._meter = meter
        self._clock = clock
        self._dice = dice
        self._pause = pause
        self._balance = balance
        self._hedge = hedge

    def usual_s(self) -> float:
        """How long a whole answer usually takes at the quickest of them; 0 if nobody knows."""
        known = [each.load.usual_s() for each in self._replicas]
        return min((seconds for seconds in known if seconds > 0.0), default=0.0)

    async def ask(self, errand: Errand) -> Attempt:
        """The first answer.

        Raises:
            CallerAtFault: The request itself is refused; nobody else is asked.
            StreamBroken: Words were sent; nobody else is asked.
            ProviderError: Nobody answered, the last fault; or nobody may be asked.
        """
        # Those that it may not go to are out before balance, hedge or retry see them.
        bound = errand.bound(self._replicas)
        if not bound:
            raise UpstreamShut("no upstream of this tier may be asked for this caller")
        run = _Run(ordered(self._balance, bound, self._clock(), self._dice))
        while True:
            replica = run.untried.pop(0) if run.untried else await self._back_off(errand, run)
            if replica is None:
                assert run.fault is not None  # noqa: S101 - the config gives each tier an upstream
                raise run.fault
            try:
                ticket = self._admitted(errand, replica)
                delay_s = self._hedge.delay_s(replica.load) if self._hedge else None
                if delay_s is None or errand.publish is not None or not run.untried:
                    return await self._calls.made(errand, replica, ticket)
                return await self._raced(errand, run, replica, ticket, delay_s)
            except (CallerAtFault, StreamBroken):
                raise
            except ProviderError as fault:
                run.failed(replica, fault)
                if errand.call.deadline.remaining_s() <= 0.0:
                    raise

    # Retries.

    async def _back_off(self, errand: Errand, run: _Run) -> Replica | None:
        """Whoever may be asked again soonest, when that time has come; None if nobody may."""
        waits = [
            (wait_s, number, replica)
            for number, replica in enumerate(run.faults)
            if (wait_s := self._wait_s(run, replica)) is not None
        ]
        if not waits:
            return None
        wait_s, _, replica = min(waits)
        # The middle one of the last answers: a retry that cannot end in time is a call for nothing.
        needed_s = wait_s + (replica.load.quantile_s(0.5) or 0.0)
        if needed_s >= errand.call.deadline.remaining_s():
            self._meter.retried("time")
            return None
        if errand.drill is None and replica.budget.tokens(self._clock()) < 1.0:
            self._meter.retried("budget")
            return None
        run.retried[replica] = run.retried.get(replica, 0) + 1
        await self._pause(wait_s)
        self._meter.retried("made")
        return replica

    def _wait_s(self, run: _Run, replica: Replica) -> float | None:
        """Seconds until `replica` may be asked again; None if it may not."""
        fault, number = run.faults[replica], run.retried.get(replica, 0)
        if number >= replica.retries or not retries.may_retry(fault):
            return None
        wait_s = retries.wait_s(fault, number, self._dice())
        may = replica.breaker.may_admit(self._clock() + wait_s) and wait_s <= retries.MAX_WAIT_S
        return wait_s if may else None

    def _admitted(self, errand: Errand, replica: Replica) -> Ticket:
        """A ticket for a call now; each call beyond a request's first is taken from the budget.

        Raises:
            UpstreamShut: It may not be made; that stands among the attempts.
        """
        now_s, name, breaker = self._clock(), replica.upstream.name, replica.breaker
        if not breaker.may_admit(now_s):
            told = f"upstream {name} is left alone for a while: it has failed too often"
            raise self._shut(errand, replica, now_s, told)
        if errand.drill is not None:
            return UNCOUNTED
        if not errand.has_failed(name):
            replica.budget.deposit(now_s)
        elif not replica.budget.withdraw(now_s):
            told = f"upstream {name} is not asked again: its retries are spent"
            raise self._shut(errand, replica, now_s, told)
        ticket = breaker.admit(now_s)
        assert ticket is not None  # noqa: S101 - it may be admitted, as was just seen
        return ticket

    def _shut(self, errand: Errand, replica: Replica, now_s: float, told: str) -> UpstreamShut:
        self._calls.note(errand, replica, UpstreamShut.__name__, 0.0)
        return UpstreamShut(told, retry_after_s=replica.breaker.retry_after_s(now_s) or None)

    # Hedging.

    async def _raced(
        self, errand: Errand, run: _Run, first: Replica, ticket: Ticket, delay_s: float
    ) -> Attempt:
        """The first answer of `first` and, once `delay_s` have passed, one replica more."""
        calls = {self._entered(errand, first, ticket): first}
        begun_s = {first: self._clock()}
        try:
            done, _ = await asyncio.wait(calls, timeout=delay_s)
            second = None if done else self._second(errand, run, first)
            if second is not None:
                calls[self._entered(errand, *second)] = second[0]
                begun_s[second[0]] = self._clock()
            winner = await self._winner(calls, run, first)
        except BaseException:
            await self._call_off(errand, calls, begun_s)
            raise
        await self._call_off(errand, calls, begun_s, winner)
        return winner

    def _entered(self, errand: Errand, replica: Replica, ticket: Ticket) -> asyncio.Task[Attempt]:
        return asyncio.create_task(self._calls.made(errand, replica, ticket))

    def _second(self, errand: Errand, run: _Run, first: Replica) -> tuple[Replica, Ticket] | None:
        """The next one that may be asked now, if the budget of `first` has a call to spare.

        Of the first, whose traffic it is: who is second in the config's order has none of his own.
        """
        now_s = self._clock()
        second = next((each for each in run.untried if each.breaker.may_admit(now_s)), None)
        if second is None or not (errand.drill or first.budget.withdraw(now_s)):
            return None
        run.untried.remove(second)
        ticket = UNCOUNTED if errand.drill else second.breaker.admit(now_s)
        assert ticket is not None  # noqa: S101 - it may be admitted, as was just seen
        return second, ticket

    async def _winner(
        self, calls: Mapping[asyncio.Task[Attempt], Replica], run: _Run, first: Replica
    ) -> Attempt:
        pending = set(calls)
        faults: dict[Replica, ProviderError] = {}
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=lambda task: calls[task] is not first):
                try:
                    answered = task.result()
                except CallerAtFault:
                    raise
                except ProviderError as fault:
                    faults[calls[task]] = fault
                    continue
                if len(calls) > 1:
                    self._meter.hedged("lost" if calls[task] is first else "won")
                return answered
        for replica, met in faults.items():
            run.failed(replica, met)
        if len(calls) > 1:
            self._meter.hedged("failed")
        raise faults[first]

    async def _call_off(
        self,
        errand: Errand,
        calls: Mapping[asyncio.Task[Attempt], Replica],
        begun_s: Mapping[Replica, float],
        winner: Attempt | None = None,
    ) -> None:
        """End the calls that lost, and note them: what was sent is billed, answered or not."""
        late = [task for task in calls if not task.done()]
        for task in late:
            task.cancel()
        ended = await asyncio.gather(*calls, return_exceptions=True)
        for task in late if len(calls) > 1 else ():
            replica, now_s = calls[task], self._clock()
            spent_s = now_s - begun_s[replica]
            self._calls.note(errand, replica, CANCELLED, spent_s, errand.tokens_in)
            if winner is not None and errand.drill is None:
                replica.load.overtaken(spent_s, now_s)
        for each in ended:  # two that were answered at the same instant
            if isinstance(each, Attempt) and winner is not None and each is not winner:
                errand.attempts.append(replace(each, outcome=CANCELLED, body=None))
