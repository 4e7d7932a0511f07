"""`python -m train contest`: kinds of heads held against each other, cross-fitted, in two states.

Before any answer, and once the two cheapest tiers have answered, each kind says of each tier the
chance that it is right. Told are the area under ROC and Brier's score, with the interval of the
area's distance from the kind that serves, by the paired bootstrap over rows. All kinds see the same
folds, which part no family of questions.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from router.artifact import Held
from train.fitting.fit import WORK
from train.fitting.heads import RIDGE, Head, StateLearner
from train.fitting.learn import Rowset, folds_of, learn_linear, rowset
from train.fitting.trees import DEFAULT, Split, fit_trees
from train.samples.examples import Example
from train.samples.tier3 import read_tier3
from train.samples.vectors import load_encoder, vectors_of
from train.scoring.metrics import auroc, bootstrap, brier
from train.scoring.replay import tiers_of

HELP: Final = "what may beat the heads: area under ROC and Brier of each kind, cross-fitted"
CLUSTERS: Final = 64
NEIGHBOURS: Final = 40
ROUNDS: Final = 200
WORDS_RIDGE: Final = 10.0
SERVES: Final = "trees and ridge"

Numbers = NDArray[np.float64]
Kind = Callable[[int], Numbers]
"""By a tier's place: (n,) cross-fitted scores."""


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """One state's rows, and how they are parted."""

    rows: Rowset
    held: Held
    learner: StateLearner
    seen: NDArray[np.float32]
    splits: Sequence[Split]
    texts: Sequence[str]
    seed: int

    def crossed(
        self, place: int, fit: Callable[[NDArray[np.int64], NDArray[np.int64], Numbers], Numbers]
    ) -> Numbers:
        """`fit` takes rows to learn from, rows to speak of, and the tier's labels."""
        label = self.rows.labels[:, place]
        scores = np.zeros(len(label))
        for learnt, kept in self.splits:
            scores[kept] = fit(learnt, kept, label)
        return scores


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="FILE")
    parser.add_argument("--work", type=Path, default=WORK, help="where vectors are kept")


def run(args: argparse.Namespace) -> int:
    """Two states, every kind, a line each."""
    examples = read_tier3(args.data)
    tiers = tiers_of(examples)
    rows = rowset(examples, vectors_of(examples, load_encoder(), args.work), tiers)
    splits = folds_of(rows, args.seed)
    _, foretold = learn_linear(rows, splits)
    for held in ((), tuple(range(min(2, len(tiers))))):
        state = rows.state(held, foretold[:, : len(tiers)])
        learner = StateLearner(state, splits, args.seed, DEFAULT)
        texts = _texts(examples, [tiers[place] for place in held])
        stage = Stage(rows, held, learner, state.rows, splits, texts, args.seed)
        for told in _contest(stage, foretold, tiers):
            print(json.dumps(told) if args.json else gist(told), flush=True)
    return 0


def _texts(examples: Sequence[Example], tiers: Sequence[str]) -> list[str]:
    """The question, and the answers' words marked by their tier."""
    return [
        "\n".join([example.query, *(example.answers[tier].text[-3000:] for tier in tiers)])
        for example in examples
    ]


def _contest(stage: Stage, foretold: Numbers, tiers: Sequence[str]) -> list[dict[str, Any]]:
    kinds = _kinds(stage, foretold)
    places = range(len(tiers))
    scores = {
        name: [kind(place) for place in places]
        for name, kind in tqdm(kinds.items(), desc="kinds", delay=1)
    }
    joined = zip(scores[SERVES], scores["words"], strict=True)
    scores["trees, ridge and words"] = [(2 * one + other) / 3 for one, other in joined]
    told = []
    for name, each in scores.items():
        line: dict[str, Any] = {"state": [tiers[place] for place in stage.held], "kind": name}
        for place, tier in enumerate(tiers):
            label, score, served = stage.rows.labels[:, place], each[place], scores[SERVES][place]

            def apart(
                chosen: NDArray[np.int64],
                label: Numbers = label,
                score: Numbers = score,
                served: Numbers = served,
            ) -> float:
                one, other = (auroc(s[chosen], label[chosen]) for s in (score, served))
                return one - other

            line[tier] = {
                "auroc": auroc(score, label),
                "brier": brier(np.clip(score, 0.0, 1.0), label),
                "apart": bootstrap(apart, len(label), ROUNDS, stage.seed),
            }
        told.append(line)
    return told


