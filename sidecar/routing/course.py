"""Before the router is asked and after: which rule, goal and conversation a request belongs to.

What it comes to is a `Route` when the request is aimed, before anything is looked up, and a
`Course` when it is to be decided, with its vector. `ended` tells whoever holds a goal or keeps a
conversation what it came to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from router.budget import Bill, Pacer, Range
from router.decision import Task
from router.drift import Known
from router.quality import quality_of
from router.readings import Readings
from router.rules import NOTHING, Met, Rule
from router.tiers import Ladder
from sidecar.ledger import Aim, Inquiry, Ledger
from sidecar.outcome import Outcome
from sidecar.overrides.override import Ruling
from sidecar.oversight.drifting import Drifting
from sidecar.routing.routes import Routes
from sidecar.routing.sessions import Sessions, is_under_way, session_key
from sidecar.routing.steering import Steering
from sidecar.targets import Target, Targets


class Route(NamedTuple):
    """Where a request may go, before its question has a vector; fields as in `Aim`."""

    target: Target
    quality: float
    met: Met
    rule: str
    is_steered: bool

    @property
    def keyed(self) -> dict[str, str]:
        """What of it belongs to the cache's keys: another rule may lead to another answer."""
        if self.met is NOTHING or not (mark := self.met.mark):
            return {}
        return {"x-sidecar-rule": mark}


class Course(NamedTuple):
    """What the router is asked, who holds its goal, and its conversation's key.

    `is_own`: it is a caller's own, no drill and no refresh, and may be learnt from.
    """

    task: Task
    is_own: bool
    pacer: Pacer | None
    session: bytes | None


class Router(Protocol):
    """What is asked of the artifact that serves."""

    @property
    def version(self) -> str:
        """Its name."""
        ...

    @property
    def known(self) -> Known | None:
        """What it was fitted on."""
        ...

    @property
    def prices(self) -> Range | None:
        """Between which prices of quality it tells apart; None if it knows none."""
        ...


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Routing:
    """The config's rules, goals and sessions.

    Attributes:
        quality: The point on the cost-quality curve where nobody names one.
        relays_streams: A stream is relayed as it comes, from one tier.
        sessions: None where conversations need not keep their tier.
        router: Of the artifact that serves.
        drifting: Watches how far from it the traffic is.
        latencies: By place, how long a whole answer of the tier usually takes, in seconds.
    """

    targets: Targets
    routes: Routes
    ladder: Ladder
    steering: Steering
    sessions: Sessions | None
    router: Router
    drifting: Drifting
    latencies: Callable[[], tuple[float, ...]]
    quality: float
    relays_streams: bool

    def route(self, inquiry: Inquiry, ruling: Ruling) -> Route:
        """Where `inquiry` may go.

        Raises:
            RequestError: No tier may take it.
            ModelBlocked: Those that may are switched off.
        """
        met, caller, told = self.routes.met(inquiry), inquiry.caller, inquiry.options.quality
        rule = met.rule.config if met.rule is not None else None
        target = self.targets.resolve(inquiry.request, inquiry.options, caller, ruling, rule)
        own = caller.quality if told is None else told
        route = Route(target, self.quality if own is None else own, met, "", own is None)
        if met.rule is None or met.candidates:
            return route
        return self._taken(route, inquiry, met.rule)

    def by_meaning(self, ledger: Ledger, aim: Aim) -> Aim:
        """`aim` by the rule that its question means, now that it may have a vector."""
        if not aim.met.candidates or aim.target.is_pinned:
            return aim
        vector = ledger.miss.vector if ledger.miss is not None else None
        rule = self.routes.meant(aim.met.candidates, vector) or aim.met.rule
        route = Route(aim.target, aim.quality, aim.met, "", aim.is_steered)
        route = self._taken(route, ledger.inquiry, rule)
        return replace(
            aim,
            target=route.target,
            quality=route.quality,
            rule=route.rule,
            is_steered=route.is_steered,
        )

    def _taken(self, route: Route, inquiry: Inquiry, rule: Rule | None) -> Route:
        if rule is None:
            return route
        quality = rule.config.route.quality
        route = route._replace(
            target=self.targets.routed(route.target, rule.config), rule=rule.name
        )
        if quality == "" or inquiry.options.quality is not None:
            return route
        return route._replace(quality=quality_of(quality), is_steered=False)

    def course(self, ledger: Ledger, aim: Aim) -> Course:
        """What the router is asked."""
        inquiry, target = ledger.inquiry, aim.target
        is_routed = not target.is_pinned and target.entry is None and len(target.allowed) > 1
        is_own = inquiry.drill is None and not inquiry.is_background
        pacer = None
        if aim.is_steered and is_routed:
            pacer = self.steering.find(inquiry.caller.tenant, self.router.prices)
        session = session_key(inquiry) if self.sessions is not None and is_routed else None
        max_cost_usd = inquiry.options.max_cost_usd
        is_hurried = inquiry.options.timeout_s is not None
        vector = ledger.miss.vector if ledger.miss is not None else None
        task = Task(
            text=inquiry.request.question or "",
            vector=vector,
            tokens_in=inquiry.request.tokens_in,
            turns=len(inquiry.request.messages),
            allowed=target.allowed,
            quality=aim.quality,
            budget_usd=float(max_cost_usd) if max_cost_usd is not None else None,
            left_s=inquiry.deadline.remaining_s() if is_hurried else None,
            latency_s=self.latencies() if is_hurried else (),
            is_live=inquiry.request.stream and self.relays_streams,
            price=pacer.price if pacer is not None else None,
            kept_place=None if session is None else self._kept_place(inquiry, session),
            is_wary=self.drifting.is_wary,
            readings=Readings() if vector is not None else None,
            unit="" if target.is_pinned else _unit(inquiry),
        )
        return Course(task, is_own, pacer if is_own else None, session if is_own else None)

    def _kept_place(self, inquiry: Inquiry, session: bytes) -> int | None:
        if self.sessions is None or not is_under_way(inquiry):
            return None
        return self.ladder.find_place(self.sessions.find(session))

    def ended(self, ledger: Ledger, course: Course, outcome: Outcome | None) -> None:
        """It is over, with an answer or without."""
        if course.pacer is not None:
            course.pacer.saw(_bill(ledger, outcome))
        if course.is_own and outcome is not None:
            self.drifting.ended(ledger, outcome, self.router)
        if self.sessions is not None and course.session is not None and outcome is not None:
            name = self.ladder[outcome.served.place].name
            self.sessions.keep(course.session, name, ledger.inquiry.caller.tenant)


def _bill(ledger: Ledger, outcome: Outcome | None) -> Bill:
    """What it cost, and what was gained by the estimates."""
    cost_usd = float(sum(attempt.cost_usd for attempt in ledger.attempts))
    foretold = ledger.decision.probabilities if ledger.decision is not None else ()
    if outcome is None or not foretold:
        return Bill(cost_usd=cost_usd)
    judged, cheapest = outcome.judgement, foretold[0]
    confidence = judged.confidence if judged is not None else foretold[outcome.served.place]
    return Bill(cost_usd=cost_usd, gained=confidence - cheapest, top_gains=foretold[-1] - cheapest)


def _unit(inquiry: Inquiry) -> str:
    """Whom a trial of another artifact is drawn by: a user, where one is told, stays in one arm."""
    return f"{inquiry.caller.tenant}\0{inquiry.user or inquiry.request_id}"
