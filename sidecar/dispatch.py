"""The climb, with I/O: asks tiers as the decision and the cascade say, until an answer stands.

Within a tier its replicas are the business of `replicas/`; between tiers the cascade decides
(escalation, or fallback when a whole tier failed). A stream is relayed as it comes only if the
decision is final; else the answer is held back, judged, and told as a stream once it stands: words
once sent cannot be taken back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from router.cascade import Cascade, Do, Event, Step
from router.decision import AnswerView, Decision, Judgement, Task
from router.pricing import cost
from router.tiers import Ladder
from sidecar import answer
from sidecar.deadline import Deadline
from sidecar.errors import AnswerRefused, DeadlineExceeded, ProviderError
from sidecar.guardrails.rules import Violation
from sidecar.outcome import Attempt, Outcome
from sidecar.providers.errors import CallerAtFault, StreamBroken, UpstreamShut
from sidecar.providers.wire import Call
from sidecar.replicas.calls import Errand
from sidecar.replicas.drill import Drill
from sidecar.replicas.relay import Publish as Publish  # noqa: PLC0414 - told on to those above
from sidecar.replicas.relay import Told as Told  # noqa: PLC0414 - as above
from sidecar.replicas.relay import Voice as Voice  # noqa: PLC0414 - as above
from sidecar.values import value


class Tier(Protocol):
    """One rung's upstreams."""

    async def ask(self, errand: Errand) -> Attempt:
        """Raises ProviderError."""
        ...


class Judge(Protocol):
    """The half of the router that weighs answers."""

    def judge(self, task: Task, decision: Decision, answers: Mapping[int, AnswerView]) -> Judgement:
        """What to do with the answers held so far."""
        ...


class Guard(Protocol):
    """The operator's rules for one request's answers."""

    def check(self, body: Mapping[str, Any]) -> Violation | None:
        """The first rule that an answer breaks."""
        ...

    def mending(
        self, request: Mapping[str, Any], body: Mapping[str, Any], violation: Violation
    ) -> Mapping[str, Any] | None:
        """The request that asks for a better answer; None if none is to be asked."""
        ...

    def may_escalate(self, violation: Violation) -> bool:
        """Another tier is asked for a better one."""
        ...

    def refuses(self, violation: Violation) -> bool:
        """Such an answer is not served."""
        ...


@value(frozen=True, slots=True, eq=False, kw_only=True)
class Job:
    """One request, ready to be sent.

    Attributes:
        body: The caller's fields; each tier's call puts its own model in.
        task: What the router was asked.
        decision: What it said.
        deadline: The caller's.
        headers: The caller's headers that go upstream.
        attempts: Every call made is added here as it ends, so that a climb that fails tells them.
        drill: A fault on purpose.
        may_escalate: A higher tier may be asked for a better answer.
        guard: What answers must keep to; None if to nothing.
        upstreams: Nobody else may be asked; None if anybody may. To be said each time: whoever
            asks behind a caller's back is bound like the caller.
    """

    body: Mapping[str, Any]
    task: Task
    decision: Decision
    deadline: Deadline
    headers: Mapping[str, str]
    upstreams: frozenset[str] | None
    attempts: list[Attempt] = field(default_factory=list)
    drill: Drill | None = None
    may_escalate: bool = True
    guard: Guard | None = None


@dataclass(slots=True)
class _Climb:
    """What one climb holds so far."""

    attempts: list[Attempt]
    held: dict[int, Attempt] = field(default_factory=dict)
    judgement: Judgement | None = None
    fault: ProviderError | None = None
    is_mended: bool = False

    def failed(self, fault: ProviderError) -> None:
        # The first is told, but what an upstream said before that one was not asked.
        if self.fault is None or isinstance(self.fault, UpstreamShut):
            self.fault = fault

    def hold(self, attempt: Attempt) -> None:
        self.attempts.append(attempt)
        self.held[attempt.place] = attempt