def _kinds(stage: Stage, foretold: Numbers) -> dict[str, Kind]:
    vectors = stage.rows.question[:, : stage.rows.dim]
    once = np.ones(len(vectors))
    wide = np.concatenate([vectors, stage.seen], axis=1)
    words = TfidfVectorizer(
        sublinear_tf=True, min_df=5, max_features=60_000, ngram_range=(1, 2),
        token_pattern=r"(?u)\b\w+\b|[^\w\s]",  # noqa: S106 - a pattern, no password
    ).fit_transform(stage.texts)  # fmt: skip

    def ridge(place: int) -> Numbers:
        scaled = StandardScaler().fit_transform(stage.seen)
        return stage.crossed(
            place,
            lambda learnt, kept, y: (
                Ridge(RIDGE).fit(scaled[learnt], y[learnt]).predict(scaled[kept])
            ),
        )

    def factors(place: int) -> Numbers:
        # One number of the question and one of the tier: the ridge's chances brought to rank one.
        mean = foretold[:, : stage.rows.labels.shape[1]].mean(axis=0)
        left, size, right = np.linalg.svd(foretold[:, : len(mean)] - mean, full_matrices=False)
        told: Numbers = mean[place] + left[:, 0] * size[0] * right[0, place]
        return told

    def clusters(place: int) -> Numbers:
        def fit(learnt: NDArray[np.int64], kept: NDArray[np.int64], label: Numbers) -> Numbers:
            means = MiniBatchKMeans(CLUSTERS, random_state=stage.seed, n_init=1).fit(
                vectors[learnt]
            )
            usual = np.full(CLUSTERS, label[learnt].mean())
            for number in range(CLUSTERS):
                inside = label[learnt][means.labels_ == number]
                usual[number] = inside.mean() if len(inside) else usual[number]
            told: Numbers = usual[means.predict(vectors[kept])]
            return told

        return stage.crossed(place, fit)

    def neighbours(place: int) -> Numbers:
        def fit(learnt: NDArray[np.int64], kept: NDArray[np.int64], label: Numbers) -> Numbers:
            near = vectors[kept] @ vectors[learnt].T
            nearest = np.argpartition(-near, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
            told: Numbers = label[learnt][nearest].mean(axis=1)
            return told

        return stage.crossed(place, fit)

    def perceptron(place: int) -> Numbers:
        scaled = StandardScaler().fit_transform(wide)

        def fit(learnt: NDArray[np.int64], kept: NDArray[np.int64], label: Numbers) -> Numbers:
            net = MLPRegressor(
                hidden_layer_sizes=(64,), alpha=3.0, early_stopping=True, random_state=stage.seed
            )
            told: Numbers = net.fit(scaled[learnt], label[learnt]).predict(scaled[kept])
            return told

        return stage.crossed(place, fit)

    return {
        SERVES: lambda place: stage.learner.crossed(
            Head(label=stage.rows.labels[:, place], weight=once)
        ),
        "trees": lambda place: stage.crossed(
            place,
            lambda learnt, kept, y: fit_trees(
                stage.seen[learnt], y[learnt], stage.seed, DEFAULT
            ).predict(stage.seen[kept]),
        ),
        "ridge": ridge,
        "perceptron": perceptron,
        "neighbours": neighbours,
        "clusters": clusters,
        "factors": factors,
        "words": lambda place: stage.crossed(
            place,
            lambda learnt, kept, y: Ridge(WORDS_RIDGE, solver="sparse_cg", tol=1e-3)
            .fit(words[learnt], y[learnt])
            .predict(words[kept]),
        ),
    }  # fmt: skip


def gist(told: dict[str, Any]) -> str:
    """One line for the terminal."""
    shown = [f"{'+'.join(told['state']) or 'no answer':<14} {told['kind']:<24}"]
    for tier, figures in told.items():
        if tier not in {"state", "kind"}:
            low, high = figures["apart"]
            shown.append(
                f"{tier} {figures['auroc']:.4f} [{low:+.4f}, {high:+.4f}] {figures['brier']:.4f}"
            )
    return "  ".join(shown)
