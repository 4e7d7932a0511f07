"""`python -m train evaluate`: an artifact and rows it never saw in, figures with baselines out.

The router's own `decide` and `judge` are replayed on recorded answers at points of `quality` from
0 to 1; their prices come from the artifact's table, which was fixed on the rows it was fitted on.
Baselines run on the same rows; those that need a limit are swept on these very rows, which favours
them. Intervals are 95 %, by the bootstrap over rows, paired where they are of differences.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from router.artifact import Artifact
from router.estimate import Estimate
from router.policy import Router, RouterConfig
from router.quality import QUALITY
from router.tiers import Ladder
from train.fitting.fit import WORK
from train.samples.examples import Example
from train.samples.rows import file_hashes
from train.samples.tier3 import read_tier3
from train.samples.vectors import TextEncoder, Vectors, load_encoder, vectors_of
from train.scoring.metrics import (
    Point,
    area,
    auroc,
    bootstrap,
    brier,
    calibration_error,
    cost_at,
    hull,
)
from train.scoring.replay import Remembering, Replayed, ladder_of, replay, tiers_of
from train.scoring.tracking import add_tracking, track

HELP: Final = "replay an artifact on rows that it never saw: cost, quality, calibration, baselines"
POINTS: Final = 41
ROUNDS: Final = 400
SHARES: Final = (0.5, 0.8, 0.9, 0.95)

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Sweep:
    """One method at rising settings: (points, n) quality and cost of each row."""

    correct: Numbers
    cost_usd: Numbers

    def points(self, rows: NDArray[np.int64] | None = None) -> list[Point]:
        """The curve over `rows`, or over all."""
        chosen = slice(None) if rows is None else rows
        cost, quality = self.cost_usd[:, chosen].mean(axis=1), self.correct[:, chosen].mean(axis=1)
        return [Point(float(c), float(q)) for c, q in zip(cost, quality, strict=True)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("--artifact", type=Path, required=True, metavar="DIR")
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="FILE")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write every figure to this file")
    parser.add_argument("--work", type=Path, default=WORK, help="where vectors are kept")
    add_tracking(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate, write, and print the gist."""
    told = evaluate(args.artifact, args.data, args.work, args.seed, encoder=load_encoder())
    if args.json:
        args.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    print(gist(told))
    track(
        args,
        "evaluate",
        params={name: told[name] for name in ("artifact", "data", "rows", "seed")},
        metrics={name: told[name] for name in ("methods", "named", "calibration", "domains")},
        documents={
            "evaluation.json": told,
            "manifest.json": Artifact.load(args.artifact).manifest,
        },
    )
    return 0


def evaluate(
    artifact_dir: Path, data: Sequence[Path], work: Path, seed: int, *, encoder: TextEncoder
) -> dict[str, Any]:
    """Every figure, as plain values."""
    examples = read_tier3(data)
    artifact, vectors = _known(artifact_dir, examples, work, encoder)
    tiers = tiers_of(examples)
    ladder = ladder_of(examples, tiers)
    router = _remembering(artifact, ladder)
    dial = sorted({*np.linspace(0.0, 1.0, POINTS).tolist(), *QUALITY.values()})
    runs = [replay(router, ladder, examples, vectors, quality) for quality in dial]
    sweeps = {
        "router": _swept(runs),
        **_baselines(router, ladder, examples, vectors),
    }
    named = {name: runs[dial.index(quality)] for name, quality in QUALITY.items()}
    return {
        "artifact": artifact.version,
        "data": file_hashes(data),
        "rows": len(examples),
        "seed": seed,
        "area": "between the cheapest and the dearest tier's cost, flat beyond the last point",
        "prices": {t.name: [str(t.price.in_usd_per_mtok), str(t.price.out_usd_per_mtok)]
                   for t in ladder.tiers},
        "curve": [
            {"quality": q, "usd_per_1k": 1e3 * float(r.cost_usd.mean()),
             "correct": float(r.correct.mean()), "asked": float(r.asked.mean())}
            for q, r in zip(dial, runs, strict=True)
        ],
        "methods": compare(sweeps, seed),
        "points": {
            name: sorted([1e3 * p.cost_usd, p.quality] for p in sweep.points())
            for name, sweep in sweeps.items()
        },
        "named": {name: _named(r, ladder) for name, r in named.items()},
        "calibration": _calibration(router, ladder, examples, vectors),
        "domains": _domains(named["balanced"], sweeps["single"], examples, tiers),
    }  # fmt: skip


