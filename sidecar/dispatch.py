"""The climb, with I/O: asks tiers as the decision and the cascade say, until an answer stands.

Within a tier its upstreams are asked in the config's order (fallback); between tiers the cascade
decides (escalation, or fallback when a whole tier failed). A stream is relayed as it comes only if
the decision is final; else the answer is held back, judged, and told as a stream once it stands:
words once sent cannot be taken back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import orjson

from router.cascade import Cascade, Do, Event, Step
from router.decision import AnswerView, Decision, Judgement, Task
from router.pricing import cost
from router.tiers import Ladder
from sidecar import answer
from sidecar.deadline import Deadline
from sidecar.errors import DeadlineExceeded, ProviderError, UpstreamGarbled
from sidecar.outcome import Attempt, Outcome
from sidecar.providers.errors import CallerAtFault, StreamBroken, UpstreamTooSlow
from sidecar.providers.wire import Call, Completion, Upstream


class Told(NamedTuple):
    """One chunk of a stream, as it came.

    Attributes:
        data: Its JSON.
        chunk: The same, parsed.
        place: The tier that says it.
        headers: The vendor's headers that pass through, of the whole stream.
    """

    data: bytes
    chunk: Mapping[str, Any]
    place: int
    headers: Mapping[str, str]


Publish = Callable[[Told], None]


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
    """

    body: Mapping[str, Any]
    task: Task
    decision: Decision
    deadline: Deadline
    headers: Mapping[str, str]
    attempts: list[Attempt] = field(default_factory=list)


@dataclass(slots=True)
class _Climb:
    """What one climb holds so far."""

    attempts: list[Attempt]
    held: dict[int, Attempt] = field(default_factory=dict)
    headers: dict[int, Mapping[str, str]] = field(default_factory=dict)
    judgement: Judgement | None = None
    fault: ProviderError | None = None

    def hold(self, attempt: Attempt, headers: Mapping[str, str]) -> None:
        self.attempts.append(attempt)
        self.held[attempt.place] = attempt
        self.headers[attempt.place] = headers


class Dispatch:
    """Asks upstreams. Holds nothing between requests."""

    def __init__(
        self, *, ladder: Ladder, judge: Judge, upstreams: Sequence[Sequence[Upstream]]
    ) -> None:
        """`upstreams[place]` are that tier's, in fallback order."""
        self._ladder = ladder
        self._judge = judge
        self._upstreams = upstreams

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
            climb.fault = climb.fault or fault
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
    ) -> tuple[Attempt, Mapping[str, str]]:
        """The first of the tier's upstreams that answers; raises the last one's fault."""
        tier = self._ladder[place]
        call = Call(
            body={**job.body, "model": tier.model},
            tier=tier.name,
            deadline=job.deadline,
            headers=job.headers,
        )
        last: ProviderError | None = None
        for upstream in self._upstreams[place]:
            begun_s = time.perf_counter()
            try:
                if live is None:
                    completion = await _in_time(upstream.ask(call), job.deadline, upstream.name)
                else:
                    completion = await _relay(upstream, call, live, place)
            except ProviderError as fault:
                last = fault
                spent_ms = (time.perf_counter() - begun_s) * 1e3
                outcome = type(fault).__name__
                climb.attempts.append(
                    Attempt(
                        place=place,
                        upstream=upstream.name,
                        outcome=outcome,
                        latency_ms=spent_ms,
                    )
                )
                if isinstance(fault, CallerAtFault | StreamBroken):
                    raise
                continue
            spent_ms = (time.perf_counter() - begun_s) * 1e3
            return self._answered(job, place, upstream, completion, spent_ms), completion.headers
        assert last is not None  # noqa: S101 - the config gives each tier an upstream
        raise last

    def _answered(
        self, job: Job, place: int, upstream: Upstream, completion: Completion, spent_ms: float
    ) -> Attempt:
        tokens_in, tokens_out = answer.tokens(completion.body, job.task.tokens_in)
        return Attempt(
            place=place,
            upstream=upstream.name,
            outcome="answered",
            latency_ms=spent_ms,
            body=completion.body,
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            cost_usd=cost(self._ladder[place].price, tokens_in, tokens_out),
        )


def _confidence(judgement: Judgement, place: int) -> float:
    """Of the answer at `place`, which need not be the best of those held."""
    return judgement.probabilities[place] if judgement.probabilities else judgement.confidence


def _out_of_time(climb: _Climb) -> Step:
    """An answer held beats a deadline passed."""
    if climb.held:
        return Step(Do.SERVE)
    raise DeadlineExceeded("dispatch")


async def _in_time(asking: Any, deadline: Deadline, upstream: str) -> Completion:
    try:
        async with asyncio.timeout(deadline.remaining_s()):
            completion: Completion = await asking
            return completion
    except TimeoutError as fault:
        raise UpstreamTooSlow(f"upstream {upstream} had not answered by the deadline") from fault


async def _relay(upstream: Upstream, call: Call, publish: Publish, place: int) -> Completion:
    """The stream's chunks into `publish`, and the whole answer once it stands.

    Raises:
        StreamBroken: It ended, or failed, after words were sent and before it was whole.
        ProviderError: It failed before the first chunk.
    """
    assembler, has_begun = answer.Assembler(upstream.name), False
    headers: dict[str, str] = {}
    call = replace(call, hear=headers.update)
    try:
        # Closed here and now, whatever ends the loop: left to the collector, the connection would
        # be given up by another task at another time.
        async with (
            asyncio.timeout(call.deadline.remaining_s()),
            aclosing(upstream.stream(call)) as chunks,
        ):
            async for data in chunks:
                chunk = _chunk(data, upstream.name)
                assembler.add(chunk)
                has_begun = True
                publish(Told(data, chunk, place, headers))
    except TimeoutError as fault:
        raise _broken(upstream.name, UpstreamTooSlow("deadline passed"), has_begun) from fault
    except ProviderError as fault:
        raise _broken(upstream.name, fault, has_begun) from fault
    if not assembler.is_finished:
        raise _broken(upstream.name, UpstreamGarbled("ended before it was whole"), has_begun)
    return Completion(body=assembler.body(), headers=headers)


def _broken(upstream: str, fault: ProviderError, has_begun: bool) -> ProviderError:  # noqa: FBT001 - read once, above
    return StreamBroken(f"upstream {upstream}: the stream broke: {fault}") if has_begun else fault


def _chunk(data: bytes, upstream: str) -> dict[str, Any]:
    try:
        chunk = orjson.loads(data)
    except orjson.JSONDecodeError as fault:
        raise UpstreamGarbled(f"upstream {upstream} sent a chunk that is no JSON") from fault
    if not isinstance(chunk, dict):
        raise UpstreamGarbled(f"upstream {upstream} sent a chunk that is no object")
    return chunk


def _views(job: Job, held: Mapping[int, Attempt]) -> dict[int, AnswerView]:
    return {
        place: answer.view(attempt.body, attempt.tokens_out, job.body)
        for place, attempt in held.items()
        if attempt.body is not None
    }
