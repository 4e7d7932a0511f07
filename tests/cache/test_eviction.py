"""Eviction by worth: what it saves on a stream with sizes and costs, beside LRU on the same."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cache.eviction import Pool, worth_usd

QUESTIONS, REQUESTS = 5_000, 60_000
BUDGET_RATIO = 0.05


@dataclass(frozen=True, slots=True)
class Stream:
    """Requests by question, and of each question's answer its bytes, cost and worth.

    Zipf's popularity with exponent 0.9, which drifts: a tenth of the questions are asked for one
    stretch of the stream only. Lengths are log-normal; a third is answered by a tier that is twelve
    times as dear.
    """

    asked: list[int]
    sizes: list[int]
    costs: list[float]
    worths: list[float]


def stream(seed: int) -> Stream:
    dice = np.random.default_rng(seed)
    tokens = np.exp(dice.normal(math.log(180), 1.0, QUESTIONS)).clip(5, 8_000)
    dear = np.where(dice.random(QUESTIONS) < 1 / 3, 12.0, 1.0)
    weights = 1.0 / np.arange(1, QUESTIONS + 1) ** 0.9
    order = dice.permutation(QUESTIONS)
    drawn = order[dice.choice(QUESTIONS, REQUESTS, p=weights / weights.sum())]
    stretch = np.arange(REQUESTS) * 10 // REQUESTS
    drawn = np.where(drawn % 10 == 0, (drawn // 10 * 10 + stretch) % QUESTIONS, drawn)
    costs = (tokens * dear * 1e-6).tolist()
    return Stream(
        asked=drawn.tolist(),
        sizes=(2_700 + 5 * tokens).astype(int).tolist(),
        costs=costs,
        worths=[worth_usd(c, int(t)) for c, t in zip(costs, tokens, strict=True)],
    )


def by_worth(traffic: Stream, max_bytes: int) -> tuple[float, float]:
    """Share of requests hit, and share of dollars saved."""
    pool, kept, hits, saved = Pool(max_bytes), dict[int, int](), 0, 0.0
    named: dict[int, int] = {}
    for entry_id, question in enumerate(traffic.asked):
        if question in kept:
            hits, saved = hits + 1, saved + traffic.costs[question]
            pool.use(kept[question])
            continue
        named[entry_id] = question
        leaving = pool.admit(entry_id, traffic.sizes[question], traffic.worths[question])
        kept[question] = entry_id
        for each in leaving:
            del kept[named.pop(each)]
    return hits / REQUESTS, saved / sum(traffic.costs[q] for q in traffic.asked)


def by_age(traffic: Stream, max_bytes: int) -> tuple[float, float]:
    """The same for the least recently used leaving first."""
    kept, held, hits, saved = OrderedDict[int, None](), 0, 0, 0.0
    for question in traffic.asked:
        if question in kept:
            hits, saved = hits + 1, saved + traffic.costs[question]
            kept.move_to_end(question)
            continue
        kept[question] = None
        held += traffic.sizes[question]
        while held > max_bytes:
            held -= traffic.sizes[kept.popitem(last=False)[0]]
    return hits / REQUESTS, saved / sum(traffic.costs[q] for q in traffic.asked)


def test_worth_saves_more_money_than_age() -> None:
    """At a twentieth of all bytes, by far; it pays with some hits on cheap answers."""
    told = []
    for seed in range(3):
        traffic = stream(seed)
        max_bytes = int(sum(traffic.sizes) * BUDGET_RATIO)
        hits, saved = by_worth(traffic, max_bytes)
        lru_hits, lru_saved = by_age(traffic, max_bytes)
        told.append(f"hits {hits:.3f} (LRU {lru_hits:.3f}), saved {saved:.3f} ({lru_saved:.3f})")
        assert saved > lru_saved + 0.1
        assert hits > lru_hits - 0.06
    print(*told, sep="\n")  # noqa: T201 - the figures that docs/cache.md tells


@given(st.lists(st.tuples(st.integers(1, 40), st.floats(0.001, 1.0))))
def test_what_keeps_coming_gets_in(others: list[tuple[int, float]]) -> None:
    """However full of dear entries the pool is, nobody is kept out for ever."""
    pool, worth = Pool(100), 0.01
    for number, (size, dear) in enumerate(others):
        pool.admit(number, size, dear)
    for tries in range(10_000):
        if list(pool.admit(1_000 + tries, 50, worth)) != [1_000 + tries]:
            return
    raise AssertionError("never taken in")