def _baselines(
    router: Router, ladder: Ladder, examples: Sequence[Example], vectors: Vectors
) -> dict[str, Sweep]:
    """Each single tier, the oracle, routing on the question alone, and a cascade by one limit."""
    told = [[example.answers[tier.name] for tier in ladder.tiers] for example in examples]
    correct = np.array([[answer.correct or 0.0 for answer in row] for row in told])
    cost = np.array([[answer.cost_usd for answer in row] for row in told])
    estimates = [
        _estimate(router, ladder, example, vector)
        for example, vector in zip(examples, vectors, strict=True)
    ]
    right = np.array([estimate.right for estimate in estimates])
    foretold = np.array([estimate.cost_usd for estimate in estimates])
    prices = np.concatenate([np.geomspace(1e5, 1.0, 60), [0.0]])
    return {
        "single": Sweep(correct.T, cost.T),
        "oracle": _routed(correct, cost, [correct - price * cost for price in prices]),
        "question_only": _routed(correct, cost, [right - price * foretold for price in prices]),
        "limit_cascade": _limit_cascade(router, ladder, examples, vectors, correct, cost),
    }


def _routed(correct: Numbers, cost: Numbers, worths: Sequence[Numbers]) -> Sweep:
    """One tier a row, that of most worth, for each of `worths` (n, tiers)."""
    rows = np.arange(len(correct))
    chosen = [worth.argmax(axis=1) for worth in worths]
    return Sweep(
        np.array([correct[rows, c] for c in chosen]), np.array([cost[rows, c] for c in chosen])
    )


def _limit_cascade(  # noqa: PLR0917 - a private step of `_baselines`
    router: Router,
    ladder: Ladder,
    examples: Sequence[Example],
    vectors: Vectors,
    correct: Numbers,
    cost: Numbers,
) -> Sweep:
    """From the smallest tier upwards until an answer's chance reaches a limit, for many limits."""
    chance = np.zeros_like(correct)
    for row, (example, vector) in enumerate(zip(examples, vectors, strict=True)):
        for place in range(len(ladder)):
            held = range(place + 1)
            chance[row, place] = _estimate(router, ladder, example, vector, held).right[place]
    chance[:, -1] = 2.0
    spent, rows = cost.cumsum(axis=1), np.arange(len(cost))
    stops = [(chance >= limit).argmax(axis=1) for limit in np.linspace(0.0, 1.01, 61)]
    return Sweep(
        np.array([correct[rows, s] for s in stops]), np.array([spent[rows, s] for s in stops])
    )


def router_sweep(
    artifact_dir: Path, examples: Sequence[Example], work: Path, *, encoder: TextEncoder
) -> tuple[str, Sweep]:
    """The artifact's version, and what it makes of the rows at points of `quality` from 0 to 1."""
    artifact, vectors = _known(artifact_dir, examples, work, encoder)
    ladder = ladder_of(examples, tiers_of(examples))
    router = _remembering(artifact, ladder)
    return artifact.version, _swept(
        [replay(router, ladder, examples, vectors, q) for q in np.linspace(0.0, 1.0, POINTS)]
    )


def _known(
    artifact_dir: Path, examples: Sequence[Example], work: Path, encoder: TextEncoder
) -> tuple[Artifact, Vectors]:
    """The artifact, and the rows' vectors, which it knows."""
    artifact = Artifact.load(artifact_dir)
    artifact.check_encoder(encoder.encoder_id)
    return artifact, vectors_of(examples, encoder, work)


def _remembering(artifact: Artifact, ladder: Ladder) -> Router:
    """A router for many replays of the same rows."""
    router = Router(ladder=ladder, artifact=artifact, config=RouterConfig())
    assert router.estimator is not None, "it has an artifact"  # noqa: S101 - a bug of ours
    router.estimator = Remembering(router.estimator)
    return router


def _swept(runs: Sequence[Replayed]) -> Sweep:
    return Sweep(np.array([r.correct for r in runs]), np.array([r.cost_usd for r in runs]))


def compare(sweeps: Mapping[str, Sweep], seed: int) -> dict[str, Any]:
    """Area, cost at shares of the gain, intervals, and the router's lead over each baseline."""
    single = sweeps["single"]
    rows = single.correct.shape[1]

    def ends(chosen: NDArray[np.int64] | None) -> tuple[Point, Point]:
        points = single.points(chosen)
        return points[0], points[-1]

    def area_of(name: str, chosen: NDArray[np.int64] | None = None) -> float:
        points = sweeps[name].points(chosen)
        return area(hull(points) if name == "single" else points, *ends(chosen))

    def lead(name: str) -> Callable[[NDArray[np.int64]], float]:
        return lambda chosen: area_of("router", chosen) - area_of(name, chosen)

    def dollars_at(share: float, chosen: NDArray[np.int64]) -> float:
        found = cost_at(sweeps["router"].points(chosen), *ends(chosen), share)
        return float("nan") if found is None else 1e3 * found

    told: dict[str, Any] = {}
    for name, sweep in sweeps.items():
        points = hull(sweep.points()) if name == "single" else sweep.points()
        dollars = {f"{share:.2f}": cost_at(points, *ends(None), share) for share in SHARES}
        told[name] = {
            "auc": area_of(name),
            "usd_per_1k_at": {s: None if d is None else 1e3 * d for s, d in dollars.items()},
            "auc_interval": bootstrap(partial(area_of, name), rows, ROUNDS, seed),
        }
        if name not in {"router", "oracle"}:
            told[name]["router_leads_by"] = area_of("router") - area_of(name)
            told[name]["lead_interval"] = bootstrap(lead(name), rows, ROUNDS, seed)
    for share in (0.8, 0.95):
        told["router"][f"usd_per_1k_at_{share}_interval"] = bootstrap(
            partial(dollars_at, share), rows, ROUNDS, seed
        )
    return told


