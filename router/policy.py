"""The router: estimates in, the tier to ask first and the word on each answer out.

One rule over every state (nothing asked, some tiers answered): of all plans (sets of tiers above)
take the one whose gain, less the price of quality times its cost, is the largest; ask its first
tier, then weigh anew; stop when no plan's worth is above zero. Tiers may be skipped, and the answer
with the best estimate is served, not the last one asked for. The price of quality, in points of
quality per dollar, comes from the artifact's table.

Source: the Lagrangian of "most quality at a bounded mean cost", as in Dekoninck et al., "A unified
approach to routing and cascading for LLMs" (2024), with gains learnt head by head in the place of
their Gaussian model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from router import plans
from router.artifact import Artifact
from router.budget import Goal, Range
from router.calibration import LEAST
from router.confidence import hard_failure, is_judgeable
from router.curve import Curve
from router.decision import AnswerView, Decision, Judgement, Task, Told
from router.drift import FOREIGN, LEAN, WARY, Known
from router.errors import LadderError
from router.estimate import ArtifactEstimator, Estimate, Estimator, Plan
from router.pricing import cost
from router.quality import quality_of
from router.rules import MAX_ALL_EXAMPLES, MAX_RULES, RuleConfig
from router.tiers import Ladder

ShadowTiers = Literal["next", "all"]
"""Who is asked behind the caller's back: the tier above, or every one that was not asked."""

