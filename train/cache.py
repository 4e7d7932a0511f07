"""Labelled pairs of questions in, the cache's risk model and its operating table out.

Fitted on the equivalence files alone. The written look-alikes were tried as further rows, at a
fifth and at half of the weight: the cross-fitted coverage fell on every file and their own AUC rose
from .62 to .66, so they are evaluated on and not fitted on.
Every figure here is cross-fitted: a row is judged by a model that has not seen it. Rows of a file
are weighed so that its bands stand as they do in its corpus, and the files weigh the same.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta  # type: ignore[import-untyped] # scipy ships no types
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from cache.facets import facets
from cache.guard import compare
from cache.risk import CONFIDENCE, DEFAULT_PATH, FORMAT, INPUTS, OperatingPoint, RiskModel, inputs
from sidecar.encoder.bundle import EncoderConfig
from sidecar.encoder.onnx import OnnxEncoder
from sidecar.errors import EncoderError
from train.errors import DataError

HELP: Final = "calibrate the cache's risk of a false hit from labelled pairs of questions"

FILES: Final = ("equivalence_qqp", "equivalence_qqp2", "equivalence_b77", "equivalence_nlupp")
BOUNDS: Final = (0.01, 0.02, 0.05)
GRID: Final = tuple(float(hits) for hits in np.geomspace(40, 1600, 17).round())
"""Chosen before any label is seen: the effective hits at which the operating table has a point."""

_STRENGTH: Final = 1.0
"""Inverse of the ridge. Measured: .05, .3 and 1 differ by less than .003 AUC on each file."""

_FOLDS: Final = 5
_ROUNDS: Final = 3
"""Chosen: three shuffles of five folds, their risks averaged."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Labelled pairs.

    Attributes:
        x: (n, inputs) float64, in the order of `cache.risk.INPUTS`.
        good: (n,) bool: the kept answer would serve.
        vetoed: (n,) bool.
        file: (n,) int, place in `FILES`.
        share: (n,) float64: weight within the file; sums to the share of questions with a pair.
    """

    x: Numbers
    good: NDArray[np.bool_]
    vetoed: NDArray[np.bool_]
    file: NDArray[np.int64]
    share: Numbers

    @property
    def weight(self) -> Numbers:
        """(n,) float64: the files weigh the same, one on average."""
        totals = np.bincount(self.file, self.share)
        return self.share / totals[self.file] * len(self.file) / np.count_nonzero(totals)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own flags."""
    parser.add_argument("--data", type=Path, default=Path("../shared/data/cache"))
    parser.add_argument("--out", type=Path, default=DEFAULT_PATH, help="the risk model's file")
    parser.add_argument("--evaluate", action="store_true", help="measure only, write nothing")


def run(args: argparse.Namespace) -> int:
    """Fit, measure, and write unless told otherwise.

    Raises:
        DataError: A file of labelled pairs is missing or torn.
    """
    pairs = load_pairs([args.data / f"{name}.jsonl.gz" for name in FILES])
    risks = cross_fitted(pairs, args.seed)
    restated = restated_bound()
    model = fit(pairs, risks, restated)
    report = evaluate(pairs, risks, model, args.seed)
    report["written_groups"] = _written(args.data / "written_groups.jsonl.gz", model)
    if not args.evaluate:
        args.out.write_text(json.dumps(_as_json(model), indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=None if args.json else 1))
    return 0


def load_pairs(paths: Sequence[Path]) -> Pairs:
    """The rows of equivalence files; a disputed row counts as not served by the kept answer."""
    x, good, vetoed, file, share = [], [], [], [], []
    for place, path in enumerate(paths):
        rows = _rows(path)
        in_band = Counter(row["bucket"] for row in rows)
        for row in rows:
            comparison = compare(facets(row["cached"]), facets(row["query"]))
            x.append(inputs(row["cosine"], comparison.values))
            good.append(bool(row["label"]) and not row.get("disputed"))
            vetoed.append(bool(comparison.veto))
            file.append(place)
            share.append(row["population_share"] / in_band[row["bucket"]])
    return Pairs(np.array(x), np.array(good), np.array(vetoed), np.array(file), np.array(share))


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]
    except (OSError, EOFError, ValueError) as fault:
        raise DataError(f"{path} cannot be read: {fault}") from fault


