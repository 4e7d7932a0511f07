"""`python -m train foreign`: a domain left out of the fit in; is it noticed, and what does it cost?

For each domain: heads that never saw a row of it are replayed on its rows, with the lean to the
safer tier and without. Told are the drift of the input over all its rows, the share of its
requests that are called strange, and quality at the router's cost against the random mix of single
tiers at the same cost, with intervals by the bootstrap over rows. All domains are left out in one
cross-fit whose folds they are; only Platt's two numbers a head, the spreads and the table of prices
are then common to all.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from router.artifact import Artifact
from router.drift import FOREIGN, Watch
from router.policy import Router, RouterConfig
from router.quality import QUALITY
from router.tiers import Ladder
from train.errors import DataError
from train.fitting.fit import WORK, with_table
from train.fitting.known import known_arrays
from train.fitting.learn import Crossed, CrossedEstimator, learn, rowset
from train.fitting.trees import DEFAULT, TreesConfig
from train.samples.examples import Example
from train.samples.tier3 import read_tier3
from train.samples.vectors import Vectors, load_encoder, vectors_of
from train.scoring.metrics import Point, hull
from train.scoring.replay import Replayed, ladder_of, replay, tiers_of

HELP: Final = "leave a domain out of the fit: is it noticed as foreign, and what does it cost?"
ROUNDS: Final = 400
QUICK: Final = TreesConfig(trees=35, rate=0.13)
"""Chosen: as much learnt in all as 100 trees at 0.05 learn, in a third of the time."""

Numbers = NDArray[np.float64]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="FILE")
    parser.add_argument("--domains", nargs="*", default=[], help="left out in turn (all)")
    parser.add_argument(
        "--quick", action="store_true", help="fewer and faster trees: a third of the time"
    )
    parser.add_argument("--work", type=Path, default=WORK, help="where vectors are kept")


def run(args: argparse.Namespace) -> int:
    """Leave each out in turn, and print a line each."""
    examples, encoder = read_tier3(args.data), load_encoder()
    vectors, tiers = vectors_of(examples, encoder, args.work), tiers_of(examples)
    domains = np.array([example.domain for example in examples])
    known = sorted(set(domains.tolist()))
    if strange := sorted(set(args.domains) - set(known)):
        raise DataError(f"there is no domain {strange[0]!r}; there are {', '.join(known)}")
    splits = [(np.flatnonzero(domains != d), np.flatnonzero(domains == d)) for d in known]
    config = QUICK if args.quick else DEFAULT
    arrays, crossed = learn(rowset(examples, vectors, tiers), args.seed, config, splits)
    shape = {"tiers": list(tiers), "dim": int(vectors.shape[1]), "encoder_ids": [], "data": {}}
    ladder = ladder_of(examples, tiers)
    blind = with_table(shape, arrays, crossed, examples, ladder=ladder)
    for domain in args.domains or known:
        found = Left(examples, vectors, crossed, blind, ladder, domains == domain)
        told = {"domain": domain, **_told(found, args.seed)}
        print(json.dumps(told) if args.json else gist(told), flush=True)
    return 0


@dataclass(frozen=True, slots=True, eq=False)
class Left:
    """A domain left out: all rows, their scores by heads that never saw them, and which it is."""

    examples: Sequence[Example]
    vectors: Vectors
    crossed: Crossed
    blind: Artifact
    ladder: Ladder
    is_out: NDArray[np.bool_]

    @property
    def rows(self) -> list[Example]:
        """The domain's."""
        return [e for e, out in zip(self.examples, self.is_out, strict=True) if out]

    def artifact(self) -> Artifact:
        """What knows where the other domains' rows lie."""
        rest = ~self.is_out
        right = {place: told[rest] for place, told in self.crossed.right[()].items()}
        gain = {plan: told[rest] for plan, told in self.crossed.gain[()].items()}
        known = known_arrays(self.vectors[rest], right, gain, 0)
        return Artifact.build(self.blind.manifest, {**self.blind.arrays, **known})

    def router(self, artifact: Artifact) -> Router:
        """One that decides by the scores."""
        router = Router(ladder=self.ladder, artifact=artifact, config=RouterConfig())
        place = {example.query: row for row, example in enumerate(self.examples)}
        router.estimator = CrossedEstimator(self.crossed, self.ladder, place)
        return router


def _told(left: Left, seed: int) -> dict[str, Any]:
    artifact, found = left.artifact(), left.vectors[left.is_out]
    known = artifact.known
    assert known is not None, "it was put in just now"  # noqa: S101 - a bug of ours
    strange = np.array([known.strangeness(vector) for vector in found])
    watch = Watch(known)
    for each in strange:
        watch.decided(float(each), ())
    standing = watch.standings["input"]
    told: dict[str, Any] = {
        "rows": len(found),
        "strange": float(np.mean(strange > FOREIGN)),
        "drift": standing.value,
        "is_alarmed": standing.is_alarmed,
    }
    for name, made in (("lean", artifact), ("no_lean", left.blind)):
        for point in ("economy", "balanced"):
            told[f"{name}_{point}"] = _against_mix(left, left.router(made), QUALITY[point], seed)
    return told


def _against_mix(left: Left, router: Router, quality: float, seed: int) -> dict[str, Any]:
    """Quality, cost, and the lead over the mix at that cost with its interval."""
    rows = left.rows
    # As it would be once the alarm is raised, a few hundred requests after the domain came.
    vectors = left.vectors[left.is_out]
    made = replay(router, left.ladder, rows, vectors, quality, is_wary=True)
    answers = [[row.answers[tier] for tier in left.ladder.names] for row in rows]
    correct = np.array([[told.correct or 0.0 for told in row] for row in answers])
    cost = np.array([[told.cost_usd for told in row] for row in answers])
    rng = np.random.default_rng(seed)
    drawn = [rng.integers(0, len(rows), len(rows)) for _ in range(ROUNDS)]
    leads = [_lead(_only(made, chosen), correct[chosen], cost[chosen]) for chosen in drawn]
    low, high = np.quantile(leads, [0.025, 0.975])
    return {
        "correct": float(made.correct.mean()),
        "usd_per_1k": 1e3 * float(made.cost_usd.mean()),
        "lead": _lead(made, correct, cost),
        "interval": [float(low), float(high)],
    }


def _only(made: Replayed, chosen: NDArray[np.int64]) -> Replayed:
    return replace(made, correct=made.correct[chosen], cost_usd=made.cost_usd[chosen])


def _lead(made: Replayed, correct: Numbers, cost: Numbers) -> float:
    """Quality above the best random mix of single tiers at the same cost."""
    singles = zip(cost.mean(axis=0), correct.mean(axis=0), strict=True)
    curve = hull([Point(float(c), float(q)) for c, q in singles])
    spent = float(made.cost_usd.mean())
    mix = np.interp(spent, [p.cost_usd for p in curve], [p.quality for p in curve])
    return float(made.correct.mean() - mix)


def gist(told: dict[str, Any]) -> str:
    """One line for the terminal."""
    shown = [f"{told['domain']:<17} {told['rows']:>5} rows, strange {told['strange']:.3f}"]
    shown.append(f"drift {told['drift']:.2f}{' ALARM' if told['is_alarmed'] else ''}")
    for name in ("lean_economy", "no_lean_economy", "lean_balanced", "no_lean_balanced"):
        point = told[name]
        low, high = point["interval"]
        shown.append(
            f"{name} {point['correct']:.3f} at ${point['usd_per_1k']:.3f}"
            f" {point['lead']:+.4f} [{low:+.4f}, {high:+.4f}]"
        )
    return "; ".join(shown)
