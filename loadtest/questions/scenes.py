"""Files of questions in; streams of them, with what each one means, out.

Two kinds of scene. In a *stream* popular meanings are asked by Zipf's law in changing words, mixed
with questions that look like one of theirs and are none. *Traps* are look-alikes alone: a question,
and right after it those that it would answer wrongly.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

from loadtest.questions.clusters import Clusters, clustered, popular, questions
from loadtest.questions.families import FAMILIES
from loadtest.questions.streams import meaning_of
from loadtest.questions.tier3 import lines

GENERATED: Final = 400
"""Chosen: questions of the demo's kinds, each with three look-alikes."""

Trap = tuple[str, Sequence[str]]
"""A question, and those that look like it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One stream.

    Attributes:
        order: Questions, as they are asked.
        meanings: By question, the name of what it asks.
        seed: Of its dice.
    """

    order: Sequence[str]
    meanings: Mapping[str, str]
    seed: int


def scenes(args: argparse.Namespace) -> Iterator[tuple[str, list[Scene]]]:
    """Each file's scenes, one for each seed, under a name."""
    seeds = range(args.seed, args.seed + args.streams)
    for path in args.data:
        clusters = read_clusters(path)
        yield path.name, [_stream(args, clusters, seed) for seed in seeds]
    if args.traps is None:
        return
    for path in args.traps:
        traps, meanings = read_traps(path)
        yield f"{path.name}, traps alone", [_traps(traps, meanings, seed) for seed in seeds]
    yield "generated look-alikes, traps alone", [_generated(seed) for seed in seeds]


def read_clusters(path: Path) -> Clusters:
    """Pairs of questions, or written groups: base and same mean the same, each near another."""
    rows = list(lines(path))
    if "base" not in rows[0]:
        return clustered((r["text_a"].strip(), r["text_b"].strip(), bool(r["label"])) for r in rows)
    return clustered(pair for row in rows for pair in _pairs(row))


def _pairs(group: Mapping[str, Any]) -> Iterator[tuple[str, str, bool]]:
    base = group["base"].strip()
    yield from ((base, same.strip(), True) for same in group["same"])
    yield from ((base, near["text"].strip(), False) for near in group["near"])


def read_traps(path: Path) -> tuple[list[Trap], dict[str, str]]:
    """A file's questions with their look-alikes, and what each of them means."""
    clusters = read_clusters(path)
    meanings = _named(clusters)
    rows = list(lines(path))
    if "base" in rows[0]:
        groups = ((r["base"].strip(), [n["text"].strip() for n in r["near"]]) for r in rows)
        return list(groups), meanings
    pairs: dict[str, list[str]] = {}
    for row in rows:
        if not row["label"]:
            pairs.setdefault(row["text_a"].strip(), []).append(row["text_b"].strip())
    return list(pairs.items()), meanings


def _named(clusters: Clusters) -> dict[str, str]:
    """Names that differ in their last number, so that nobody takes two of them for the same."""
    return {question: f"#{number}" for question, number in clusters.of.items()}


def _stream(args: argparse.Namespace, clusters: Clusters, seed: int) -> Scene:
    rng = Random(seed)
    endless = questions(
        clusters,
        popular(clusters, args.clusters, rng),
        distractor_ratio=args.distractors,
        exponent=args.exponent,
        rng=rng,
    )
    return _scene(list(itertools.islice(endless, args.requests)), _named(clusters), seed)


def _traps(traps: Sequence[Trap], meanings: Mapping[str, str], seed: int) -> Scene:
    shuffled = Random(seed).sample(traps, len(traps))
    order = [question for base, near in shuffled for question in (base, *near)]
    return _scene(order, meanings, seed)


def _generated(seed: int) -> Scene:
    rng = Random(seed)
    numbers: dict[str, str] = {}
    meanings: dict[str, str] = {}
    order: list[str] = []
    for family in itertools.islice(itertools.cycle(FAMILIES), GENERATED):
        params = family.draw(rng)
        for one in (params, *(family.vary(params, rng) for _ in range(3))):
            question = rng.choice(family.phrasings(one))
            name = meaning_of(family, one)
            meanings[question] = numbers.setdefault(name, f"#{len(numbers)}")
            order.append(question)
    return _scene(order, meanings, seed)


def _scene(order: Sequence[str], meanings: Mapping[str, str], seed: int) -> Scene:
    return Scene(order=order, meanings={text: meanings[text] for text in order}, seed=seed)
