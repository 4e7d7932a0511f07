"""Files of labelled pairs in, the verifier's rows out: what it learns from and what is kept apart.

Rule 1: no question that the risk is calibrated on is in any row; those are the scoreboard.
Rule 2: what is kept apart is whole: written groups by group, CheckList by test, PAWS and the traps
by pair, and of each no text that is learnt from.
Rule 3: Quora's questions (terms: non-commercial research) are read only where they are asked for.
"""

from __future__ import annotations

import random
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cache.facets import facets
from cache.guard import NAMES, compare
from train.samples.rows import read_rows
from train.similarity.judged import OWN, calibration_rows, judged_texts

GROUPS: Final = "written_groups.jsonl.gz"
"""In the measuring data and, of the same kind, in `train/data`."""

HELD_TESTS: Final = frozenset(
    {
        "Simple coref: his and her",
        "How can I become a X person != How can I become a person who is not X",
        "traditional SRL: wrong active / passive swap with people",
        "traditional SRL: active / passive swap with people",
        "Is person X != Is person becoming X",
        "Different animals",
        "Irrelevant preamble with different examples.",
    }
)
"""CheckList's tests that are kept apart; the others of their capabilities are learnt from."""

PER_TEST: Final = 400
"""Chosen: a test's thousand rows are one template; the first few hundred say all of it."""

HELD_EVERY: Final = 5
"""Chosen: a fifth of groups, PAWS and traps is kept apart."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two questions and whether one answer serves both.

    Attributes:
        one: The kept question.
        other: The new one.
        source: The file it is from, or `generated`.
        kind: Its trap, test or category; for the tables.
        group: Of pairs that share texts; for intervals.
        is_same: The same answer serves.
        is_directed: `one` must stay the kept one: the other way round was not judged.
    """

    one: str
    other: str
    source: str
    kind: str = ""
    group: str = ""
    is_same: bool = field(kw_only=True)
    is_directed: bool = False


@dataclass(frozen=True, slots=True)
class Split:
    """Rows to learn from, and rows kept apart."""

    learnt: list[Pair]
    held: list[Pair]


def plain(text: str) -> str:
    """One spelling of a question, to know it again."""
    return " ".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


def scoreboard(folder: Path, own: Path = OWN) -> frozenset[str]:
    """Every question that the risk is calibrated on, in its plain spelling; raises DataError."""
    return frozenset(
        plain(text) for row in calibration_rows(folder, own) for text in (row.cached, row.query)
    )


def is_held(key: str) -> bool:
    """Whether what has this key is kept apart; the same in every run."""
    return zlib.crc32(key.encode()) % HELD_EVERY == 0


def split(folder: Path, *, with_quora: bool, seed: int, own: Path = OWN) -> Split:
    """All rows but the generated ones; raises DataError."""
    forbidden = scoreboard(folder, own)
    named = (
        _written(read_rows(folder / GROUPS)),
        _written(read_rows(own / GROUPS)),
        _judged(folder, own, with_quora=with_quora),
        _paws(read_rows(folder / "paws_dev.jsonl.gz")),
        _checklist(read_rows(folder / "checklist_pairs.jsonl.gz"), seed),
        _traps(read_rows(folder / "traps_banking.jsonl.gz")),
        _nlupp(read_rows(folder / "nlupp_banking.jsonl.gz"), seed),
        _quora(read_rows(folder / "qqp_pairs.jsonl.gz")) if with_quora else (),
    )
    learnt: list[Pair] = []
    held: list[Pair] = []
    for pair, keep_apart in (row for rows in named for row in rows):
        if plain(pair.one) in forbidden or plain(pair.other) in forbidden:
            continue
        (held if keep_apart else learnt).append(pair)
    apart = {plain(text) for pair in held for text in (pair.one, pair.other)}
    learnt = [p for p in learnt if plain(p.one) not in apart and plain(p.other) not in apart]
    return Split(learnt, held)


Rows = Iterator[tuple[Pair, bool]]


def _written(groups: Iterable[dict[str, Any]]) -> Rows:
    for group in groups:
        same, name = [group["base"], *group["same"]], group["id"]
        for place, one in enumerate(same):
            for other in same[place + 1 :]:
                yield Pair(one, other, "written", "same", name, is_same=True), is_held(name)
            for near in group["near"]:
                texts = one, near["text"]
                yield Pair(*texts, "written", near["trap"], name, is_same=False), is_held(name)


