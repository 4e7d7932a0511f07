"""A question that nothing kept answers in, a new answer out: paid for, decided, asked for, kept.

What a climb may cost is taken before it begins; where it begins the router says, for a tier that
nobody named; how it goes on is `dispatch`'s and the cascade's. What came of it is told to whoever
watches, behind the caller's back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Protocol

from cache.entry import Entry
from cache.policy import CacheConfig, storable
from cache.prompt import prompt_version
from router.decision import Decision, Task
from router.errors import RouterError
from router.policy import ShadowTiers
from router.tiers import Ladder
from sidecar import answer
from sidecar.caching.keeper import Keeper
from sidecar.dispatch import Dispatch, Job, Publish
from sidecar.guardrails.guardrails import Guardrails
from sidecar.ledger import Aim, Ledger
from sidecar.outcome import Outcome
from sidecar.overrides.override import Ruling
from sidecar.oversight.asking import Asking
from sidecar.oversight.overseer import Overseer
from sidecar.oversight.reviewing import Reviewing
from sidecar.oversight.shadows import Shadows
from sidecar.routing.course import Routing
from sidecar.till import Till


class Router(Protocol):
    """The half of the router that is asked before any answer is seen."""

    @property
    def version(self) -> str:
        """Of its artifact."""
        ...

    def decide(self, task: Task, dice: float = 1.0) -> Decision:
        """Raises RouterError."""
        ...


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Climbs:
    """The parts that a new answer takes, in its order.

    Attributes:
        rulings: Gives what the operator's switches come to for a tenant, at this instant.
        routing: What the router is asked, and what it is told when all is over.
        dice: Gives a uniform draw in [0, 1), for exploration.
        pinned: By place, the decision for whoever named that tier.
        shadow_share: Share of routed requests whose next tier is asked in the background.
        shadow_tiers: Whether the next one alone is asked, or all that were not.
    """

    till: Till
    rulings: Callable[[str], Ruling]
    routing: Routing
    router: Router
    dice: Callable[[], float]
    pinned: Sequence[Decision]
    guardrails: Guardrails
    ladder: Ladder
    dispatch: Dispatch
    cache_config: CacheConfig
    keeper: Keeper
    overseer: Overseer
    shadows: Shadows
    reviewing: Reviewing
    shadow_share: float
    shadow_tiers: ShadowTiers
    asking: Asking

    def begun(
        self, ledger: Ledger, aim: Aim, publish: Publish | None
    ) -> Coroutine[Any, Any, Outcome]:
        """Pay, decide, ask, keep. Runs in the flight's own task, if it has one, as the leader's."""
        paying = self.till.paid(ledger, aim)
        if paying is None:
            return self._paid(ledger, aim, publish)
        return self._paying(ledger, paying, publish)

    async def _paying(
        self, ledger: Ledger, paying: AbstractContextManager[Aim], publish: Publish | None
    ) -> Outcome:
        with paying as payable:
            return await self._paid(ledger, payable, publish)

    async def _paid(self, ledger: Ledger, aim: Aim, publish: Publish | None) -> Outcome:
        inquiry = ledger.inquiry
        with inquiry.watch.hop("route"):
            aim = ledger.aim = self.routing.by_meaning(ledger, aim)
            course = self.routing.course(ledger, aim)
            ledger.decision = self._decide(course.task, aim)
        guard = self.guardrails.of_answers(inquiry.request)
        if guard is not None and guard.holds_streams:
            ledger.decision = replace(ledger.decision, final=False)
        elif not aim.ruling.cascade:
            ledger.decision = replace(ledger.decision, final=True)
        job = Job(
            body=inquiry.request.body,
            task=course.task,
            decision=ledger.decision,
            deadline=inquiry.deadline,
            headers=inquiry.options.upstream_headers,
            attempts=ledger.attempts,
            drill=inquiry.drill,
            may_escalate=aim.ruling.cascade and aim.target.entry is None,
            guard=guard,
            upstreams=aim.target.upstreams,
        )
        try:
            outcome = await self.dispatch.climb(job, publish if inquiry.request.stream else None)
        except BaseException:
            self.routing.ended(ledger, course, None)
            raise
        self.routing.ended(ledger, course, outcome)
        self._keep(ledger, aim, outcome)
        if ledger.teaches:
            asking = self.asking.bound_to(ledger.upstreams)
            self.overseer.answered(ledger, outcome, asking)
            if self.shadow_share:
                self.shadows.answered(ledger, outcome, asking, self.shadow_share, self.shadow_tiers)
            self.reviewing.answered(ledger, outcome, self.ladder[outcome.served.place].name)
        return outcome

    def _decide(self, task: Task, aim: Aim) -> Decision:
        if aim.target.is_pinned:
            return self.pinned[task.allowed[0]]
        if aim.target.entry is not None:
            return Decision(entry=aim.target.entry, probabilities=(), reason="rule")
        try:
            return self.router.decide(task, self.dice())
        except RouterError as fault:
            middle = task.allowed[len(task.allowed) // 2]
            detail = type(fault).__name__
            return Decision(entry=middle, probabilities=(), reason="default", detail=detail)

    def _keep(self, ledger: Ledger, aim: Aim, outcome: Outcome) -> None:
        """Keep the answer for the next one who asks, if it may be kept."""
        if not aim.permit.write:
            return
        served = outcome.served
        assert served.body is not None  # noqa: S101 - an outcome's served attempt answered
        ruling = self.rulings(ledger.inquiry.caller.tenant)  # it may have changed in between
        may_write = ruling.cache and ruling.writes
        if not may_write or served.violation or storable(served.body, self.cache_config):
            return
        vector = ledger.meaning if aim.permit.semantic else None
        tier, now_at, entry_id = self.ladder[served.place], time.time(), self.keeper.next_id()
        entry = Entry(
            entry_id=entry_id,
            fingerprint=aim.keys.fingerprint,
            partition=aim.keys.partition if vector is not None else None,
            question=(ledger.inquiry.request.question or "") if vector is not None else "",
            vector=vector,
            body=answer.kept_body(served.body),
            tier=tier.name,
            model=tier.model,
            tokens_in=served.tokens_in,
            tokens_out=served.tokens_out,
            cost_usd=outcome.cost_usd,
            created_at=now_at,
            expires_at=now_at + self.cache_config.lifetime_s(entry_id),
            tags=ledger.inquiry.options.tags,
            tenant=ledger.inquiry.caller.tenant,
            namespace=ledger.inquiry.options.namespace,
            epoch=aim.epoch,
            prompt=prompt_version(ledger.inquiry.request.messages),
        )
        if self.keeper.keep(entry):
            ledger.kept_id = entry_id
        if not self.keeper.epochs.voids(entry):
            ledger.shareable = entry
