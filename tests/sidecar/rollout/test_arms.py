"""Arms: who is drawn stays drawn, and who decided a request judges it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.artifact import DEFAULT, Artifact
from router.decision import AnswerView, Decision, Task
from router.errors import RouterError
from router.policy import Router, RouterConfig
from router.tiers import Ladder, Tier
from sidecar.rollout.arms import Arms, Trial, drawn
from tests.router.test_registry import variant

LADDER = Ladder([Tier(name=name, model=name) for name in ("small", "medium", "large")])
CONFIG = RouterConfig()


@given(st.text(max_size=20), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_a_growing_share_keeps_whom_it_had(unit: str, one: float, other: float) -> None:
    """Nobody changes back and forth as the canary grows; another version draws anew."""
    low, high = sorted((one, other))
    place = drawn("v", unit)
    assert 0.0 <= place < 1.0
    assert not (place < low and not place < high)
    assert drawn("v", unit) == place


def test_shares_are_what_they_say() -> None:
    """Of ten thousand units a quarter lies below a quarter, in any version."""
    for version in ("a", "b"):
        share = np.mean([drawn(version, str(unit)) < 0.25 for unit in range(10_000)])
        assert share == pytest.approx(0.25, abs=0.02)


def routers(tmp_path: Path) -> tuple[Router, Router]:
    """The shipped one, and one that thinks the smallest tier always right."""
    shipped = Artifact.load(DEFAULT)
    other = Artifact.load(variant(tmp_path / "other", 9.0))
    return tuple(Router(ladder=LADDER, artifact=each, config=CONFIG) for each in (shipped, other))  # type: ignore[return-value] # two are two


def task(unit: str) -> Task:
    vector = np.ones(384, np.float32) / np.sqrt(np.float32(384))
    return Task(
        text="Prove that there are infinitely many primes of the form 4k + 3.",
        vector=vector,
        tokens_in=2_000,
        turns=1,
        allowed=(0, 1, 2),
        quality=0.9,
        unit=unit,
    )


def test_in_shadow_the_candidate_is_asked_and_not_heeded(tmp_path: Path) -> None:
    """Every decision is the serving one's, and tells where the candidate would have begun."""
    serving, candidate = routers(tmp_path)
    arms = Arms(ladder=LADDER, config=CONFIG, base=serving)
    arms.use(serving, Trial(candidate, 0.0))
    for unit in map(str, range(50)):
        decision = arms.decide(task(unit))
        assert (decision.version, decision.role) == (serving.version, "serving")
        assert decision.entry == serving.decide(task(unit)).entry
        assert decision.rival == candidate.version
        assert decision.rival_entry == candidate.decide(task(unit)).entry


def test_a_share_is_decided_by_the_candidate(tmp_path: Path) -> None:
    """About that share, the same units each time."""
    serving, candidate = routers(tmp_path)
    arms = Arms(ladder=LADDER, config=CONFIG, base=serving)
    arms.use(serving, Trial(candidate, 0.3))
    roles = [arms.decide(task(str(unit))).role for unit in range(400)]
    assert roles == [arms.decide(task(str(unit))).role for unit in range(400)]
    assert roles.count("canary") / 400 == pytest.approx(0.3, abs=0.08)


def test_an_answer_is_judged_by_who_decided(tmp_path: Path) -> None:
    """Also when the candidate was taken back while the tier was at work."""
    serving, candidate = routers(tmp_path)
    arms = Arms(ladder=LADDER, config=CONFIG, base=serving)
    arms.use(serving, Trial(candidate, 0.9999999))
    asked = task("anybody")
    decision = arms.decide(asked)
    assert decision.role == "canary"
    arms.use(serving, None)
    held = {0: AnswerView(text="Perhaps.", finish_reason="stop", tokens_out=2)}
    assert arms.judge(asked, decision, held) == candidate.judge(asked, decision, held)
    pinned = Decision(entry=0, probabilities=(), reason="pinned")
    assert arms.judge(asked, pinned, held) == serving.judge(asked, pinned, held)


class FakeBroken(Router):
    """Fails at every question."""

    def decide(self, task: Task, dice: float = 1.0) -> Decision:
        raise RouterError("broken")


def test_a_candidate_that_fails_costs_nobody_an_answer(tmp_path: Path) -> None:
    """The one that serves decides instead, and the fault is told."""
    serving, _ = routers(tmp_path)
    other = Artifact.load(variant(tmp_path / "broken", 3.0))
    broken = FakeBroken(ladder=LADDER, artifact=other, config=CONFIG)
    arms = Arms(ladder=LADDER, config=CONFIG, base=serving)
    arms.use(serving, Trial(broken, 0.9999999))
    decision = arms.decide(task("anybody"))
    assert (decision.role, decision.rival_entry) == ("serving", None)
    assert decision.rival == broken.version
