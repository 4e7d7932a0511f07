"""The rivals' rules: each does what its authors say, no more and no less."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.hits.rules import (
    SEEDS,
    STEEPEST,
    Asked,
    BehindExact,
    Done,
    Threshold,
    VCache,
    exploration,
    fitted,
    rivals,
)


def at(degrees: float, meaning: str, text: str = "") -> Asked:
    angle = math.radians(degrees)
    vector = np.array([math.cos(angle), math.sin(angle)], dtype=np.float32)
    return Asked(text or f"{meaning} at {degrees}", meaning, vector)


def test_a_threshold_serves_the_nearest_from_there_on() -> None:
    """And keeps what it missed, right or wrong."""
    rule = Threshold(0.9, 2)
    assert rule.ask(at(0, "a")) == Done("miss")
    near = rule.ask(at(20, "b"))  # cos 20 degrees is 0.94
    assert (near.kind, near.is_right) == ("semantic", False)
    assert rule.ask(at(40, "c")).kind == "miss"
    assert rule.ask(at(39, "c")).is_right


def test_an_exact_tier_serves_what_was_answered_before() -> None:
    """A text that was served by meaning was never answered, and is judged anew."""
    rule = BehindExact(Threshold(0.9, 2))
    rule.ask(at(0, "a", "first"))
    assert rule.ask(at(20, "b", "second")).kind == "semantic"
    assert rule.ask(at(20, "b", "second")).kind == "semantic"
    assert rule.ask(at(0, "a", "first")) == Done("exact", similarity=1.0)


def test_a_fit_finds_what_the_labels_were_drawn_from() -> None:
    """Midpoint and steepness of a logistic function, within what so many labels can tell."""
    rng = np.random.default_rng(1)
    drawn = rng.uniform(0, 1, 4_000)
    labels = rng.random(4_000) < 1 / (1 + np.exp(-20 * (drawn - 0.7)))
    seen = [*SEEDS, *((float(s), bool(label)) for s, label in zip(drawn, labels, strict=True))]
    midpoint, steepness, variance = fitted(seen)
    assert midpoint == pytest.approx(0.7, abs=4 * math.sqrt(variance))
    assert math.sqrt(variance) < 0.01
    assert steepness == pytest.approx(20, rel=0.1)


def test_labels_that_part_cleanly_have_their_middle() -> None:
    """The likelihood has no maximum there; the step stands in the middle of the gap."""
    midpoint, steepness, variance = fitted([*SEEDS, (0.8, True), (0.7, False)])
    assert midpoint == pytest.approx(0.75)
    assert steepness == STEEPEST
    assert variance == pytest.approx(1 / 40)


def test_an_entry_is_explored_until_enough_is_known() -> None:
    """Four labels beside the two seeds, however alike they were."""
    seen = list(SEEDS)
    for _ in range(4):
        assert exploration(seen, 0.99, 0.02) == 1.0
        seen.append((0.99, True))
    assert exploration(seen, 0.99, 0.02) == 0.0
    assert exploration(seen, 0.30, 0.02) > 0.9


LABELS = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=4, max_size=30)


@given(LABELS, st.floats(0, 1), st.floats(0.001, 0.5))
def test_the_chance_to_explore_is_a_chance_and_falls_with_the_bound(
    labels: list[tuple[float, bool]], similarity: float, bound: float
) -> None:
    """Whatever was seen; who bears more errors asks anew less often."""
    seen = [*SEEDS, *labels]
    chance = exploration(seen, similarity, bound)
    assert 0.0 <= chance <= 1.0
    assert exploration(seen, similarity, min(0.9, 2 * bound)) <= chance + 1e-12


def test_its_bound_on_requests_holds_where_its_assumptions_do() -> None:
    """One entry, labels drawn from a logistic function of the similarity: at most 2 % wrong."""
    rng, wrong, requests = np.random.default_rng(3), 0, 0
    for seed in range(20):
        rule = VCache(0.02, 2, Random(seed))  # noqa: S311 - dice of a test
        rule.ask(at(0, "a"))
        for number in range(200):
            similarity = float(rng.uniform(0.6, 1.0))
            is_same = rng.random() < 1 / (1 + math.exp(-40 * (similarity - 0.8)))
            degrees = math.degrees(math.acos(similarity))
            done = rule.ask(at(degrees, "a" if is_same else f"b{seed}/{number}"))
            wrong += not done.is_right
            requests += 1
    assert wrong / requests <= 0.02


def test_what_it_explored_and_found_the_same_is_not_kept() -> None:
    """Only what differs becomes an entry."""
    rule = VCache(0.02, 2, Random(0))  # noqa: S311 - dice of a test
    for degrees in (0, 5, 10):
        rule.ask(at(degrees, "a"))
    rule.ask(at(60, "b"))
    assert len(rule._seen) == 2


def test_every_rival_starts_cold() -> None:
    """Nothing is served before anything was asked."""
    assert all(rule.ask(at(0, "a")).kind == "miss" for rule in rivals(2, 0.02, 0).values())
