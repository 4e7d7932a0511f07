"""`python -m train budget`: does the controller hold a goal while the traffic's domains change?

Rows of tier3 are drawn with replacement, the first half of the requests mostly from one group of
domains, the second half from the other, and go through the router's own `decide` and `judge` at the
price that `router.budget.Pacer` gives. Beside it stands the fixed price: the one that would have
spent the very budget on the first half, kept for the second.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from router.artifact import DEFAULT, Artifact
from router.budget import Bill, Goal, Pacer
from router.policy import Router, RouterConfig
from router.tiers import Ladder
from train.errors import DataError
from train.fitting.fit import WORK
from train.samples.examples import Example
from train.samples.tier3 import read_tier3
from train.samples.vectors import Vectors, load_encoder, vectors_of
from train.scoring.replay import Climbed, Remembering, climb, ladder_of, tiers_of

HELP: Final = "replay traffic whose domains change in the middle: is the budget or the floor held?"
RECKONING: Final = frozenset({"math_word", "math_competition", "code_reasoning"})
"""The domains of GSM8K, MATH and CRUX; all others are MMLU-Pro's."""
MOSTLY: Final = 0.9
"""Chosen: nine requests of ten come from the half's own group: a new customer, not a new world."""
FIXED_STEPS: Final = 20


@dataclass(frozen=True, slots=True, eq=False)
class Stand:
    """The rows, and who decides on them."""

    router: Router
    ladder: Ladder
    examples: Sequence[Example]
    vectors: Vectors

    def climb(self, row: int, price: float) -> Climbed:
        """Row `row` at that price of quality."""
        example = self.examples[row]
        task = example.task(self.vectors[row], len(self.ladder), 0.5)
        return climb(self.router, self.ladder, example, task._replace(price=price))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("--artifact", type=Path, default=DEFAULT, metavar="DIR")
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="FILE")
    parser.add_argument("--usd-per-1k", type=float, nargs="*", default=[], metavar="X")
    parser.add_argument("--floor", type=float, nargs="*", default=[], metavar="SHARE")
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--seeds", type=int, default=5, help="draws of the traffic, each both ways")
    parser.add_argument("--work", type=Path, default=WORK, help="where vectors are kept")


def run(args: argparse.Namespace) -> int:
    """Replay, and say what was held; 1 if a budget was missed by more than 2 %."""
    stand = _stand(args)
    goals = [Goal(budget_usd_per_1k=usd) for usd in args.usd_per_1k]
    goals += [Goal(quality_floor=share) for share in args.floor]
    if not goals:
        raise DataError("name a goal: --usd-per-1k or --floor")
    told = [
        _replayed(stand, goal, args.requests, seed, knowledge_first=bool(way))
        for goal in goals
        for seed in range(args.seed, args.seed + args.seeds)
        for way in (0, 1)
    ]
    print(json.dumps(told, indent=1) if args.json else gist(told))
    missed = [row for row in told if "spent_ratio" in row and abs(row["spent_ratio"] - 1) > 0.02]  # noqa: PLR2004 - what is promised
    return 1 if missed else 0


def _stand(args: argparse.Namespace) -> Stand:
    artifact, examples = Artifact.load(args.artifact), read_tier3(args.data)
    ladder = ladder_of(examples, tiers_of(examples))
    router = Router(ladder=ladder, artifact=artifact, config=RouterConfig())
    assert router.estimator is not None, "it has an artifact"  # noqa: S101 - a bug of ours
    router.estimator = Remembering(router.estimator)
    return Stand(router, ladder, examples, vectors_of(examples, load_encoder(), args.work))