def _fitted(pairs: Pairs, rows: NDArray[Any]) -> tuple[Numbers, float]:
    """Weights and intercept for unscaled inputs: (inputs,) float64, and one number."""
    x = pairs.x[rows]
    mean, spread = x.mean(axis=0), x.std(axis=0) + 1e-9
    head = LogisticRegression(C=_STRENGTH, max_iter=5000)
    head.fit((x - mean) / spread, ~pairs.good[rows], sample_weight=pairs.weight[rows])
    weights = head.coef_[0] / spread
    return weights, float(head.intercept_[0] - weights @ mean)


def cross_fitted(pairs: Pairs, seed: int) -> Numbers:
    """(n,) float64: each row's raw logit of being wrong, by models that have not seen it."""
    logits = np.zeros(len(pairs.good))
    for turn in range(_ROUNDS):
        folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed + turn)
        for rows, held in folds.split(pairs.x, 2 * pairs.file + pairs.good):
            weights, intercept = _fitted(pairs, rows)
            logits[held] += (pairs.x[held] @ weights + intercept) / _ROUNDS
    return logits


def fit(pairs: Pairs, logits: Numbers, restated_risk: float) -> RiskModel:
    """The model fitted on all rows; its scale and table come from the cross-fitted `logits`."""
    open_rows = ~pairs.vetoed
    platt = LogisticRegression(C=1e6)
    platt.fit(
        logits[open_rows, np.newaxis],
        ~pairs.good[open_rows],
        sample_weight=pairs.weight[open_rows],
    )
    scale, offset = float(platt.coef_[0, 0]), float(platt.intercept_[0])
    weights, intercept = _fitted(pairs, np.arange(len(pairs.good)))
    return RiskModel(
        intercept=intercept,
        weights=tuple(map(float, weights)),
        scale=scale,
        offset=offset,
        restated_risk=restated_risk,
        points=operating_points(pairs, risks_of(pairs, scale * logits + offset)),
    )


def risks_of(pairs: Pairs, logits: Numbers) -> Numbers:
    """(n,) float64; infinite where a veto forbids."""
    return np.where(pairs.vetoed, np.inf, 1.0 / (1.0 + np.exp(-logits)))


def operating_points(pairs: Pairs, risks: Numbers) -> tuple[OperatingPoint, ...]:
    """One point for each step of `GRID` that the rows reach."""
    order = np.argsort(risks, kind="stable")[: int(np.isfinite(risks).sum())]
    weight, wrong = pairs.weight[order], ~pairs.good[order]
    served = np.cumsum(weight)
    hits = served**2 / np.cumsum(weight**2)  # Kish's effective number
    wrong_ratio = np.cumsum(weight * wrong) / served
    points = []
    for wanted in GRID:
        row = int(np.searchsorted(hits, wanted))
        if row < len(order):
            n, ratio = float(hits[row]), float(wrong_ratio[row])
            points.append(
                OperatingPoint(
                    risk=round(float(risks[order[row]]), 6),
                    coverage=round(_coverage(pairs, order[: row + 1]), 5),
                    wrong_ratio=round(ratio, 5),
                    upper=round(upper_bound(ratio * n, n), 5),
                    hits=round(n, 1),
                )
            )
    return tuple(points)


def _coverage(pairs: Pairs, rows: NDArray[Any]) -> float:
    """Share of all questions that `rows` are, the mean over the files."""
    shares = np.bincount(pairs.file[rows], pairs.share[rows], minlength=int(pairs.file.max()) + 1)
    return float(np.mean(shares[np.unique(pairs.file)]))


