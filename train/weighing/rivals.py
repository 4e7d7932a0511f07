"""`python -m train rivals`: an artifact beside the rules that others have published.

Each rule gets the same signals, the same kinds of heads and the same rows to learn from; what it
has to choose (limits, covariances) is chosen on those rows, cross-fitted, and then held against
rows that none of them saw. Intervals are 95 %, paired, by the bootstrap over rows.

- **frugal**: FrugalGPT (Chen et al. 2023, section 3): a scorer of question and answer for each
  tier; lists of up to three tiers in any order; for each budget the list and the limits that are
  right most often within it, by a grid in quantile space.
- **cascade_routing**: Dekoninck et al. (2024), section 4: in every state all sets of tiers that
  hold those asked are weighed by the mean of the maximum of Gaussians, less the price of their
  cost. The covariance is that of what the answers still to come changed, on the rows learnt from.
- **question_only**: one tier, by the chance that it is right and its foretold cost.
- **limit**: from the cheapest tier up until an answer's chance reaches one limit.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations, product
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from router.artifact import Held, subsets
from router.estimate import MAX_LOG_TOKENS
from train.errors import DataError
from train.fitting.fit import WORK
from train.fitting.heads import Head, StateLearner
from train.fitting.learn import Rowset, folds_of, learn_linear, rowset
from train.fitting.trees import DEFAULT
from train.samples.tier3 import read_tier3
from train.samples.vectors import load_encoder, vectors_of
from train.scoring.replay import ladder_of, tiers_of
from train.weighing.evaluate import Sweep, compare, gist_of, router_sweep

HELP: Final = "hold an artifact against FrugalGPT's rule, cascade routing and others, fitted alike"
BUDGETS: Final = 24
GRID: Final = 40
"""Source: FrugalGPT's code, `optimizer.py`: 40 points for each limit."""
DRAWS: Final = 256
"""Chosen: a maximum's mean is then known to a twentieth of its spread; the draws are the same for
all, so that sets compare."""
PRICES: Final = np.concatenate([np.geomspace(2e4, 1.0, 40), [0.0]])

Numbers = NDArray[np.float64]
Chances = Mapping[Held, Numbers]
"""By the tiers that have answered: (n, tiers), the chance that each tier's answer is right."""


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """What every rule goes by, for some rows.

    Attributes:
        chances: See there.
        foretold_usd: (n, tiers), before any answer.
        correct: (n, tiers).
        cost_usd: (n, tiers).
    """

    chances: Chances
    foretold_usd: Numbers
    correct: Numbers
    cost_usd: Numbers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("--artifact", type=Path, required=True, metavar="DIR")
    parser.add_argument("--fit", type=Path, nargs="+", required=True, metavar="FILE")
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="FILE")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write every figure to this file")
    parser.add_argument("--work", type=Path, default=WORK, help="where vectors are kept")


def run(args: argparse.Namespace) -> int:
    """Fit the rivals, replay all, write, and print the table."""
    encoder = load_encoder()
    learnt, told = read_tier3(args.fit), read_tier3(args.data)
    if {example.query for example in learnt} & {example.query for example in told}:
        raise DataError("--fit and --data share questions")
    tiers = tiers_of(learnt)
    rows = [
        rowset(examples, vectors_of(examples, encoder, args.work), tiers)
        for examples in (learnt, told)
    ]
    costs = [
        np.array([[example.answers[tier].cost_usd for tier in tiers] for example in examples])
        for examples in (learnt, told)
    ]
    prices = [
        np.array([float(p.in_usd_per_mtok), float(p.out_usd_per_mtok)]) / 1e6
        for p in (tier.price for tier in ladder_of(learnt, tiers).tiers)
    ]
    tokens_in = [np.array([e.tokens_in for e in examples], float) for examples in (learnt, told)]
    own, other = _fitted(rows[0], rows[1], costs, prices, tokens_in, args.seed)
    version, router = router_sweep(args.artifact, told, args.work, encoder=encoder)
    sweeps = {"router": router, **_sweeps(own, other)}
    methods = compare(sweeps, args.seed)
    found = {"artifact": version, "rows": len(told), "methods": methods}
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(gist_of(methods))
    return 0


def _fitted(  # noqa: PLR0917 - a private step of `run`
    learnt: Rowset,
    told: Rowset,
    costs: Sequence[Numbers],
    prices: Sequence[Numbers],
    tokens_in: Sequence[Numbers],
    seed: int,
) -> tuple[Known, Known]:
    """What is known of the rows learnt from, cross-fitted, and of the others."""
    splits, tiers = folds_of(learnt, seed), learnt.labels.shape[1]
    linear, crossed = learn_linear(learnt, splits)
    scores = (told.question - linear["linear_centre"]) @ linear["linear_weights"]
    scores = scores.astype(np.float64) + linear["linear_bias"]
    chances: tuple[dict[Held, Numbers], dict[Held, Numbers]] = ({}, {})
    once = np.ones(len(learnt.labels))
    heads = [Head(label=learnt.labels[:, place], weight=once) for place in range(tiers)]
    for held in tqdm(subsets(tiers), desc="states", delay=1):
        learner = StateLearner(learnt.state(held, crossed[:, :tiers]), splits, seed, DEFAULT)
        other = told.state(held, scores[:, :tiers])
        chances[0][held] = np.stack([learner.crossed(head) for head in heads], axis=1)
        chances[1][held] = np.stack([learner.elsewhere(head, other) for head in heads], axis=1)
    price_in, price_out = np.array(prices).T

    def foretold(log_tokens: Numbers, asked: Numbers) -> Numbers:
        tokens = np.expm1(np.clip(log_tokens, 0.0, MAX_LOG_TOKENS))
        result: Numbers = asked[:, None] * price_in + tokens * price_out
        return result

    return (
        Known(chances[0], foretold(crossed[:, tiers:], tokens_in[0]), learnt.labels, costs[0]),
        Known(chances[1], foretold(scores[:, tiers:], tokens_in[1]), told.labels, costs[1]),
    )


