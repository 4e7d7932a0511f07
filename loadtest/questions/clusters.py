"""Pairs of questions in; clusters that share an answer, and a stream of their questions out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

from loadtest.questions.streams import zipf_place, zipf_weights

Pair = tuple[str, str, bool]
"""Two questions, and whether one answer serves both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clusters:
    """What the pairs say.

    Attributes:
        of: By question, its cluster's number.
        members: By cluster, its questions; clusters of one are among them.
        lookalikes: By cluster, questions of others that were once held against one of its own.
    """

    of: dict[str, int]
    members: dict[int, list[str]]
    lookalikes: dict[int, list[str]]


def clustered(pairs: Iterable[Pair]) -> Clusters:
    """Connected components of the pairs that are the same."""
    leader: dict[str, str] = {}

    def find(question: str) -> str:
        leader.setdefault(question, question)
        while leader[question] != question:
            leader[question] = leader[leader[question]]  # halves the way for the next one
            question = leader[question]
        return question

    kept = list(pairs)
    for first, second, is_same in kept:
        one, other = find(first), find(second)
        if is_same:
            leader[one] = other
    numbers: dict[str, int] = {}
    of = {question: numbers.setdefault(find(question), len(numbers)) for question in leader}
    members: defaultdict[int, list[str]] = defaultdict(list)
    for question, number in of.items():
        members[number].append(question)
    lookalikes: defaultdict[int, list[str]] = defaultdict(list)
    for first, second, is_same in kept:
        if not is_same and of[first] != of[second]:
            lookalikes[of[first]].append(second)
            lookalikes[of[second]].append(first)
    return Clusters(of=of, members=dict(members), lookalikes=dict(lookalikes))


def popular(clusters: Clusters, size: int, rng: Random) -> list[int]:
    """`size` clusters of at least two questions, in a drawn order of popularity."""
    able = [number for number, questions in clusters.members.items() if len(questions) > 1]
    return rng.sample(able, min(size, len(able)))


def questions(
    clusters: Clusters,
    order: Sequence[int],
    *,
    distractor_ratio: float,
    exponent: float,
    rng: Random,
) -> Iterator[str]:
    """Questions without end: popular clusters by Zipf, and look-alikes of theirs as distractors."""
    sums = zipf_weights(len(order), exponent)
    while True:
        number = order[zipf_place(sums, rng)]
        others = clusters.lookalikes.get(number)
        if others and rng.random() < distractor_ratio:
            yield rng.choice(others)
        else:
            yield rng.choice(clusters.members[number])