def upper_bound(wrong: float, hits: float, confidence: float = CONFIDENCE) -> float:
    """Clopper and Pearson's one-sided upper bound of a share; takes effective numbers too."""
    return 1.0 if wrong >= hits else float(beta.ppf(confidence, wrong + 1.0, hits - wrong))


_SAYINGS: Final = {
    "plus": (
        "What is {a} plus {b}?",
        "{a} + {b}",
        "sum of {a} and {b}",
        "How much is {A} plus {B}?",
    ),
    "minus": (
        "What is {a} minus {b}?",
        "{a} - {b}",
        "subtract {b} from {a}",
        "compute {A} minus {B}",
    ),
    "times": (
        "What is {a} times {b}?",
        "{a} * {b}",
        "multiply {a} by {b}",
        "Work out {A} times {B}.",
    ),
    "divided": (
        "What is {a} divided by {b}?",
        "{a} / {b}",
        "divide {a} by {b}",
        "{A} divided by {B}",
    ),
    "to miles": (
        "convert {a} km to miles",
        "How many miles are in {a} kilometers?",
        "{A} km in miles",
    ),
    "to km": (
        "convert {a} miles to km",
        "How many kilometres are in {a} miles?",
        "{A} miles in km",
    ),
}
_WORDS: Final = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven")


def restated_bound() -> float:
    """Upper bound of the share of wrong pairs among generated calculations called restated.

    The pairs that agree by construction are right, all others wrong; every two of one pool of
    sayings over small numbers are compared.
    """
    pool = [
        ((saying, a, b if "to" not in saying else 0), facets(_said(text, a, b)))
        for saying, texts in _SAYINGS.items()
        for text in texts
        for a in (2, 3, 5, 11)
        for b in (2, 4, 7)
    ]
    wrong = hits = 0
    for (truth, one), (other_truth, other) in combinations(pool, 2):
        if compare(one, other).is_restated:
            hits += 1
            wrong += _meaning(*truth) != _meaning(*other_truth)
    return round(upper_bound(wrong, hits), 6)


def _said(text: str, a: int, b: int) -> str:
    return text.format(a=a, b=b, A=_WORDS[a - 2], B=_WORDS[b - 2])


def _meaning(saying: str, a: int, b: int) -> tuple[str, int, int]:
    low, high = sorted((a, b))
    return (saying, low, high) if saying in {"plus", "times"} else (saying, a, b)


def evaluate(pairs: Pairs, logits: Numbers, model: RiskModel, seed: int) -> dict[str, Any]:
    """AUC and coverage of the cosine alone and of the risk, on each file; intervals are 95 %."""
    risks = risks_of(pairs, model.scale * logits + model.offset)
    left_out = _left_out(pairs)
    scores = {"cosine": -pairs.x[:, 0], "risk": risks, "risk, file left out": left_out}
    report: dict[str, Any] = {"restated_risk": model.restated_risk, "files": {}, "limits": {}}
    for place, name in enumerate(FILES):
        rows = np.flatnonzero(pairs.file == place)
        report["files"][name] = {
            kind: figures(pairs, score, rows, seed) for kind, score in scores.items()
        }
    for bound in BOUNDS:
        limit = model.limit(bound)
        served = risks <= (limit if limit is not None else -1.0)
        report["limits"][str(bound)] = {
            "risk": limit,
            "files": {
                name: _share_wrong(pairs, np.flatnonzero(served & (pairs.file == place)))
                for place, name in enumerate(FILES)
            },
        }
    report["points"] = [asdict(point) for point in model.points]
    return report


def _left_out(pairs: Pairs) -> Numbers:
    """(n,) float64: each file's risks by a model fitted on the other files."""
    risks = np.zeros(len(pairs.good))
    for place in np.unique(pairs.file):
        held = pairs.file == place
        weights, intercept = _fitted(pairs, np.flatnonzero(~held))
        risks[held] = risks_of(pairs, pairs.x @ weights + intercept)[held]
    return risks