def _sweeps(learnt: Known, told: Known) -> dict[str, Sweep]:
    return {
        "single": Sweep(told.correct.T, told.cost_usd.T),
        "frugal": frugal(learnt, told),
        "cascade_routing": cascade_routing(learnt, told),
        "question_only": _stacked(
            _taken(told, (told.chances[()] - price * told.foretold_usd).argmax(axis=1)[:, None])
            for price in PRICES
        ),
        "limit": _stacked(
            _listed(told, tuple(range(told.correct.shape[1])), [limit] * told.correct.shape[1])
            for limit in np.linspace(0.0, 1.0, 61)
        ),
    }


def _stacked(runs: Iterable[tuple[Numbers, Numbers]]) -> Sweep:
    correct, cost = zip(*runs, strict=True)
    return Sweep(np.array(correct), np.array(cost))


def _taken(known: Known, asked: NDArray[np.int64]) -> tuple[Numbers, Numbers]:
    """Quality of the last and cost of all of the tiers `asked`, (n, k)."""
    rows = np.arange(len(asked))
    return known.correct[rows, asked[:, -1]], np.take_along_axis(known.cost_usd, asked, axis=1).sum(
        axis=1
    )


def _listed(known: Known, order: Sequence[int], limits: Sequence[float]) -> tuple[Numbers, Numbers]:
    """One tier after the other until an answer's own chance reaches its limit."""
    count = len(known.correct)
    served, spent, open_ = np.zeros(count, np.int64), np.zeros(count), np.ones(count, bool)
    for place, limit in zip(order, limits, strict=True):
        served[open_] = place
        spent[open_] += known.cost_usd[open_, place]
        open_ &= known.chances[place,][:, place] < limit
    return known.correct[np.arange(count), served], spent


def frugal(learnt: Known, told: Known) -> Sweep:
    """For each budget the list and limits that are best on the rows learnt from, on the others."""
    tiers = learnt.correct.shape[1]
    means = learnt.cost_usd.mean(axis=0)
    budgets = np.geomspace(means.min() * 1.01, means.sum(), BUDGETS)
    best: list[tuple[float, Sequence[int], Sequence[float]]] = [(-1.0, (), ())] * BUDGETS
    for order, limits in tqdm(list(_settings(learnt, min(tiers, 3))), desc="frugal", delay=1):
        correct, cost = _listed(learnt, order, limits)
        quality, spent = float(correct.mean()), float(cost.mean())
        for place in np.flatnonzero(budgets >= spent):
            if quality > best[place][0]:
                best[place] = (quality, order, limits)
    return _stacked(_listed(told, order, limits) for _, order, limits in best if order)


def _settings(known: Known, longest: int) -> Iterator[tuple[tuple[int, ...], tuple[float, ...]]]:
    """Every list of tiers with every pair of limits of the grid, by quantiles of the chances."""
    tiers = range(known.correct.shape[1])
    quantiles = np.linspace(0.0, 1.0, GRID)
    limits = {p: np.quantile(known.chances[p,][:, p], quantiles) for p in tiers}
    for size in range(1, longest + 1):
        for order in permutations(tiers, size):
            grids = [limits[place].tolist() for place in order[:-1]]
            for chosen in product(*grids):
                yield order, (*chosen, 0.0)


def cascade_routing(learnt: Known, told: Known) -> Sweep:
    """Every set of tiers weighed in every state, at falling prices of quality."""
    tiers = learnt.correct.shape[1]
    whole = tuple(range(tiers))
    normal = np.random.default_rng(0).standard_normal((DRAWS, tiers))
    values: dict[Held, dict[Held, Numbers]] = {}
    for held in subsets(tiers):
        later = np.cov((learnt.chances[held] - learnt.chances[whole]).T)
        spread = np.linalg.cholesky(later + 1e-9 * np.eye(tiers))
        drawn = told.chances[held][:, None, :] + normal @ spread.T  # (n, DRAWS, tiers)
        values[held] = {
            of: drawn[:, :, list(of)].max(axis=2).mean(axis=1)
            for of in subsets(tiers)
            if of and set(held) <= set(of)
        }
    return _stacked(_climbed(told, values, price) for price in PRICES)


def _climbed(
    known: Known, values: Mapping[Held, Mapping[Held, Numbers]], price: float
) -> tuple[Numbers, Numbers]:
    """All rows at one price: quality served and cost."""
    count = len(known.correct)
    correct, spent = np.zeros(count), np.zeros(count)
    waiting: list[tuple[Held, NDArray[np.int64]]] = [((), np.arange(count))]
    while waiting:
        held, rows = waiting.pop()
        sets = list(values[held])
        worths = [
            values[held][of][rows]
            - price * known.foretold_usd[rows][:, [p for p in of if p not in held]].sum(axis=1)
            for of in sets
        ]
        chosen = np.argmax(worths, axis=0)
        for number, of in enumerate(sets):
            taken = rows[chosen == number]
            new = [place for place in of if place not in held]
            if not new:
                best = np.array(held)[known.chances[held][taken][:, list(held)].argmax(axis=1)]
                correct[taken] = known.correct[taken, best]
            elif len(taken):
                # Source: their code's default order, the cheapest of the set first.
                spent[taken] += known.cost_usd[taken, new[0]]
                waiting.append((tuple(sorted({*held, new[0]})), taken))
    return correct, spent
