"""The guard: what is no worse goes on, what is worse goes back, however often one looks."""

from __future__ import annotations

import numpy as np
import pytest

from sidecar.rollout.guard import (
    ALPHA,
    FAULTS,
    CanaryConfig,
    Mean,
    Tally,
    Verdict,
    boundary,
    verdict,
)

CONFIG = CanaryConfig(requests=400)


def run(
    dice: np.random.Generator,
    *,
    share: float,
    quality: tuple[float, float] = (0.7, 0.7),
    cost_usd: tuple[float, float] = (0.001, 0.001),
    errors: tuple[float, float] = (0.01, 0.01),
    config: CanaryConfig = CONFIG,
    most: int = 20_000,
) -> tuple[Verdict, int]:
    """Requests one by one, looked at after each, until something is to be done."""
    arms = (Tally(), Tally())
    for count in range(1, most):
        arm = int(dice.random() < share)
        tally = arms[arm]
        tally.requests += 1
        tally.quality.add(float(dice.random() < quality[arm]))
        tally.errors.add(float(dice.random() < errors[arm]))
        tally.escalations.add(float(dice.random() < 0.2))
        tally.cost_usd.add(cost_usd[arm] * dice.exponential())
        found = verdict(*arms, config, is_shadow=False)
        if found.act != "wait":
            return found, count
    return Verdict("wait", ""), most


def test_a_candidate_that_is_no_worse_hardly_ever_goes_back() -> None:
    """Looked at after each of a thousand requests, without a margin, and still within alpha."""
    strict = CanaryConfig(
        requests=1_000,
        max_quality_loss=0.0,
        max_error_increase=0.0,
        max_escalation_increase=0.0,
        max_cost_increase=0.0,
    )
    dice = np.random.default_rng(5)
    acts = [run(dice, share=0.5, config=strict, most=900)[0].act for _ in range(60)]
    assert acts.count("roll_back") / len(acts) <= ALPHA + 0.05


@pytest.mark.parametrize(
    ("change", "word"),
    [
        pytest.param({"quality": (0.75, 0.3)}, "quality", id="worse answers"),
        pytest.param({"cost_usd": (0.001, 0.004)}, "cost", id="four times the price"),
        pytest.param({"errors": (0.01, 0.4)}, "errors", id="it fails"),
    ],
)
def test_a_bad_candidate_goes_back_before_it_may_go_on(
    change: dict[str, tuple[float, float]], word: str
) -> None:
    """In ten of ten runs, at a small share, and the reason is named."""
    dice = np.random.default_rng(11)
    for _ in range(10):
        found, _ = run(dice, share=0.2, **change)  # type: ignore[arg-type] # pairs of numbers
        assert found.act == "roll_back"
        assert found.reason.startswith(word)


def test_a_good_candidate_goes_on_once_it_decided_enough() -> None:
    """Not before the requests asked for, nor without the labels asked for."""
    dice = np.random.default_rng(3)
    found, _ = run(dice, share=0.3)
    assert found.act == "step"
    tally = Tally(requests=400)
    needs = CanaryConfig(requests=400, min_labels=1)
    assert verdict(Tally(requests=99), tally, needs, is_shadow=False).act == "wait"
    assert verdict(Tally(requests=99), tally, CONFIG, is_shadow=False).act == "step"
    assert verdict(Tally(), tally, CONFIG, is_shadow=False).act == "wait"  # nothing beside it


def test_a_candidate_that_looks_worse_waits_until_it_is_known() -> None:
    """Few requests are asked for, and yet a bad one never goes on for want of evidence."""
    hasty = CanaryConfig(requests=20)
    dice = np.random.default_rng(17)
    acts = [run(dice, share=0.5, quality=(0.93, 0.6), config=hasty)[0].act for _ in range(40)]
    assert acts.count("roll_back") >= 38


def test_a_candidate_that_fails_goes_back_from_shadow() -> None:
    """Its faults are its own, though nobody was served by it."""
    tally = Tally(requests=1, faults=FAULTS)
    assert verdict(Tally(), tally, CONFIG, is_shadow=True).act == "roll_back"


def test_shadow_compares_nothing_but_faults() -> None:
    """In shadow the candidate has no answers of its own, whatever stands in its tally."""
    bad = Tally(requests=400)
    for _ in range(400):
        bad.quality.add(0.0)
    good = Tally()
    for _ in range(400):
        good.quality.add(1.0)
    assert verdict(good, bad, CONFIG, is_shadow=True).act == "step"
    assert verdict(good, bad, CONFIG, is_shadow=False).act == "roll_back"


def test_the_boundary_is_wider_than_a_single_look_and_narrows() -> None:
    """Looking at every moment has its price; the standard errors themselves shrink."""
    assert boundary(100, 0.05) > 1.96
    assert boundary(100, 0.01) > boundary(100, 0.05)
    assert boundary(10_000, 0.05) / 100 < boundary(100, 0.05) / 10


def test_a_word_taken_back_counts_once() -> None:
    """A score that is said anew replaces the one before."""
    mean = Mean()
    mean.add(1.0)
    mean.add(0.5)
    mean.replace(1.0, 0.0)
    assert (mean.count, mean.value) == (2, 0.25)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"steps": ()}, id="no steps"),
        pytest.param({"steps": (0.5, 0.2, 1.0)}, id="falling"),
        pytest.param({"steps": (0.0, 1.0)}, id="zero"),
        pytest.param({"steps": (0.5,)}, id="no end"),
        pytest.param({"requests": 0}, id="no requests"),
        pytest.param({"max_cost_increase": -0.1}, id="negative"),
    ],
)
def test_settings_out_of_range_are_refused(fields: dict[str, object]) -> None:
    """A trial that cannot end, or that forbids what is equal, is no trial."""
    with pytest.raises(ValueError, match=r"must|steps"):
        CanaryConfig(**fields)  # type: ignore[arg-type] # wrong on purpose


def test_each_step_follows_the_one_before() -> None:
    """Shadow, 5 %, 25 %, all."""
    assert [CONFIG.after(share) for share in (0.0, 0.05, 0.25, 0.6)] == [0.05, 0.25, 1.0, 1.0]
