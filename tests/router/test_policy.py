"""Router: what holds for every question, and what each point of the curve means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.artifact import DEFAULT, Artifact
from router.decision import AnswerView, Decision, Task
from router.errors import ArtifactError, LadderError
from router.estimate import Estimate
from router.policy import Router, RouterConfig
from router.pricing import Price
from router.quality import QUALITY, quality_of
from router.tiers import Ladder, Tier

ARTIFACT = Artifact.load(DEFAULT)


def _tier(name: str, in_usd: str, out_usd: str) -> Tier:
    price = Price(in_usd_per_mtok=Decimal(in_usd), out_usd_per_mtok=Decimal(out_usd))
    return Tier(name=name, model=name, price=price)


LADDER = Ladder(
    [_tier("small", "0.2", "0.2"), _tier("medium", "0.9", "0.9"), _tier("large", "2.5", "10")]
)
ROUTER = Router(ladder=LADDER, artifact=ARTIFACT, config=RouterConfig())


def _task(
    seed: int = 0,
    *,
    quality: float = 0.8,
    allowed: tuple[int, ...] = (0, 1, 2),
    budget_usd: float | None = None,
    left_s: float | None = None,
    latency_s: tuple[float, ...] = (),
) -> Task:
    vector = np.random.default_rng(seed).normal(size=384).astype(np.float32)
    return Task(
        text="How many eggs are left?\nA. 3\nB. 4" if seed % 2 else "Why is the sky blue?",
        vector=vector / np.linalg.norm(vector),
        tokens_in=20 + seed % 500,
        turns=1,
        allowed=allowed,
        quality=quality,
        left_s=left_s,
        latency_s=latency_s,
        budget_usd=budget_usd,
    )


def _answer(text: str = "It is four. The answer is (B).", **more: object) -> AnswerView:
    told: dict[str, object] = {"finish_reason": "stop", "tokens_out": 20, **more}
    return AnswerView(text=text, **told)  # type: ignore[arg-type] # checked by the tests that use it


class FakeEstimator:
    """Says the same of every question."""

    def __init__(self, estimate: Estimate) -> None:
        self.told = estimate

    def estimate(self, task: Task, answers: Mapping[int, AnswerView]) -> Estimate | None:
        return self.told


_ALLOWED = st.sets(st.integers(0, 2), min_size=1).map(lambda found: tuple(sorted(found)))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), _ALLOWED, st.floats(0, 1), st.floats(0, 1, exclude_max=True))
def test_only_allowed_tiers_are_asked(
    seed: int, allowed: tuple[int, ...], quality: float, dice: float
) -> None:
    """Entry and next tier are allowed, the next lies above, and the best is one that is held."""
    router = Router(ladder=LADDER, artifact=ARTIFACT, config=RouterConfig(exploration=0.5))
    task = _task(seed, quality=quality, allowed=allowed)
    decision = router.decide(task, dice)
    judgement = router.judge(task, decision, {decision.entry: _answer()})
    assert decision.entry in allowed
    assert judgement.best == decision.entry
    assert judgement.next_place in {None, *(p for p in allowed if p > decision.entry)}
    assert 0 < judgement.confidence < 1


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), _ALLOWED)
def test_quality_zero_is_the_cheapest_allowed_tier_and_stays_there(
    seed: int, allowed: tuple[int, ...]
) -> None:
    """At 0 the cheapest allowed tier is asked and a usable answer is never doubted."""
    task = _task(seed, quality=0.0, allowed=allowed)
    decision = ROUTER.decide(task)
    assert decision.entry == allowed[0]
    assert decision.final
    assert ROUTER.judge(task, decision, {allowed[0]: _answer()}).next_place is None


def test_foretold_cost_rises_with_quality() -> None:
    """Over rows, the entry tier's foretold worth never buys less for a lower price of quality."""
    tasks = [_task(seed) for seed in range(60)]
    prices = [ROUTER.price_of_quality(quality) for quality in np.linspace(0, 1, 11)]
    assert all(low >= high for low, high in pairwise(prices))
    assert prices[0] == np.inf
    assert prices[-1] == 0
    ends = []
    for quality in (0.0, 1.0):
        entries = [ROUTER.decide(_task(s, quality=quality)).entry for s in range(len(tasks))]
        ends.append(sum(entries))
    assert ends[0] < ends[1]