class Dispatch:
    """Asks upstreams. Holds nothing between requests."""

    def __init__(self, *, ladder: Ladder, judge: Judge, tiers: Sequence[Tier]) -> None:
        """`tiers[place]` asks that tier's upstreams."""
        self._ladder = ladder
        self._judge = judge
        self._tiers = tiers

    async def climb(self, job: Job, publish: Publish | None) -> Outcome:
        """The best answer that can be had, streamed into `publish` where that is safe.

        Raises:
            ProviderError: Every tier that may be asked failed; the first tier's fault is told.
            DeadlineExceeded: The caller's time ran out before any answer.
        """
        cascade = Cascade(entry=job.decision.entry, allowed=job.task.allowed)
        climb, step = _Climb(job.attempts), Step(Do.ASK, job.decision.entry)
        # Final: no answer will be judged, so the first tier that answers may be relayed at once.
        live = publish if job.decision.final else None
        while step.do is Do.ASK:
            assert step.place is not None  # noqa: S101 - ASK always names its place
            step = await self._step(job, cascade, climb, step.place, live)
        return self._outcome(job, climb, step, is_live=live is not None)

    async def _step(
        self, job: Job, cascade: Cascade, climb: _Climb, place: int, live: Publish | None
    ) -> Step:
        if job.deadline.remaining_s() <= 0.0:
            return _out_of_time(climb)
        try:
            climb.hold(await self._ask_tier(job, climb, place, live))
        except StreamBroken:
            raise  # words were sent: nothing may follow them
        except CallerAtFault:
            if not climb.held:
                raise
            return cascade.after(Event.FAILED)
        except ProviderError as fault:
            climb.failed(fault)
            return cascade.after(Event.FAILED)
        if job.guard is not None:
            await self._held_to(job.guard, job, climb, place, is_live=live is not None)
        if live is not None:
            return cascade.after(Event.CONFIDENT)
        task = job.task if job.task.left_s is None else _by_now(job.task, job.deadline)
        attempt = climb.held[place]  # it may have been mended
        climb.judgement = self._judge.judge(task, job.decision, _views(job, climb.held))
        attempt.confidence = _confidence(climb.judgement, place)
        better = self._better(job, climb, place) if job.may_escalate else None
        event = Event.CONFIDENT if better is None else Event.DOUBTFUL
        return cascade.after(event, better)

    async def _held_to(
        self, guard: Guard, job: Job, climb: _Climb, place: int, *, is_live: bool
    ) -> None:
        """Say which rule the answer breaks, and have it mended, once in a climb."""
        held = climb.held[place]
        assert held.body is not None  # noqa: S101 - what is held answered
        violation = guard.check(held.body)
        if violation is None:
            return
        held.violation = violation
        again = guard.mending(job.body, held.body, violation)
        if is_live or again is None or climb.is_mended or not self._affords(job, climb, place):
            return
        climb.is_mended = True
        try:
            mended = await self._ask_tier(replace(job, body=again), climb, place, None)
        except ProviderError:
            return  # the answer that is held stands as it is
        climb.hold(mended)
        mended.violation = guard.check(mended.body or {"choices": ()})

    def _affords(self, job: Job, climb: _Climb, place: int) -> bool:
        """Time is left for one more call, and money for as long an answer as the last."""
        if job.deadline.remaining_s() <= 0.0:
            return False
        if job.task.budget_usd is None:
            return True
        last = climb.attempts[-1]
        tokens_in = job.task.tokens_in + last.tokens_out
        more_usd = cost(self._ladder[place].price, tokens_in, last.tokens_out)
        spent_usd = sum((attempt.cost_usd for attempt in climb.attempts), more_usd)
        return float(spent_usd) <= job.task.budget_usd

    def _better(self, job: Job, climb: _Climb, place: int) -> int | None:
        """The tier above that pays; or, of an answer that breaks a rule, the next one."""
        assert climb.judgement is not None  # noqa: S101 - judged a line ago
        violation = climb.held[place].violation
        if violation is None or job.guard is None:
            return climb.judgement.next_place
        above = [other for other in job.task.allowed if other > place]
        if not job.guard.may_escalate(violation) or not above:
            return None
        return above[0] if self._affords(job, climb, above[0]) else None

    def _outcome(self, job: Job, climb: _Climb, step: Step, *, is_live: bool) -> Outcome:
        if step.do is Do.GIVE_UP:
            assert climb.fault is not None  # noqa: S101 - only faults lead here
            raise climb.fault
        best = climb.judgement.best if climb.judgement is not None else climb.attempts[-1].place
        if climb.held[best].violation is not None:
            within = [place for place, attempt in climb.held.items() if attempt.violation is None]
            best = max(within, default=best)
        served = climb.held[best]
        if served.violation is not None and job.guard is not None and not is_live:
            _refuse(job.guard, served.violation)
        return Outcome(
            served=served,
            attempts=tuple(climb.attempts),
            decision=job.decision,
            judgement=climb.judgement,
        )

    def _ask_tier(
        self, job: Job, climb: _Climb, place: int, live: Publish | None
    ) -> Awaitable[Attempt]:
        tier = self._ladder[place]
        call = Call(
            body={**job.body, "model": tier.model},
            tier=tier.name,
            deadline=job.deadline,
            headers=job.headers,
        )
        return self._tiers[place].ask(
            Errand(
                call=call,
                place=place,
                entry=job.decision.entry,
                tokens_in=job.task.tokens_in,
                publish=live,
                attempts=climb.attempts,
                drill=job.drill,
                upstreams=job.upstreams,
            )
        )


def _by_now(task: Task, deadline: Deadline) -> Task:
    """The task with what is left of the time that its caller gave it."""
    return task._replace(left_s=deadline.remaining_s())


def _refuse(guard: Guard, violation: Violation) -> None:
    if guard.refuses(violation):
        raise AnswerRefused(violation.rule, violation.detail)


def _confidence(judgement: Judgement, place: int) -> float:
    """Of the answer at `place`, which need not be the best of those held."""
    return judgement.probabilities[place] if judgement.probabilities else judgement.confidence


def _out_of_time(climb: _Climb) -> Step:
    """An answer held beats a deadline passed."""
    if climb.held:
        return Step(Do.SERVE)
    raise DeadlineExceeded("dispatch")


def _views(job: Job, held: Mapping[int, Attempt]) -> dict[int, AnswerView]:
    return {
        place: answer.view(attempt.body, attempt.tokens_out, job.body)
        for place, attempt in held.items()
        if attempt.body is not None
    }