def traffic(
    examples: Sequence[Example], requests: int, seed: int, *, knowledge_first: bool
) -> NDArray[np.int64]:
    """(requests,) rows; the group of domains that most of them come from changes in the middle."""
    rng = np.random.default_rng(seed)
    is_knowledge = np.array([example.domain not in RECKONING for example in examples])
    halves = []
    for half, count in enumerate((requests // 2, requests - requests // 2)):
        wanted = is_knowledge == (knowledge_first == (half == 0))
        chance = np.where(wanted, MOSTLY / wanted.sum(), (1 - MOSTLY) / (~wanted).sum())
        halves.append(rng.choice(len(examples), size=count, p=chance))
    return np.concatenate(halves)


def _replayed(
    stand: Stand, goal: Goal, requests: int, seed: int, *, knowledge_first: bool
) -> dict[str, Any]:
    rows = traffic(stand.examples, requests, seed, knowledge_first=knowledge_first)
    half = requests // 2
    prices = stand.router.prices
    assert prices is not None, "it has an artifact"  # noqa: S101 - a bug of ours
    pacer, runs = Pacer(goal, stand.router.price_of_quality(0.8), prices), []
    for row in rows:
        climbed = stand.climb(int(row), pacer.price)
        pacer.saw(_bill(climbed))
        runs.append(climbed)
    told = {
        "goal": goal.budget_usd_per_1k or goal.quality_floor,
        "seed": seed,
        "knowledge_first": knowledge_first,
        "correct": _mean(runs, "correct"),
        "usd_per_1k": 1e3 * _mean(runs, "cost_usd"),
        "last_price": pacer.price,
    }
    if goal.quality_floor:
        return told | _floor_figures(stand, rows, runs)
    budget = goal.budget_usd_per_1k
    fixed = _fixed_price(stand, rows[:half], budget / 1e3)
    beside = [stand.climb(int(row), fixed) for row in rows]
    return told | {
        "spent_ratio": 1e3 * _mean(runs, "cost_usd") / budget,
        "first_half_ratio": 1e3 * _mean(runs[:half], "cost_usd") / budget,
        "second_half_ratio": 1e3 * _mean(runs[half:], "cost_usd") / budget,
        "fixed_price_ratio": 1e3 * _mean(beside, "cost_usd") / budget,
        "fixed_price_correct": _mean(beside, "correct"),
    }


def _bill(climbed: Climbed) -> Bill:
    cheapest, top = climbed.foretold[0], climbed.foretold[-1]
    return Bill(
        cost_usd=climbed.cost_usd,
        gained=climbed.confidence - cheapest,
        top_gains=top - cheapest,
    )


def _fixed_price(stand: Stand, rows: NDArray[np.int64], budget_usd: float) -> float:
    """The price that spends the budget on these rows, found by halving."""
    prices = stand.router.prices
    assert prices is not None, "it has an artifact"  # noqa: S101 - a bug of ours
    low, high = np.log(prices.low), np.log(prices.high)
    some = rows[:1000]
    for _ in range(FIXED_STEPS):
        middle = (low + high) / 2
        spent = np.mean([stand.climb(int(row), float(np.exp(middle))).cost_usd for row in some])
        low, high = (middle, high) if spent > budget_usd else (low, middle)
    return float(np.exp((low + high) / 2))


def _floor_figures(
    stand: Stand, rows: NDArray[np.int64], runs: Sequence[Climbed]
) -> dict[str, float]:
    """What share of the top tier's true gain was had."""
    names = stand.ladder.names
    answers = [stand.examples[int(row)].answers for row in rows]
    cheap = float(np.mean([told[names[0]].correct or 0.0 for told in answers]))
    top = float(np.mean([told[names[-1]].correct or 0.0 for told in answers]))
    top_usd = float(np.mean([told[names[-1]].cost_usd for told in answers]))
    return {
        "share_of_gain": (_mean(runs, "correct") - cheap) / max(1e-9, top - cheap),
        "usd_ratio_to_top": _mean(runs, "cost_usd") / top_usd,
    }


def _mean(runs: Sequence[Climbed], field: str) -> float:
    return float(np.mean([getattr(run, field) for run in runs]))


def gist(told: Sequence[dict[str, Any]]) -> str:
    """One line a run."""
    lines = []
    for row in told:
        shown = " ".join(
            f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
            for name, value in row.items()
        )
        lines.append(shown)
    return "\n".join(lines)