@given(st.floats(1e-6, 1e-1), st.floats(0, 1))
def test_rising_quality_never_foretells_a_cheaper_plan(step: float, quality: float) -> None:
    """For one question, the chosen single plan's cost does not fall as quality rises."""
    estimate = Estimate(
        right=(0.4, 0.6, 0.7),
        gain={(0,): 0.4, (1,): 0.6, (2,): 0.7},
        cost_usd=(0.0001, 0.0003, 0.004),
        most_gain={},
    )
    router = Router(ladder=LADDER, artifact=ARTIFACT, config=RouterConfig())
    router.estimator = FakeEstimator(estimate)
    low = router.decide(_task(quality=quality)).entry
    high = router.decide(_task(quality=min(1.0, quality + step))).entry
    assert estimate.cost_usd[low] <= estimate.cost_usd[high]


def test_budget_keeps_dear_tiers_out() -> None:
    """A tier that the budget cannot pay for is neither the entry nor an escalation."""
    task = _task(quality=1.0, budget_usd=0.0008)
    decision = ROUTER.decide(task)
    assert decision.entry < 2
    judgement = ROUTER.judge(task, decision, {1: _answer("")})
    assert judgement.next_place is None
    assert judgement.reason == "too_dear"


def test_deadline_keeps_slow_tiers_out() -> None:
    """A tier whose answer would come too late is neither the entry nor an escalation."""
    task = _task(quality=1.0, left_s=2.0, latency_s=(0.5, 1.0, 5.0))
    decision = ROUTER.decide(task)
    assert decision.entry < 2
    assert ROUTER.decide(_task(quality=1.0, left_s=9.0, latency_s=(0.5, 1.0, 5.0))).entry == 2
    judgement = ROUTER.judge(task, decision, {1: _answer("")})
    assert (judgement.next_place, judgement.reason) == (None, "too_slow")


def test_where_nobody_is_fast_enough_the_fastest_is_asked() -> None:
    """An answer that may come too late is better than none."""
    decision = ROUTER.decide(_task(quality=1.0, left_s=0.1, latency_s=(2.0, 1.0, 5.0)))
    assert decision.entry == 1


@pytest.mark.parametrize(
    "view",
    [
        pytest.param(_answer("", finish_reason="stop"), id="empty"),
        pytest.param(_answer(finish_reason="length"), id="truncated"),
        pytest.param(_answer(is_malformed=True), id="malformed"),
    ],
)
@pytest.mark.parametrize("artifact", [ARTIFACT, None], ids=["artifact", "none"])
def test_hard_failure_escalates_even_at_quality_zero(
    view: AnswerView, artifact: Artifact | None
) -> None:
    """An answer that no caller can use is never served while a tier above is allowed."""
    router = Router(ladder=LADDER, artifact=artifact, config=RouterConfig())
    task = _task(quality=0.0)
    judgement = router.judge(task, Decision(entry=0, probabilities=(), reason="policy"), {0: view})
    assert judgement.next_place == 1
    assert judgement.reason == "hard_failure"
    after = router.judge(task, router.decide(task), {0: view, 1: _answer()})
    assert after.best == 1


def test_best_estimate_is_served_not_the_last() -> None:
    """Of two answers held, the one with the higher chance is the best."""
    router = Router(ladder=LADDER, artifact=ARTIFACT, config=RouterConfig())
    router.estimator = FakeEstimator(
        Estimate(right=(0.9, 0.4, 0.5), gain={(2,): -0.1}, cost_usd=(0, 0, 0), most_gain={})
    )
    task = _task()
    judgement = router.judge(task, router.decide(_task(allowed=(0,))), {0: _answer(), 1: _answer()})
    assert judgement.best == 0
    assert judgement.confidence == 0.9
    assert (judgement.next_place, judgement.reason) == (None, "confident")
    assert router.judge(task, router.decide(_task(allowed=(0,))), {2: _answer()}).reason == "pinned"


@pytest.mark.parametrize("reason", ["pinned", "only_one", "rule"])
@pytest.mark.parametrize("told", [{}, {"finish_reason": "length"}, {"is_malformed": True}])
def test_where_nothing_is_estimated_the_only_answer_gets_one_word(
    reason: str, told: dict[str, Any]
) -> None:
    """Without a vector it is come to by a shorter way, and says the same."""
    router = Router(ladder=LADDER, artifact=None, config=RouterConfig())
    decision, answers = Decision(entry=1, probabilities=(), reason=reason), {1: _answer(**told)}
    seen = _task(allowed=(1,))
    blind = router.judge(seen._replace(vector=None), decision, answers)
    assert blind == router.judge(seen, decision, answers)
    assert blind.confidence == (0.005 if told else 0.5)