def _judged(folder: Path, own: Path, *, with_quora: bool) -> Rows:
    """Real neighbours, judged by reading: the one that was kept stays the kept one."""
    for row, told in judged_texts(folder, own):
        if row["use"] == "learn" and (with_quora or told.file != "judged_quora"):
            texts, kind = (told.cached, told.query), told.file
            yield Pair(*texts, "judged", kind, is_same=told.good, is_directed=True), False


def _paws(rows: Iterable[dict[str, Any]]) -> Rows:
    for row in rows:
        texts, name = (row["text_a"], row["text_b"]), f"paws {row['id']}"
        yield Pair(*texts, "paws", "", name, is_same=bool(row["label"])), is_held(name)


def _checklist(rows: Iterable[dict[str, Any]], seed: int) -> Rows:
    tests = defaultdict(list)
    for row in rows:
        tests[row["test"]].append(row)
    dice = random.Random(seed)  # noqa: S311 - no secret
    for test, found in sorted(tests.items()):
        for row in dice.sample(found, min(PER_TEST, len(found))):
            texts = row["text_a"], row["text_b"]
            same = bool(row["label"])
            pair = Pair(*texts, "checklist", row["capability"], test, is_same=same)
            yield pair, test in HELD_TESTS


def _traps(rows: Iterable[dict[str, Any]]) -> Rows:
    for row in rows:
        texts = row["text_a"], row["text_b"]
        same = bool(row["label"])
        pair = Pair(*texts, "traps", row["category"], row["text_a"], is_same=same)
        yield pair, is_held(row["text_a"])


_TELLING_INTENTS: Final = 3
"""Chosen: two that share so many intents and no slot ask the same; two that share one need not."""


def _nlupp(rows: list[dict[str, Any]], seed: int) -> Rows:
    """The same intents without slots serve one another; other intents but for one do not."""
    dice = random.Random(seed)  # noqa: S311 - no secret
    bare = [row for row in rows if not row.get("slots")]
    by_intents = defaultdict(list)
    for row in bare:
        by_intents[frozenset(row.get("intents") or ())].append(row["text"])
    for intents, texts in by_intents.items():
        if len(intents) >= _TELLING_INTENTS:
            for one, other in pairwise(texts):
                yield Pair(one, other, "nlupp", "same intents", is_same=True), False
        near = [o for o in by_intents if o and intents and o != intents and len(o ^ intents) <= 2]  # noqa: PLR2004
        for one in texts if near else ():
            other = dice.choice(by_intents[dice.choice(near)])
            yield Pair(one, other, "nlupp", "other intents", is_same=False), False
    yield from _other_slots(rows, dice)


def _other_slots(rows: list[dict[str, Any]], dice: random.Random) -> Rows:
    """The same question with another's value in its slot."""
    values = defaultdict(list)
    for row in rows:
        for name, slot in (row.get("slots") or {}).items():
            values[name].append(slot["text"])
    for row in rows:
        for name, slot in (row.get("slots") or {}).items():
            value = dice.choice(values[name])
            changed = row["text"].replace(slot["text"], value)
            if plain(value) != plain(slot["text"]) and plain(changed) != plain(row["text"]):
                yield Pair(row["text"], changed, "nlupp", "other slot", is_same=False), False


def _quora(rows: Iterable[dict[str, Any]]) -> Rows:
    """Quora's labels, less those that cannot be meant: they are noisy near the top."""
    for row in rows:
        one, other, is_same = row["text_a"].strip(), row["text_b"].strip(), bool(row["label"])
        comparison = compare(facets(one), facets(other))
        says_the_same = comparison.values[NAMES.index("same_content")] > 0.0
        is_slip = bool(comparison.veto) if is_same else says_the_same and not comparison.veto
        if plain(one) != plain(other) and not is_slip:
            yield Pair(one, other, "quora", is_same=is_same), False


WEIGHTS: Final = {
    "written": 3.0,
    "judged": 8.0,
    "traps": 3.0,
    "paws": 2.0,
    "checklist": 0.6,
    "nlupp": 0.6,
    "banking": 1.0,
    "generated": 0.7,
    "quora": 1.5,
}
"""Chosen: how often a row of each source is drawn, beside one of another."""


def mass(rows: Sequence[Pair]) -> NDArray[np.float64]:
    """(n,) float64, sums to 1: the chance of each row to be drawn."""
    labels = Counter((pair.source, pair.is_same) for pair in rows)
    totals = Counter(pair.source for pair in rows)
    chances: NDArray[np.float64] = np.array(
        [WEIGHTS[p.source] * totals[p.source] / labels[p.source, p.is_same] for p in rows]
    )
    return np.asarray(chances / chances.sum())
