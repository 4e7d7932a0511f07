"""The climb, with I/O: asks tiers as the decision and the cascade say, until an answer stands.

Within a tier its replicas are the business of `replicas/`; between tiers the cascade decides
(escalation, or fallback when a whole tier failed). A stream is relayed as it comes only if the
decision is final; else the answer is held back, judged, and told as a stream once it stands: words
once sent cannot be taken back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from router.cascade import Cascade, Do, Event, Step
from router.decision import AnswerView, Decision, Judgement, Task
from router.tiers import Ladder
from sidecar import answer
from sidecar.deadline import Deadline
from sidecar.errors import DeadlineExceeded, ProviderError
from sidecar.outcome import Attempt, Outcome
from sidecar.providers.errors import CallerAtFault, StreamBroken, UpstreamShut
from sidecar.providers.wire import Call
from sidecar.replicas.calls import Answered, Errand
from sidecar.replicas.drill import Drill
from sidecar.replicas.relay import Publish as Publish  # noqa: PLC0414 - told on to those above
from sidecar.replicas.relay import Told as Told  # noqa: PLC0414 - as above


class Tier(Protocol):
    """One rung's upstreams."""

    async def ask(self, errand: Errand) -> Answered:
        """Raises ProviderError."""
        ...


class Judge(Protocol):
    """The half of the router that weighs answers."""

    def judge(self, task: Task, decision: Decision, answers: Mapping[int, AnswerView]) -> Judgement:
        """What to do with the answers held so far."""
        ...


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
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
    """

    body: Mapping[str, Any]
    task: Task
    decision: Decision
    deadline: Deadline
    headers: Mapping[str, str]
    attempts: list[Attempt] = field(default_factory=list)
    drill: Drill | None = None


@dataclass(slots=True)
class _Climb:
    """What one climb holds so far."""

    attempts: list[Attempt]
    held: dict[int, Attempt] = field(default_factory=dict)
    headers: dict[int, Mapping[str, str]] = field(default_factory=dict)
    judgement: Judgement | None = None
    fault: ProviderError | None = None

    def failed(self, fault: ProviderError) -> None:
        # The first is told, but what an upstream said before that one was not asked.
        if self.fault is None or isinstance(self.fault, UpstreamShut):
            self.fault = fault

    def hold(self, attempt: Attempt, headers: Mapping[str, str]) -> None:
        self.attempts.append(attempt)
        self.held[attempt.place] = attempt
        self.headers[attempt.place] = headers


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
        return self._outcome(job, climb, step)

    async def _step(
        self, job: Job, cascade: Cascade, climb: _Climb, place: int, live: Publish | None
    ) -> Step:
        if job.deadline.remaining_s() <= 0.0:
            return _out_of_time(climb)
        try:
            attempt, headers = await self._ask_tier(job, climb, place, live)
        except StreamBroken:
            raise  # words were sent: nothing may follow them
        except CallerAtFault:
            if not climb.held:
                raise
            return cascade.after(Event.FAILED)
        except ProviderError as fault:
            climb.failed(fault)
            return cascade.after(Event.FAILED)
        climb.hold(attempt, headers)
        if live is not None:
            return cascade.after(Event.CONFIDENT)
        climb.judgement = self._judge.judge(job.task, job.decision, _views(job, climb.held))
        judged = replace(attempt, confidence=_confidence(climb.judgement, place))
        climb.attempts[-1] = climb.held[place] = judged
        better = climb.judgement.next_place
        event = Event.CONFIDENT if better is None else Event.DOUBTFUL
        return cascade.after(event, better)

    def _outcome(self, job: Job, climb: _Climb, step: Step) -> Outcome:
        if step.do is Do.GIVE_UP:
            assert climb.fault is not None  # noqa: S101 - only faults lead here
            raise climb.fault
        best = climb.judgement.best if climb.judgement is not None else climb.attempts[-1].place
        served = climb.held[best]
        return Outcome(
            served=served,
            attempts=tuple(climb.attempts),
            decision=job.decision,
            judgement=climb.judgement,
            headers=climb.headers[best],
        )

    async def _ask_tier(
        self, job: Job, climb: _Climb, place: int, live: Publish | None
    ) -> Answered:
        tier = self._ladder[place]
        call = Call(
            body={**job.body, "model": tier.model},
            tier=tier.name,
            deadline=job.deadline,
            headers=job.headers,
        )
        return await self._tiers[place].ask(
            Errand(
                call=call,
                place=place,
                entry=job.decision.entry,
                tokens_in=job.task.tokens_in,
                publish=live,
                attempts=climb.attempts,
                drill=job.drill,
            )
        )


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
