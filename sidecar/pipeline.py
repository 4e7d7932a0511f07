"""One request, start to end, as one straight coroutine.

aim, look, ask, tell: which tiers may take it and what the cache may do; the kept answer if there is
one; else one climb up the ladder, shared with whoever asks the same; then the answer in the shape
that the caller wants. Accounting closes the account when the last byte is out.

An answer that has expired is served in two cases, by its exact key alone and told as `stale`: while
a new one is fetched behind it, and where nobody gave a new one. A fetch behind a caller's back is a
request like any other, with an account of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import orjson

from cache.entry import Hit
from cache.key import Scope, keys
from cache.policy import CacheConfig, CacheControl, Permit, permit
from cache.rejections import Question
from router.tiers import Ladder
from sidecar import answer
from sidecar.accounting.again import Again, may_be_given_again
from sidecar.accounting.closing import Accounting
from sidecar.caching.keeper import Keeper
from sidecar.caching.lookup import Lookup
from sidecar.climbs import Climbs
from sidecar.deadline import Deadline
from sidecar.degraded import StaticAnswers, static_body
from sidecar.errors import (
    AdmissionRefused,
    DeadlineExceeded,
    NotCached,
    ProviderError,
    RequestRefused,
    SidecarError,
)
from sidecar.flights.coalesce import Coalesce, Flight
from sidecar.flights.nearby import Nearby, Underway
from sidecar.flights.refresh import Refreshes
from sidecar.guardrails.guardrails import Guardrails
from sidecar.ledger import (
    CALLER_LEFT,
    CALLER_LEFT_STATUS,
    Aim,
    CacheStatus,
    Inquiry,
    Ledger,
)
from sidecar.overrides.override import Ruling
from sidecar.oversight.asking import Asking
from sidecar.oversight.overseer import Overseer
from sidecar.providers.errors import UpstreamRefused, UpstreamTooSlow
from sidecar.replies import Replies, Reply
from sidecar.routing.course import Routing
from sidecar.stopwatch import Stopwatch
from sidecar.targets import Targets
from sidecar.till import Till

REFRESH_S: Final = 120.0
"""Chosen: a refresh has nobody waiting; two minutes outlast a long answer of a large model."""

MAX_FOLLOWED: Final = 2
"""Chosen: flights that one request follows by meaning. When a leader fails, all who followed would
ask at once; so they follow one more. A second failure is no accident: nobody waits for a third."""

_NOT_THE_CALLERS: Final = frozenset({408, 429})
"""Statuses under 500 that say nothing against the request: it came too slowly, or too often."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Pipeline:
    """The parts that a request passes, in its order; `assembly` builds it, a reload swaps it.

    Attributes:
        encoder_id: Part of every partition.
        routing: Which tiers may be asked, by rules, goals and conversations.
        rulings: Gives what the operator's switches come to for a tenant, at this instant.
    """

    targets: Targets
    rulings: Callable[[str], Ruling]
    guardrails: Guardrails
    ladder: Ladder
    cache_config: CacheConfig
    encoder_id: str
    lookup: Lookup
    coalesce: Coalesce
    nearby: Nearby
    refreshes: Refreshes
    routing: Routing
    till: Till
    climbs: Climbs
    keeper: Keeper
    replies: Replies
    statics: StaticAnswers
    accounting: Accounting
    overseer: Overseer
    asking: Asking

    @property
    def router_version(self) -> str:
        """Of the artifact that decides."""
        return self.climbs.router.version

    async def serve(self, inquiry: Inquiry) -> Reply:
        """The reply to one request.

        Raises:
            SidecarError: There is none; its account is closed already.
        """
        ledger = Ledger(inquiry=inquiry, ruling=self.rulings(inquiry.caller.tenant))
        try:
            aim = ledger.aim = self.aim(inquiry, ledger.ruling)
            if not aim.permit.read:
                ledger.cache = "bypass"
            elif (reply := await self._kept(ledger, aim)) is not None:
                return reply
            if (hit := await self._look_by_meaning(ledger, aim)) is not None:
                return self._tell_hit(ledger, hit)
            if aim.permit.only_if_cached:
                raise NotCached("no answer is kept that would serve")
            return await self._ask_or_stale(ledger, aim)
        except SidecarError as fault:
            ledger.refused_by = fault.rule if isinstance(fault, RequestRefused) else ""
            self._fail(ledger, fault.status, type(fault).__name__)
            raise
        except asyncio.CancelledError:
            self._fail(ledger, CALLER_LEFT_STATUS, CALLER_LEFT)
            raise

    def again_of(self, ledger: Ledger) -> Again:
        """What it takes to give `ledger`'s hit again, see `may_be_given_again`."""
        return Again(
            ledger=ledger,
            pipeline=self,
            version=self.router_version,
            epoch=self.keeper.epochs.now,
            saved_usd=self.accounting.balance(ledger).saved_usd,
            pattern=self.accounting.pattern(ledger),
        )

    def again(
        self, again: Again, request_id: str, received_at: float, watch: Stopwatch
    ) -> Ledger | None:
        """The account of the same request, come again, with the same hit; None: look anew.

        What the request says is known, and what the config makes of it; all that may change from
        one instant to the next is asked for here, in the order of `serve`.
        """
        aim, was = again.ledger.aim, again.ledger
        assert aim is not None  # noqa: S101 - nothing is found without an aim
        is_same = again.pipeline is self and again.version == self.router_version
        if not is_same or again.epoch != self.keeper.epochs.now:
            return None
        if self.rulings(was.inquiry.caller.tenant).switches:
            return None
        hit = self.lookup.exact(aim.keys, aim.permit, received_at)
        if hit is None or was.hit is None or hit.entry is not was.hit.entry:
            return None
        watch.add("exact", watch.total_ms())
        ledger = again.account(request_id, received_at, watch)
        if ledger.teaches:
            self.overseer.served(ledger, self.asking)
        return ledger

    def aim(self, inquiry: Inquiry, ruling: Ruling) -> Aim:
        """Which tiers may take it under `ruling`, what the cache may do, and under which keys.

        Raises:
            RequestError: No tier may, or it breaks one of the operator's rules.
            ModelBlocked: Those that may are switched off.
        """
        request, options = inquiry.request, inquiry.options
        tenant, epochs = inquiry.caller.tenant, self.keeper.epochs
        self.guardrails.check_request(request)
        route = self.routing.route(inquiry, ruling)
        allowed = permit(
            request.body,
            request.question,
            options.cache_control,
            self.cache_config,
            bypass=options.bypass,
        )
        if inquiry.drill is not None:
            allowed = allowed._replace(read=False, write=False, reason="drill")
        return Aim(
            target=route.target,
            quality=route.quality,
            permit=_ruled(allowed, ruling) if ruling.switches else allowed,
            keys=keys(
                Scope(tenant, options.namespace, epochs.of_tenant(tenant)),
                {**request.body, **options.steering, **self.guardrails.keyed, **route.keyed},
                request.question,
                self.encoder_id,
            ),
            epoch=epochs.now,
            ruling=ruling,
            met=route.met,
            rule=route.rule,
            is_steered=route.is_steered,
        )

    async def _kept(self, ledger: Ledger, aim: Aim) -> Reply | None:
        """What is kept for the very same request: in memory, on disk, or expired a moment ago."""
        if (hit := self._look_exact(ledger, aim)) is not None:
            return self._tell_hit(ledger, hit)
        if (hit := await self._look_on_disk(ledger, aim)) is not None:
            return self._tell_hit(ledger, hit)
        if (hit := self._look_stale(ledger, aim)) is not None:
            return self._tell_hit(ledger, hit, "stale")
        return None

    def _look_exact(self, ledger: Ledger, aim: Aim) -> Hit | None:
        with ledger.inquiry.watch.hop("exact"):
            return self.lookup.exact(aim.keys, aim.permit, time.time())

    async def _look_on_disk(self, ledger: Ledger, aim: Aim) -> Hit | None:
        """What memory had no room for, or the process before kept; it is in memory from now on."""
        with ledger.inquiry.watch.hop("disk"):
            return await self.lookup.on_disk(aim.keys, aim.permit)

    def _look_stale(self, ledger: Ledger, aim: Aim) -> Hit | None:
        """An answer that has just expired, while a new one is fetched behind it."""
        hit = self.find_stale(aim) if ledger.inquiry.drill is None else None
        if hit is not None and aim.ruling.writes:
            self.refreshes.begin(aim.keys.fingerprint, lambda: self._refresh(ledger.inquiry))
        return hit

    def find_stale(self, aim: Aim) -> Hit | None:
        """The answer that would be served while a new one is fetched."""
        stale_s = 0.0 if aim.permit.only_if_cached else self.cache_config.stale_while_revalidate_s
        return self.lookup.stale(aim.keys, aim.permit, time.time(), stale_s)

    async def _refresh(self, inquiry: Inquiry) -> None:
        """Ask the same again as a request that may not read the cache; raises SidecarError."""
        again = replace(
            inquiry,
            request_id=f"{inquiry.request_id}-refresh",
            received_at=time.time(),
            request=replace(inquiry.request, stream=False),
            options=replace(inquiry.options, cache_control=CacheControl(no_cache=True)),
            deadline=Deadline.after_s(REFRESH_S),
            watch=Stopwatch(),
            is_background=True,
        )
        (await self.serve(again)).close()

    async def _look_by_meaning(self, ledger: Ledger, aim: Aim) -> Hit | None:
        """A hit by meaning; else None, and the vector in `ledger.miss` for the router."""
        inquiry = ledger.inquiry
        needs_router = not aim.target.is_pinned and len(aim.target.allowed) > 1
        is_wanted = (aim.permit.read or aim.permit.write) and aim.permit.semantic
        if inquiry.request.question is None or not (is_wanted or needs_router):
            return None
        looked = await self.lookup.by_meaning(
            aim.keys,
            inquiry.request.question,
            aim.permit,
            min_similarity=inquiry.options.similarity,
            deadline=inquiry.deadline,
            watch=inquiry.watch,
        )
        if isinstance(looked, Hit):
            return looked
        ledger.miss = looked
        return None

    async def _ask_or_stale(self, ledger: Ledger, aim: Aim) -> Reply:
        """A new answer; where nobody gives one, whatever may stand in for it."""
        try:
            if aim.permit.read or ledger.inquiry.request.stream:
                return await self._ask(ledger, aim)
            # Nobody may follow, and nothing is told before it stands: that needs no flight.
            return await self.replies.alone(
                ledger, self.coalesce, self.climbs.begun(ledger, aim, None)
            )
        except (ProviderError, DeadlineExceeded) as fault:
            reply = None if _is_the_callers(fault) else self._stand_in(ledger, aim)
            if reply is None:
                raise
            return reply

    def _stand_in(self, ledger: Ledger, aim: Aim) -> Reply | None:
        """The expired answer if that may serve, else what the config says to such a question."""
        inquiry, now_at, permit = ledger.inquiry, time.time(), aim.permit
        if inquiry.drill is not None:  # it may read nothing but this, which it is there to try
            permit = permit._replace(read=True)
        hit = self.lookup.stale(aim.keys, permit, now_at, permit.stale_if_error_s)
        if hit is not None:
            ledger.degraded = "stale"
            return self._tell_hit(ledger, hit, "stale")
        text = self.statics.find(inquiry.request.question, inquiry.caller.tenant)
        if text is None:
            return None
        ledger.degraded = "static"
        return self.replies.whole(ledger, orjson.dumps(static_body(text, int(now_at))))

    async def _ask(self, ledger: Ledger, aim: Aim) -> Reply:
        """Lead or follow a climb until it says something."""
        is_shared = aim.permit.read and aim.permit.write
        if is_shared and (hit := await self._follow(ledger, aim)) is not None:
            return self._tell_hit(ledger, hit, "coalesced")
        while True:
            # Between this look and the join nothing is awaited: see flights/coalesce.py.
            if (hit := self._look_exact(ledger, aim)) is not None:
                return self._tell_hit(ledger, hit)
            flight, leads = self.coalesce.join(
                aim.flight_key if is_shared else None,
                lambda publish: self.climbs.begun(ledger, aim, publish),
            )
            ledger.pays = leads
            if not leads:
                ledger.cache = "coalesced"
            elif is_shared:
                self._be_followed(ledger, aim, flight)
            try:
                return await self.replies.heard(ledger, flight, leads=leads)
            except AdmissionRefused:
                if leads:
                    raise
                # The leader had no money; a follower who has some tries for itself.
                self.till.check(ledger, aim)
            except (DeadlineExceeded, UpstreamTooSlow):
                # The leader's time ran out; a follower with time left tries for itself.
                if leads or ledger.inquiry.deadline.remaining_s() <= 0.0:
                    raise

    async def _follow(self, ledger: Ledger, aim: Aim) -> Hit | None:
        """The answer to a question in flight that means the same; None: ask for yourself."""
        group, asked, inquiry = aim.flight_group, _asked(ledger), ledger.inquiry
        for _ in range(MAX_FOLLOWED):
            if group is None or asked is None or self.coalesce.find(aim.flight_key) is not None:
                return None
            found = await self.nearby.find(
                group,
                asked,
                min_similarity=inquiry.options.similarity,
                deadline=inquiry.deadline,
            )
            if found is None:
                return None
            hit = await self.nearby.follow(group, found, asked, ledger)
            # An invalidation and a switch hold for whoever still waits, too.
            is_on = self.rulings(inquiry.caller.tenant).semantic
            if hit is not None and is_on and not self.keeper.epochs.voids(hit.entry):
                return hit
            if found.underway.flight.is_answered:
                return None  # an answer that may not be shared: the next one's would be no better
        return None

    def _be_followed(self, ledger: Ledger, aim: Aim, flight: Flight) -> None:
        """Let those whose question means the same follow this one's flight."""
        group, asked = aim.flight_group, _asked(ledger)
        if group is not None and asked is not None:
            self.nearby.add(group, Underway(flight, asked, ledger))

    def _tell_hit(self, ledger: Ledger, hit: Hit, cache: CacheStatus | None = None) -> Reply:
        ledger.hit = hit
        if ledger.teaches:
            self.overseer.served(ledger, self.asking.bound_to(ledger.upstreams))
        ledger.cache = cache or ("hit-exact" if hit.kind == "exact" else "hit-semantic")
        now_at = int(ledger.inquiry.received_at)
        body = answer.replayed_body(hit.entry.body, answer.fresh_id(), now_at)
        reply = self.replies.whole(ledger, body)
        return replace(reply, again=ledger) if may_be_given_again(ledger) else reply

    def _fail(self, ledger: Ledger, status: int, error: str) -> None:
        ledger.status, ledger.error = status, error
        self.accounting.close(ledger)


def _ruled(permit: Permit, ruling: Ruling) -> Permit:
    """What the cache may do under the operator's switches."""
    if not ruling.cache:
        return permit._replace(read=False, write=False, semantic=False, reason="switched off")
    if not ruling.semantic and permit.semantic:
        permit = permit._replace(semantic=False, reason="semantic switched off")
    return permit if ruling.writes else permit._replace(write=False)


def _asked(ledger: Ledger) -> Question | None:
    """The question that may be compared by meaning, with its vector."""
    text, vector = ledger.inquiry.request.question, ledger.meaning
    return Question(text, vector) if text is not None and vector is not None else None


def _is_the_callers(fault: SidecarError) -> bool:
    """The upstream refuses what was asked, or who asked: an old answer must not hide that."""
    refused = isinstance(fault, UpstreamRefused) and fault.status < 500  # noqa: PLR2004 - HTTP's own
    return refused and fault.status not in _NOT_THE_CALLERS