UNKNOWN: Final = 0.5
"""Chosen: the confidence of an answer of which nothing was estimated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterConfig:
    """How the router decides.

    Attributes:
        quality: The point on the cost-quality curve where a request names none: 0 to 1, or
            `economy`, `balanced`, `best`.
        exploration: Share of requests whose entry tier is drawn at random, in [0, 1]; what is
            learnt from the log needs some. Never of those that are pinned to a tier, nor where the
            caller's quality is 0 or 1, nor within a conversation; 0 draws none.
        default_tier: Asked where nothing can be estimated; empty is the middle one, the upper of
            two: a tier too small costs quality, one too large money, and nothing is known.
        artifact: Folder of the artifact that serves first, or a version's name in the registry;
            empty is the one that comes with the code.
        registry: Folder of released artifacts; what it says serves. Empty keeps none.
        shadow_share: Share of routed requests whose next tier is asked too, behind the caller's
            back, to learn from; in [0, 1].
        shadow_tiers: `next` is the tier above; `all` are all that were not asked, which is dearer
            and what the heads can be fitted anew from.
        shadow_budget_usd_per_hour: What that may cost.
        streams: `live` relays a stream as it comes, from the one tier that the question calls for;
            `held` asks as for any other request, and begins to stream when the answer stands.
        budget_usd_per_1k: See `router.budget.Goal`, as for the two below; 0 is unset. Where a goal
            is held, `quality` is the point where it begins.
        quality_floor: See there.
        usd_per_right_answer: See there.
        rules: Come before the classifier; see `router.rules`.
        sticky_sessions: A conversation keeps its tier unless another gains more than the margin.
        sticky_margin: In points of quality, costs weighed in.

    Raises:
        ValueError: A value is out of its range.
    """

    quality: float | str = "balanced"
    # Chosen: one request in fifty, two thirds of which begin elsewhere than the router would; their
    # answers are judged like any other. Measured: docs/router.md, "Learning".
    exploration: float = 0.02
    default_tier: str = ""
    artifact: str = ""
    registry: str = ""
    shadow_share: float = 0.0
    shadow_tiers: ShadowTiers = "next"
    shadow_budget_usd_per_hour: float = 0.1
    # Chosen: who asks for a stream asks for the first word soon. Measured: routing on the question
    # alone costs .005 of the curve's area (docs/router.md); holding back, the whole answer's time.
    streams: Literal["live", "held"] = "live"
    budget_usd_per_1k: float = 0.0
    quality_floor: float = 0.0
    usd_per_right_answer: float = 0.0
    rules: tuple[RuleConfig, ...] = ()
    sticky_sessions: bool = False
    # Chosen: a tenth more right answers is worth what a change costs: the vendor's prompt cache of
    # the turns so far, and a voice that changes in the middle of a conversation.
    sticky_margin: float = 0.1

    def __post_init__(self) -> None:
        quality_of(self.quality)
        self.goal()  # refuses two goals, and negative ones
        if len(self.rules) > MAX_RULES:
            raise ValueError(f"rules: at most {MAX_RULES}")
        if len({rule.name for rule in self.rules}) < len(self.rules):
            raise ValueError("rules: two bear the same name")
        if sum(len(rule.when.examples) for rule in self.rules) > MAX_ALL_EXAMPLES:
            raise ValueError(f"rules: at most {MAX_ALL_EXAMPLES} examples in all")
        if not 0.0 <= self.sticky_margin <= 1.0:
            raise ValueError(f"sticky_margin must lie in [0, 1], is {self.sticky_margin}")
        if not 0.0 <= self.exploration <= 1.0:
            raise ValueError(f"exploration must lie in [0, 1], is {self.exploration}")
        if not 0.0 <= self.shadow_share <= 1.0:
            raise ValueError(f"shadow_share must lie in [0, 1], is {self.shadow_share}")
        if self.shadow_budget_usd_per_hour < 0.0:
            raise ValueError("shadow_budget_usd_per_hour must not be negative")

    def goal(self) -> Goal:
        """What is to be held for those who have no goal of their own."""
        return Goal(
            budget_usd_per_1k=self.budget_usd_per_1k,
            quality_floor=self.quality_floor,
            usd_per_right_answer=self.usd_per_right_answer,
        )


_UNDECIDED: Final = frozenset({"pinned", "only_one"})
"""Reasons of decisions that were none: one tier could be asked."""


class Router:
    """Decides where to start and judges what came back. Pure: the same in, the same out.

    Raises:
        LadderError: The default tier is not on the ladder.
        ArtifactError: The ladder has tiers that the artifact does not know.
    """

    def __init__(self, *, ladder: Ladder, artifact: Artifact | None, config: RouterConfig) -> None:
        self._ladder = ladder
        self._artifact = artifact
        self._config = config
        self.estimator: Estimator | None = None
        self._usual_gain: Mapping[Plan, float] | None = None
        if artifact is not None:
            estimator = ArtifactEstimator(ladder, artifact)
            self.estimator = estimator
            self._usual_gain = estimator.usual_gain()
        default = (
            ladder.find_place(config.default_tier) if config.default_tier else len(ladder) // 2
        )
        if default is None:
            raise LadderError(f"the default tier {config.default_tier!r} is not on the ladder")
        self._default = default
        self._curve = Curve(artifact)
        self._prices = self._curve.prices(quality_of(config.quality))

    @property
    def version(self) -> str:
        """The artifact's version; `none` without one."""
        return self._artifact.version if self._artifact else "none"

    def price_of_quality(self, quality: float) -> float:
        """Points of quality that a dollar must buy at `quality`; infinite at 0, nothing at 1."""
        return self._curve.price(quality)

    @property
    def known(self) -> Known | None:
        """What the artifact was fitted on; None without one that tells."""
        return self._artifact.known if self._artifact is not None else None

    @property
    def prices(self) -> Range | None:
        """Between which prices of quality anything changes; None without an artifact."""
        return self._prices

    def _price(self, task: Task) -> float:
        return self.price_of_quality(task.quality) if task.price is None else task.price

    def decide(self, task: Task, dice: float = 1.0) -> Decision:
        """The tier to ask first; `dice` is one uniform draw in [0, 1), for exploration."""
        if len(task.allowed) == 1:
            return Decision(entry=task.allowed[0], probabilities=(), reason="only_one")
        estimate = self.estimator.estimate(task, {}) if self.estimator else None
        if estimate is None:
            return Decision(entry=self._default_place(task), probabilities=(), reason="default")
        price = self._price(task)
        estimate = plans.in_time(estimate, task, task.allowed)
        timely = [place for place in task.allowed if (place,) in estimate.gain]
        payable = plans.payable(timely, estimate, task.budget_usd)
        longest = 1 if task.is_live else None
        chosen = plans.best(payable, estimate, price, longest)[0]
        share, kept = self._explored(task), task.kept_place
        reason, strangeness = "policy", self._strangeness(task)
        safe = self._safe_place(task, strangeness, payable, estimate, price)
        if safe is not None:
            chosen, reason = max(safe, chosen), "leaned"
        if kept in payable:
            # Within a conversation nothing is drawn: it would bounce for no reason of its own.
            share = 0.0
            is_safe = safe is None or (kept is not None and kept >= safe)
            if (
                chosen != kept
                and is_safe
                and self._is_worth_staying(kept, payable, estimate, price, longest)
            ):
                chosen, reason = kept, "sticky"
        entry = payable[int(dice / share * len(payable))] if dice < share else chosen
        propensity = share / len(payable) + (1.0 - share) * (entry == chosen)
        return Decision(
            entry=entry,
            probabilities=estimate.right,
            reason=reason if entry == chosen else "explored",
            detail=_told(estimate, price),
            propensity=propensity,
            strangeness=strangeness,
            final=task.is_live
            or reason == "leaned"
            or plans.is_final(entry, task.allowed, estimate, price),
        )

    def _explored(self, task: Task) -> float:
        """The share to draw from: none at the curve's ends, where the caller named the tier."""
        is_end = task.price is None and task.quality in {0.0, 1.0}
        return 0.0 if is_end else self._config.exploration

    def _strangeness(self, task: Task) -> float | None:
        if self.known is None or task.vector is None:
            return None
        return self.known.strangeness(task.vector)

    def _safe_place(
        self,
        task: Task,
        strangeness: float | None,
        payable: list[int],
        estimate: Estimate,
        price: float,
    ) -> int | None:
        """Where a question begins that is unlike all that was learnt from; None for any other.

        The heads speak of what they do not know, above all once answers are held: on a domain left
        out they lose to a random mix. Which tier is worth its cost on average is the better guess,
        and whoever goes by averages alone is such a mix, and never worse.
        """
        limit = WARY if task.is_wary else FOREIGN
        if strangeness is None or strangeness <= limit or price == math.inf:
            return None
        if self._usual_gain is None:
            return None
        gain = {plan: self._usual_gain[plan] for plan in estimate.gain}
        usual = replace(estimate, gain=gain)
        return plans.best(payable, usual, LEAN * price, longest=1)[0]

    def _is_worth_staying(
        self,
        kept: int,
        payable: list[int],
        estimate: Estimate,
        price: float,
        longest: int | None,
    ) -> bool:
        """To begin elsewhere gains no more than the margin over beginning at `kept`."""
        if price == math.inf:
            return False
        worths = {True: -math.inf, False: -math.inf}
        for plan in plans.among(payable, estimate, longest):
            worth = plans.worth(estimate.gain[plan], plan, estimate, price)
            worths[plan[0] == kept] = max(worths[plan[0] == kept], worth)
        return worths[False] - worths[True] <= self._config.sticky_margin

    def judge(self, task: Task, decision: Decision, answers: Mapping[int, AnswerView]) -> Judgement:
        """Whether to serve one of the answers held, keyed by place, or which tier to ask next."""
        assert answers, "there is an answer to judge"  # noqa: S101 - a bug of ours
        if len(task.allowed) == 1 and task.vector is None:
            return self._unweighed(decision, answers)
        failures = {place: hard_failure(view) for place, view in answers.items()}
        usable = [place for place in sorted(answers) if not failures[place]]
        judgeable = {p: answers[p] for p in answers if is_judgeable(answers[p])}
        estimate = self.estimator.estimate(task, judgeable) if self.estimator else None
        right = estimate.right if estimate else ()
        best = max(usable or sorted(answers), key=lambda p: right[p] if right else float(p))
        confidence = (right[best] if right else UNKNOWN) if usable else LEAST
        step, reason = self._next(task, decision, answers=answers, estimate=estimate)
        words = (f"{self._ladder[p].name} {failures[p]}" for p in answers if failures[p])
        numbers = (_told(estimate, self._price(task)),) if estimate else ()
        return Judgement(
            best=best,
            confidence=confidence,
            next_place=step,
            reason=reason,
            detail=(*words, *numbers),
            probabilities=right,
        )

    def _unweighed(self, decision: Decision, answers: Mapping[int, AnswerView]) -> Judgement:
        """Of the only tier there is to ask, where no estimate can be formed: most often a pin."""
        ((place, view),) = answers.items()
        failure = hard_failure(view)
        return Judgement(
            best=place,
            confidence=LEAST if failure else UNKNOWN,
            next_place=None,
            reason=_last_word(decision, has_failed=bool(failure)),
            detail=(f"{self._ladder[place].name} {failure}",) if failure else (),
        )

    def _next(
        self,
        task: Task,
        decision: Decision,
        *,
        answers: Mapping[int, AnswerView],
        estimate: Estimate | None,
    ) -> tuple[int | None, str]:
        """The tier above that pays, and the judgement's reason."""
        has_failed = all(map(hard_failure, answers.values()))
        above = [place for place in task.allowed if place > max(answers)]
        if not above:
            return None, _last_word(decision, has_failed=has_failed)
        payable = self._still_payable(task, answers, above, estimate)
        if not payable:
            return None, "too_dear"
        if estimate is not None:
            estimate = plans.in_time(estimate, task)
            payable = [place for place in payable if (place,) in estimate.gain]
        if not payable:
            return None, "too_slow"
        price = self._price(task)
        if has_failed:
            # Nothing that is held can be served: the best tier above, whether or not it pays.
            upward = plans.best(payable, estimate, price)[0] if estimate else payable[0]
            return upward, "hard_failure"
        is_judged = all(map(is_judgeable, answers.values()))
        has_leaned = decision.reason == "leaned"
        if estimate is None or not is_judged or has_leaned or price == math.inf:
            return None, "confident"
        plan = plans.best(payable, estimate, price)
        pays = plans.worth(estimate.gain[plan], plan, estimate, price) > plans.step(price)
        return (plan[0], "escalate") if pays else (None, "confident")

    def _still_payable(
        self,
        task: Task,
        answers: Mapping[int, AnswerView],
        above: list[int],
        estimate: Estimate | None,
    ) -> list[int]:
        """The tiers above that the rest of the budget can pay for."""
        if task.budget_usd is None:
            return above
        spent = sum(
            float(cost(self._ladder[place].price, task.tokens_in, view.tokens_out))
            for place, view in answers.items()
        )
        left = task.budget_usd - spent
        if estimate is None:  # the prompt at least must be paid for
            return [
                p for p in above if float(cost(self._ladder[p].price, task.tokens_in, 1)) <= left
            ]
        return [place for place in above if estimate.cost_usd[place] <= left]

    def _default_place(self, task: Task) -> int:
        """The default tier, else the next allowed above it, else the highest allowed.

        The ends of the curve need no estimate: 0 is the cheapest, 1 the best.
        """
        if task.quality in (0.0, 1.0):
            return task.allowed[0 if task.quality == 0.0 else -1]
        return next((p for p in task.allowed if p >= self._default), task.allowed[-1])


def _last_word(decision: Decision, *, has_failed: bool) -> str:
    """The judgement's reason where no tier is left to ask."""
    if decision.reason in _UNDECIDED:
        return "pinned"
    return "hard_failure" if has_failed else "top"


def _told(estimate: Estimate, price: float) -> Told:
    return Told(estimate.right, estimate.gain, estimate.cost_usd, price)