def test_without_artifact_or_vector_the_default_tier_is_asked() -> None:
    """With nothing to go by the middle tier is asked, or the named one, or the nearest above."""
    router = Router(ladder=LADDER, artifact=None, config=RouterConfig())
    assert router.version == "none"
    assert router.decide(_task()).entry == 1
    assert router.decide(_task(allowed=(0, 2))).entry == 2
    named = Router(ladder=LADDER, artifact=None, config=RouterConfig(default_tier="large"))
    assert named.decide(_task()).reason == "default"
    assert named.decide(_task(allowed=(0, 1))).entry == 1
    blind = Task(text="x", vector=None, tokens_in=1, turns=1, allowed=(0, 1, 2), quality=0.5)
    assert ROUTER.decide(blind).reason == "default"
    assert ROUTER.decide(blind._replace(quality=0.0)).entry == 0
    assert ROUTER.decide(blind._replace(quality=1.0)).entry == 2


def test_exploration_logs_the_chance_of_each_entry() -> None:
    """The propensities over the dice are the shares in which the entries are really drawn."""
    router = Router(ladder=LADDER, artifact=ARTIFACT, config=RouterConfig(exploration=0.3))
    drawn = [router.decide(_task(), dice) for dice in np.arange(0, 1, 0.001)]
    for entry in range(3):
        chances = {d.propensity for d in drawn if d.entry == entry}
        share = sum(d.entry == entry for d in drawn) / len(drawn)
        assert len(chances) == 1
        assert chances.pop() == pytest.approx(share, abs=0.002)


@pytest.mark.parametrize(("quality", "entry"), [(0.0, 0), (1.0, None)], ids=["cheapest", "best"])
def test_the_ends_of_the_curve_are_never_explored(quality: float, entry: int | None) -> None:
    """Who asks for the cheapest tier, or for the best answer, named the tier; a goal did not."""
    router = Router(ladder=LADDER, artifact=ARTIFACT, config=RouterConfig(exploration=1.0))
    told = router.decide(_task(quality=quality), dice=0.0)
    assert told.propensity == 1.0
    assert told.reason != "explored"
    assert entry is None or told.entry == entry
    goal = _task(quality=quality)._replace(price=100.0)
    assert router.decide(goal, dice=0.0).propensity == pytest.approx(1 / 3)


def test_a_little_is_explored_unless_it_is_switched_off() -> None:
    """The default draws one request in fifty; with 0 nothing is drawn, whatever the dice say."""
    little = Router(ladder=LADDER, artifact=ARTIFACT, config=RouterConfig())
    told = {little.decide(_task(), dice).reason for dice in np.arange(0, 1, 0.005)}
    assert len(told) == 2
    assert "explored" in told
    assert little.decide(_task(), 0.02).reason != "explored"
    off = Router(ladder=LADDER, artifact=ARTIFACT, config=RouterConfig(exploration=0.0))
    assert off.decide(_task(), 0.0).propensity == 1.0
    assert off.decide(_task(), 0.0).reason != "explored"


def test_tool_calls_are_not_judged_by_their_text() -> None:
    """An answer that calls tools is served: the heads know text alone."""
    task = _task(quality=1.0)
    view = _answer("", has_tool_calls=True)
    assert ROUTER.judge(task, ROUTER.decide(task), {0: view}).reason == "confident"


def test_ladder_that_the_artifact_does_not_know_is_refused() -> None:
    """Unknown tiers are named; known ones in another order are refused; a part will do."""
    with pytest.raises(ArtifactError, match="giant"):
        Router(ladder=Ladder([_tier("giant", "1", "1")]), artifact=ARTIFACT, config=RouterConfig())
    swapped = Ladder([LADDER[1], LADDER[0]])
    with pytest.raises(ArtifactError, match="orders"):
        Router(ladder=swapped, artifact=ARTIFACT, config=RouterConfig())
    with pytest.raises(LadderError, match="huge"):
        Router(ladder=LADDER, artifact=None, config=RouterConfig(default_tier="huge"))
    two = Router(ladder=Ladder([LADDER[0], LADDER[2]]), artifact=ARTIFACT, config=RouterConfig())
    task = _task(allowed=(0, 1), quality=1.0)
    judgement = two.judge(task, two.decide(task), {0: _answer()})
    assert len(judgement.probabilities) == 2
    assert judgement.next_place in {None, 1}


@pytest.mark.parametrize("told", ["dear", "", -0.1, 1.1, "nan"])
def test_quality_out_of_range_is_refused(told: str | float) -> None:
    """A point is a known word or a number between 0 and 1."""
    with pytest.raises(ValueError, match="quality"):
        quality_of(told)


