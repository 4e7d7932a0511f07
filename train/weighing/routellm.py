"""`python -m train routellm`: RouteLLM's outcome files in, APGR at a number of labels out.

Two models, one question, whether each was right: which questions should the strong one have? The
rule is a ridge in three kernels, each worth a third: the encoder's vector, the question's signals,
its words and pairs of words. `--answers` gives it the weak model's answer in hand as well (its
signals and words), as in a cascade that always asks the weak one first; `--subjects` the subject
that the file names, as an application's tag might. How hard it shrinks is
chosen within the labels, by five folds. The rest of the file is what is reported on.

APGR: the mean, over the share of questions sent to the strong model, of how much of its gain over
the weak one is had. Here it is exact: questions in order of their score, the trapezoid over all
shares, both ends included. Source: Ong et al., "RouteLLM" (2024), section 3.2, who average ten
points. A random order has 0.5.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer

from router.signals import question_signals, read_answer, read_question
from train.errors import DataError
from train.fitting.fit import WORK
from train.samples.rows import opened
from train.samples.vectors import encode_texts, load_encoder

HELP: Final = "RouteLLM's outcome files: APGR at a number of labels, beside words alone"
NEAR: Final = 0.5
"""Chosen: of the kernel exp((cosine - 1) / 0.5); 0.2 and the plain cosine are within .004."""
SHRINK: Final = (1.0, 3.0, 10.0, 30.0)
FOLDS: Final = 5
LIMIT: Final = 4.0
"""Chosen: standard deviations beyond which a signal says no more."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """One file.

    Attributes:
        queries: The questions.
        answers: The weak model's answers; empty texts if the file has none.
        subjects: What each is about; empty texts likewise.
        weak: (n,) whether it was right.
        strong: (n,) likewise.
    """

    queries: list[str]
    answers: list[str]
    subjects: list[str]
    weak: Numbers
    strong: Numbers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("--data", type=Path, required=True, metavar="FILE")
    parser.add_argument("--labels", type=int, nargs="+", required=True, help="how many are learnt")
    parser.add_argument("--draws", type=int, default=5, help="of the rows that are learnt from (5)")
    parser.add_argument("--answers", action="store_true", help="the weak model's answer is at hand")
    parser.add_argument("--subjects", action="store_true", help="and so is the question's subject")
    parser.add_argument("--work", type=Path, default=WORK, help="where vectors are kept")


def run(args: argparse.Namespace) -> int:
    """Draw, learn, score; a line for each number of labels."""
    told = _read(args.data)
    if args.answers and not any(told.answers):
        raise DataError(f"{args.data} has no answers of the weak model")
    if args.subjects and not any(told.subjects):
        raise DataError(f"{args.data} names no subjects")
    kernels = _kernels(told, args.work, with_answers=args.answers)
    if args.subjects:
        every = np.unique(told.subjects, return_inverse=True)[1]
        kernels.append(Kernel(np.eye(int(every.max()) + 1)[every]))
    words = [_words(told.queries)]
    for labels in args.labels:
        if not FOLDS <= labels < len(told.weak):
            raise DataError(f"--labels must lie between {FOLDS} and {len(told.weak) - 1}")
        found = {
            "rows": len(told.weak),
            "labels": labels,
            "ours": _drawn(kernels, told, labels, args.draws, args.seed),
            "words alone": _drawn(words, told, labels, args.draws, args.seed),
            "oracle": apgr(told.strong - told.weak, told.weak, told.strong),
        }
        print(json.dumps(found) if args.json else gist(found), flush=True)
    return 0


def apgr(score: Numbers, weak: Numbers, strong: Numbers) -> float:
    """Average performance gap recovered when questions go to the strong model by falling score."""
    gained = (strong - weak)[np.argsort(-score, kind="stable")]
    curve = np.concatenate([[0.0], np.cumsum(gained)]) / gained.sum()
    return float(np.trapezoid(curve, np.linspace(0.0, 1.0, len(curve))))


def gist(found: dict[str, Any]) -> str:
    """One line for the terminal."""
    shown = [f"{found['labels']} labels of {found['rows']}"]
    for name in ("ours", "words alone"):
        each = found[name]["apgr"]
        shown.append(f"{name} {np.mean(each):.4f} ({min(each):.4f} to {max(each):.4f})")
    return "; ".join([*shown, f"oracle {found['oracle']:.4f}"])


def _read(path: Path) -> Outcomes:
    try:
        with opened(path) as file:
            rows = [orjson.loads(line) for line in file]
        return Outcomes(
            [str(row["query"]) for row in rows],
            [str(row.get("weak_answer") or "") for row in rows],
            [str(row.get("domain") or "") for row in rows],
            np.array([float(row["weak"]) for row in rows]),
            np.array([float(row["strong"]) for row in rows]),
        )
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError, ValueError) as fault:
        raise DataError(f"{path} is no file of RouteLLM's outcomes: {fault!r}") from fault


class Kernel:
    """Likeness of rows, from features of every row of a file."""

    def __init__(self, features: Any, *, spread: float | None = None) -> None:
        """`features` (n, width), dense or sparse; `spread` makes it Gaussian or exponential."""
        self._features = features
        self._spread = spread

    def between(self, rows: NDArray[np.int64], others: NDArray[np.int64]) -> Numbers:
        """(rows, others): the likeness of each to each."""
        product = self._features[rows] @ self._features[others].T
        dense = np.asarray(product.todense() if hasattr(product, "todense") else product, float)
        return dense if self._spread is None else np.exp((dense - 1.0) / self._spread)


class Gaussian(Kernel):
    """exp of minus half the mean squared distance of unit columns."""

    def between(self, rows: NDArray[np.int64], others: NDArray[np.int64]) -> Numbers:
        """See Kernel."""
        one, other = self._features[rows], self._features[others]
        squared = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1) - 2 * one @ other.T
        likeness: Numbers = np.exp(-np.maximum(squared, 0.0) / (2.0 * one.shape[1]))
        return likeness


def _kernels(told: Outcomes, work: Path, *, with_answers: bool) -> list[Kernel]:
    asked = np.array([question_signals(query) for query in told.queries])
    kernels = [
        Kernel(encode_texts(told.queries, load_encoder(), work), spread=NEAR),
        Gaussian(_unit(asked)),
        _words(told.queries),
    ]
    if with_answers:
        read = [
            read_answer(read_question(query), answer, len(answer) // 4).signals
            for query, answer in zip(told.queries, told.answers, strict=True)
        ]
        kernels += [Gaussian(_unit(np.array(read))), _words(told.answers)]
    return kernels


def _words(texts: Sequence[str]) -> Kernel:
    pattern = r"(?u)\b\w+\b|[^\w\s]"
    model = TfidfVectorizer(sublinear_tf=True, min_df=2, ngram_range=(1, 2), token_pattern=pattern)
    return Kernel(model.fit_transform(texts))


def _unit(signals: Numbers) -> Numbers:
    unit: Numbers = np.clip(
        (signals - signals.mean(axis=0)) / (signals.std(axis=0) + 1e-6), -LIMIT, LIMIT
    )
    return unit


def _drawn(
    kernels: Sequence[Kernel], told: Outcomes, labels: int, draws: int, seed: int
) -> dict[str, Any]:
    """APGR on the rows not drawn, and the shrinking chosen, by draw."""
    scores, shrinks = [], []
    for draw in range(draws):
        order = np.random.default_rng([seed, draw]).permutation(len(told.weak))
        learnt, rest = order[:labels], order[labels:]
        target = told.strong[learnt] - told.weak[learnt]
        known = np.mean([kernel.between(learnt, learnt) for kernel in kernels], axis=0)
        asked = np.mean([kernel.between(rest, learnt) for kernel in kernels], axis=0)
        shrink = _chosen(known, target)
        scores.append(
            apgr(_ridge(known, target, asked, shrink), told.weak[rest], told.strong[rest])
        )
        shrinks.append(shrink)
    return {"apgr": scores, "shrink": shrinks}


def _ridge(known: Numbers, target: Numbers, asked: Numbers, shrink: float) -> Numbers:
    mean = target.mean()
    weights = np.linalg.solve(known + shrink * np.eye(len(target)), target - mean)
    scores: Numbers = asked @ weights + mean
    return scores


def _chosen(known: Numbers, target: Numbers) -> float:
    """The shrinking of least squared error over folds of the labels."""
    fold = np.arange(len(target)) % FOLDS
    errors = []
    for shrink in SHRINK:
        error = 0.0
        for number in range(FOLDS):
            fit, kept = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
            told = _ridge(known[np.ix_(fit, fit)], target[fit], known[np.ix_(kept, fit)], shrink)
            error += float(((told - target[kept]) ** 2).sum())
        errors.append(error)
    return SHRINK[int(np.argmin(errors))]