def figures(pairs: Pairs, score: Numbers, rows: NDArray[Any], seed: int) -> dict[str, Any]:
    """AUC and coverage at each bound of a score, lowest served first, with 95 % intervals."""

    def measure(chosen: NDArray[Any]) -> list[float]:
        rank = -np.where(np.isfinite(score[chosen]), score[chosen], 1e3)
        auc = roc_auc_score(pairs.good[chosen], rank, sample_weight=pairs.share[chosen])
        return [float(auc), *(_coverage_at(pairs, score, chosen, bound) for bound in BOUNDS)]

    dice = np.random.default_rng(seed)
    again = np.array([measure(dice.choice(rows, len(rows))) for _ in range(200)])
    low, high = np.quantile(again, (0.025, 0.975), axis=0)
    names = ("auc", *(f"coverage_at_{bound}" for bound in BOUNDS))
    return {
        name: [round(float(value), 3) for value in three]
        for name, three in zip(names, zip(measure(rows), low, high, strict=True), strict=True)
    }


def _coverage_at(pairs: Pairs, score: Numbers, rows: NDArray[Any], bound: float) -> float:
    """The largest share of questions served while no more than `bound` of the hits are wrong."""
    order = rows[np.argsort(score[rows], kind="stable")]
    order = order[np.isfinite(score[order])]
    served = np.cumsum(pairs.share[order])
    wrong = np.cumsum(pairs.share[order] * ~pairs.good[order])
    return float(np.max(served[wrong <= bound * served], initial=0.0))


def _share_wrong(pairs: Pairs, rows: NDArray[Any]) -> dict[str, float]:
    share, wrong = pairs.share[rows], ~pairs.good[rows]
    total = float(share.sum())
    hits = total**2 / float((share**2).sum()) if total else 0.0
    ratio = float((share * wrong).sum()) / total if total else 0.0
    bounds = (
        beta.ppf(0.025, ratio * hits, hits * (1 - ratio) + 1),
        upper_bound(ratio * hits, hits, 0.975),
    )
    low, high = (0.0 if np.isnan(edge) else float(edge) for edge in bounds)
    figures = {"coverage": total, "hits": len(rows), "wrong": int(wrong.sum())}
    figures |= {"wrong_ratio": ratio, "low": low, "high": high}
    return {name: round(value, 4) for name, value in figures.items()}


def _written(path: Path, model: RiskModel) -> dict[str, Any] | str:
    """AUC on written look-alikes, which nothing here was fitted on; needs the encoder's bundle."""
    try:
        encoder = OnnxEncoder.load(EncoderConfig())
    except EncoderError as fault:
        return f"not measured: {fault}"
    cosine, risk, good = [], [], []
    for group in _rows(path):
        same = [group["base"], *group["same"]]
        texts = [*same, *(near["text"] for near in group["near"])]
        vectors, parts = encoder.encode(texts).vectors, [facets(text) for text in texts]
        for one, other in combinations(range(len(texts)), 2):
            if one >= len(same):
                continue
            similarity = float(vectors[one] @ vectors[other])
            comparison = compare(parts[one], parts[other])
            cosine.append(similarity)
            risk.append(2.0 if comparison.veto else model.risk(similarity, comparison))
            good.append(other < len(same))
    served = {}
    for bound in BOUNDS:
        limit = model.limit(bound)
        hits = [right for right, at in zip(good, risk, strict=True) if at <= (limit or -1.0)]
        served[str(bound)] = {"hits": len(hits), "wrong": hits.count(False)}
    return {
        "pairs": len(good),
        "auc_cosine": round(float(roc_auc_score(good, cosine)), 3),
        "auc_risk": round(float(roc_auc_score(good, -np.array(risk))), 3),
        "served": served,
    }


def _as_json(model: RiskModel) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "made_by": "python -m train cache",
        "fitted_on": list(FILES),
        "inputs": list(INPUTS),
        **asdict(model),
    }