def _named(run: Replayed, ladder: Ladder) -> dict[str, Any]:
    return {
        "usd_per_1k": 1e3 * float(run.cost_usd.mean()),
        "correct": float(run.correct.mean()),
        "asked": float(run.asked.mean()),
        "served": {t.name: float(np.mean(run.served == p)) for p, t in enumerate(ladder.tiers)},
        "confidence_ece": calibration_error(run.confidence, run.correct),
        "confidence_brier": brier(run.confidence, run.correct),
    }


def _calibration(
    router: Router, ladder: Ladder, examples: Sequence[Example], vectors: Vectors
) -> dict[str, dict[str, float]]:
    """Every "is right" head: before any answer, with its own, and with all up to its own."""
    told: dict[str, dict[str, float]] = {}
    for place, tier in enumerate(ladder.tiers):
        label = np.array([example.answers[tier.name].correct or 0.0 for example in examples])
        for name, held in (("none", ()), ("own", (place,)), ("up to", tuple(range(place + 1)))):
            chance = np.array(
                [
                    _estimate(router, ladder, example, vector, held).right[place]
                    for example, vector in zip(examples, vectors, strict=True)
                ]
            )
            told[f"{tier.name}, given {name}"] = {
                "ece": calibration_error(chance, label),
                "brier": brier(chance, label),
                "brier_of_mean": brier(np.full_like(label, label.mean()), label),
                "auroc": auroc(chance, label),
            }
    return told


def _estimate(
    router: Router,
    ladder: Ladder,
    example: Example,
    vector: NDArray[np.float32],
    held: Iterable[int] = (),
) -> Estimate:
    """The router's own estimate, given these tiers' recorded answers."""
    assert router.estimator is not None, "it has an artifact"  # noqa: S101 - a bug of ours
    answers = {place: example.answers[ladder[place].name].view for place in held}
    estimate = router.estimator.estimate(example.task(vector, len(ladder), 0.5), answers)
    assert estimate is not None, "the vectors fit the artifact"  # noqa: S101 - checked on loading
    return estimate


def _domains(
    run: Replayed, single: Sweep, examples: Sequence[Example], tiers: Sequence[str]
) -> dict[str, dict[str, float]]:
    """By domain: rows, the balanced router's quality and cost, and each tier's quality."""
    names = np.array([example.domain for example in examples])
    return {
        str(name): {
            "rows": int(np.sum(names == name)),
            "correct": float(run.correct[names == name].mean()),
            "usd_per_1k": 1e3 * float(run.cost_usd[names == name].mean()),
            **{t: float(single.correct[p, names == name].mean()) for p, t in enumerate(tiers)},
        }
        for name in np.unique(names)
    }


def gist(told: Mapping[str, Any]) -> str:
    """A table for the terminal."""
    lines = [f"artifact {told['artifact']}, {told['rows']} rows", "", gist_of(told["methods"])]
    for name, point in told["named"].items():
        lines.append(f"{name:<14} {point['correct']:.4f} right at ${point['usd_per_1k']:.3f}/1k")
    return "\n".join(lines)


def gist_of(methods: Mapping[str, Any]) -> str:
    """What `compare` told, as a table for the terminal."""
    lines = [
        f"{'':<16} {'AUC':>6} {'95 %':>15}   $/1k at 50 %    80 %    90 %    95 %   router leads by"
    ]
    for name, figures in methods.items():
        low, high = figures["auc_interval"]
        dollars = (figures["usd_per_1k_at"][f"{share:.2f}"] for share in SHARES)
        shown = "  ".join(f"{d:6.3f}" if d is not None else "     -" for d in dollars)
        line = f"{name:<16} {figures['auc']:.4f} {low:.4f}-{high:.4f}      {shown}"
        if "lead_interval" in figures:
            ends = figures["lead_interval"]
            line += f"   {figures['router_leads_by']:+.4f} [{ends[0]:+.4f}, {ends[1]:+.4f}]"
        lines.append(line)
    return "\n".join(lines)
