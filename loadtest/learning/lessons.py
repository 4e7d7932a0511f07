"""Recorded rows in, what a router is to learn from and be held against out: files and domains.

A row is traffic, or kept apart for the gate, or kept apart for measuring; never two of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

from loadtest.questions.tier3 import TIERS, lines

Line = Mapping[str, Any]

LATER: Final = ("code_reasoning", "law", "history")
"""Chosen: of 17 domains those whose questions lie furthest from the others'; see docs/router.md,
"Drift"."""

GATE_SHARE: Final = 0.5
"""Chosen: of the rows kept apart; the rest to measure on. Of 860 rows a gate that allows a loss of
.01 refuses every other candidate that is as good as what serves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lessons:
    """Rows by their use.

    Attributes:
        first: Traffic of the first domains, in order.
        later: Traffic of the domains that come later.
        gate: Kept apart, of all domains: what a gate asks.
        measure_first: Kept apart, of the first domains.
        measure_later: Kept apart, of the later ones.
    """

    first: Sequence[Line]
    later: Sequence[Line]
    gate: Sequence[Line]
    measure_first: Sequence[Line]
    measure_later: Sequence[Line]

    @property
    def every(self) -> list[Line]:
        """What the recording must hold."""
        parts = (self.first, self.later, self.gate, self.measure_first, self.measure_later)
        return [row for part in parts for row in part]


def read_lessons(traffic: Path, kept: Path, later: Sequence[str], seed: int) -> Lessons:
    """The rows of both files, shuffled by `seed`; a question that stands in both is traffic."""
    rng = Random(seed)
    rows = {str(row["query"]): row for row in lines(traffic)}
    apart = {str(row["query"]): row for row in lines(kept) if row["query"] not in rows}
    asked, held = _shuffled(rows.values(), rng), _shuffled(apart.values(), rng)
    for_gate, for_measuring = (
        held[: int(GATE_SHARE * len(held))],
        held[int(GATE_SHARE * len(held)) :],
    )
    return Lessons(
        first=[row for row in asked if row.get("domain") not in later],
        later=[row for row in asked if row.get("domain") in later],
        gate=for_gate,
        measure_first=[row for row in for_measuring if row.get("domain") not in later],
        measure_later=[row for row in for_measuring if row.get("domain") in later],
    )


def _shuffled(rows: Iterable[Line], rng: Random) -> list[Line]:
    drawn = list(rows)
    rng.shuffle(drawn)
    return drawn


def write_rows(path: Path, rows: Iterable[Line]) -> Path:
    """As JSON Lines."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return path


def shuffled_labels(rows: Sequence[Line], seed: int) -> list[Line]:
    """The same answers, each with another row's word on whether it is right: nothing to learn."""
    order = list(range(len(rows)))
    Random(seed).shuffle(order)
    labels = [_labels(rows[place]) for place in order]
    return [_labelled(row, given) for row, given in zip(rows, labels, strict=True)]


def inverted_labels(rows: Sequence[Line]) -> list[Line]:
    """The same answers with every word on them turned round: what is learnt of them is wrong."""
    return [_labelled(row, {tier: 1 - told for tier, told in _labels(row).items()}) for row in rows]


def _labels(row: Line) -> dict[str, int]:
    return {tier: int(row["answers"][tier]["correct"]) for tier in TIERS}


def _labelled(row: Line, labels: Mapping[str, int]) -> Line:
    answers = {tier: {**row["answers"][tier], "correct": labels[tier]} for tier in TIERS}
    return {**row, "answers": answers}