def test_named_points_are_numbers_of_the_curve() -> None:
    """The words and their numbers say the same."""
    assert {word: quality_of(word) for word in QUALITY} == dict(QUALITY)
    assert quality_of("0.25") == 0.25
    with pytest.raises(ValueError, match="exploration"):
        RouterConfig(exploration=2)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 1))
def test_a_live_stream_is_one_tiers_alone(seed: int, quality: float) -> None:
    """Words once sent cannot be taken back, so the decision is final, whatever it is."""
    decision = ROUTER.decide(_task(seed, quality=quality)._replace(is_live=True))
    assert decision.final
    assert decision.entry in (0, 1, 2)
    assert decision.probabilities


def _familiar() -> Task:
    """A question like those that the artifact was fitted on."""
    assert ARTIFACT.known is not None
    return _task(quality=0.5)._replace(vector=ARTIFACT.known.centroids[0])


def _sticking(gain: dict[tuple[int, ...], float], margin: float = 0.1) -> Router:
    config = RouterConfig(sticky_sessions=True, sticky_margin=margin, exploration=1.0)
    router = Router(ladder=LADDER, artifact=ARTIFACT, config=config)
    router.estimator = FakeEstimator(
        Estimate(right=(0.5, 0.6, 0.7), gain=gain, cost_usd=(0.0, 0.0, 0.0), most_gain={})
    )
    return router


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.integers(0, 2), st.floats(0, 1))
def test_a_conversation_keeps_its_tier_within_the_margin(
    small: float, medium: float, large: float, kept: int, margin: float
) -> None:
    """It changes for more than the margin alone, to the best tier, and nothing is drawn."""
    gains = (small, medium, large)
    router = _sticking({(place,): gain for place, gain in enumerate(gains)}, margin)
    decision = router.decide(_familiar()._replace(kept_place=kept), dice=0.0)
    moves = max(gains) - gains[kept] > margin
    assert (decision.entry == kept) != moves or gains[kept] == max(gains)
    assert decision.propensity == 1.0
    if moves:
        assert gains[decision.entry] == max(gains)


def test_a_conversation_is_bound_by_what_may_be_asked() -> None:
    """Neither the caps nor the request's budget give way to a habit."""
    router = _sticking({(0,): 0.5, (1,): 0.5, (2,): 0.5}, margin=1.0)
    task = _familiar()._replace(kept_place=2)
    assert router.decide(task).entry == 2
    assert router.decide(task._replace(allowed=(0, 1)), 0.9).entry < 2
    dear = replace(router.estimator.told, cost_usd=(0.0, 0.0, 1.0))  # type: ignore[union-attr]
    router.estimator = FakeEstimator(dear)
    assert router.decide(task._replace(budget_usd=0.1), 0.9).entry < 2


@given(st.integers(0, 300), st.floats(0.01, 1.0))
def test_what_is_strange_begins_no_lower(seed: int, quality: float) -> None:
    """The lean only raises the entry, and not for a question near what was known.

    Of its answer no head is asked: only one that nobody can use leads on.
    """
    task = _task(seed, quality=quality)
    assert ARTIFACT.known is not None
    plain = Artifact.build(
        ARTIFACT.manifest,
        {name: v for name, v in ARTIFACT.arrays.items() if not name.startswith("known_")},
    )
    blind = Router(ladder=LADDER, artifact=plain, config=RouterConfig()).decide(task)
    assert task.vector is not None
    assert blind.strangeness is None
    leaned = ROUTER.decide(task)
    assert leaned.entry >= blind.entry
    assert (leaned.reason, leaned.final) == ("leaned", True)
    assert ROUTER.judge(task, leaned, {leaned.entry: _answer()}).next_place is None
    if leaned.entry < 2:
        assert ROUTER.judge(task, leaned, {leaned.entry: _answer("")}).reason == "hard_failure"
    near = task._replace(vector=ARTIFACT.known.centroids[seed % 64])
    assert ROUTER.decide(near).reason != "leaned"
    assert ROUTER.decide(task._replace(quality=0.0)).entry == 0


def test_the_price_of_a_goal_stands_in_the_place_of_the_qualitys() -> None:
    """A dollar that must buy nothing asks the best; one that must buy much, the cheapest."""
    tasks = [_task(seed)._replace(price=price) for seed in range(20) for price in (0.0, 1e9)]
    entries = [ROUTER.decide(task).entry for task in tasks]
    assert set(entries[1::2]) == {0}
    assert sum(entries[::2]) > sum(entries[1::2])
    prices = ROUTER.prices
    assert prices is not None
    assert prices.low <= prices.start <= prices.high
    assert Router(ladder=LADDER, artifact=None, config=RouterConfig()).prices is None
