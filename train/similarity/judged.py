"""Pairs of real questions judged by reading in, with their texts; the arrays that are fitted out.

Two makes of file. The equivalence files hold their texts. `train/data/judged.jsonl.gz` holds none:
its questions are of corpora whose terms forbid to pass them on, so it names each by a digest, and
the texts are looked up in the corpora themselves.

Rule 1: what the risk is calibrated and measured on, no verifier has learnt from: neither the pair
nor one of its questions.
Rule 2: rows of a file are weighed so that its bands stand as they do in its corpus; the corpora
(`CORPORA`) weigh the same, however many files they have.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cache.facets import facets
from cache.guard import compare
from cache.risk import inputs
from train.errors import DataError
from train.samples.rows import read_rows

EQUIVALENCE: Final = ("equivalence_qqp", "equivalence_qqp2", "equivalence_b77", "equivalence_nlupp")

OWN: Final = Path(__file__).parents[1] / "data"
"""What was judged and written for this project."""

JUDGED: Final = "judged.jsonl.gz"

CORPORA: Final[Mapping[str, str]] = {
    "equivalence_qqp": "quora",
    "equivalence_qqp2": "quora",
    "judged_quora": "quora",
    "equivalence_b77": "banking",
    "judged_banking": "banking",
    "equivalence_nlupp": "nlupp",
}
"""The corpus that each file's questions are from."""

_DIGEST_CHARS: Final = 16

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Row:
    """One judged pair.

    Attributes:
        cached: The kept question.
        query: The new one.
        good: The answer written for `cached` would fully serve `query`.
        cosine: Of their vectors in int8.
        file: Its name, one of `CORPORA`.
        share: Its weight: the share of its corpus' questions that it stands for.
    """

    cached: str
    query: str
    good: bool
    cosine: float
    file: str
    share: float


@dataclass(frozen=True, eq=False)
class Pairs:
    """Judged pairs as arrays.

    Attributes:
        rows: (n) The pairs themselves.
        x: (n, inputs) float64, in the order of `cache.risk.INPUTS`; a verdict may follow.
        good: (n,) bool: the kept answer would serve.
        vetoed: (n,) bool.
        file: (n,) int, place in `files`.
        share: (n,) float64: weight within the file; sums to the share of questions with a pair.
        files: Their names.
    """

    rows: Sequence[Row]
    x: Numbers
    good: NDArray[np.bool_]
    vetoed: NDArray[np.bool_]
    file: NDArray[np.int64]
    share: Numbers
    files: Sequence[str]

    @cached_property
    def corpus(self) -> NDArray[np.int64]:
        """(n,) int: of the corpora by name, which one."""
        named = sorted(set(CORPORA.values()))
        return np.array([named.index(CORPORA[name]) for name in self.files])[self.file]

    @cached_property
    def weight(self) -> Numbers:
        """(n,) float64: the corpora weigh the same, one on average."""
        totals = np.bincount(self.corpus, self.share)
        mean: Numbers = self.share / totals[self.corpus] * len(self.rows)
        return mean / np.count_nonzero(totals)

    def take(self, rows: NDArray[Any]) -> Pairs:
        """Some of them; `rows` are places or a mask."""
        places = np.arange(len(self.rows))[rows]
        return Pairs(
            rows=[self.rows[place] for place in places],
            x=self.x[places],
            good=self.good[places],
            vetoed=self.vetoed[places],
            file=self.file[places],
            share=self.share[places],
            files=self.files,
        )

    def of(self, name: str) -> NDArray[np.int64]:
        """The places of a file's rows."""
        return np.flatnonzero(self.file == self.files.index(name))


def digest(text: str) -> str:
    """By which `judged.jsonl.gz` names a question: it tells nothing of the text."""
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_CHARS]


def calibration_rows(folder: Path, own: Path = OWN) -> list[Row]:
    """Every row that the risk may be fitted and measured on; raises DataError."""
    rows = [row for name in EQUIVALENCE for row in equivalence(folder / f"{name}.jsonl.gz")]
    told = judged_texts(folder, own)
    return rows + [each for row, each in told if row["use"] == "calibrate"]


def equivalence(path: Path) -> list[Row]:
    """The rows of an equivalence file; a disputed one counts as not served.

    Raises:
        DataError: It cannot be read.
    """
    return _weighed(read_rows(path), path.name.removesuffix(".jsonl.gz"))


def judged_texts(folder: Path, own: Path = OWN) -> list[tuple[dict[str, Any], Row]]:
    """Each row of `judged.jsonl.gz` and what it says, its texts found in the corpora.

    Raises:
        DataError: A corpus is missing, or is another than the one that was judged.
    """
    texts = {digest(text): text for text in _corpora(folder)}
    rows = read_rows(own / JUDGED)
    try:
        told = [
            {**row, "cached": texts[row["cached"]], "query": texts[row["query"]]} for row in rows
        ]
    except KeyError as fault:
        raise DataError(f"{folder} lacks a question that {JUDGED} names") from fault
    found = []
    for name in ("judged_quora", "judged_banking"):
        for use in ("calibrate", "learn"):
            of = [r for r in told if r["file"] == name and r["use"] == use]
            found += list(zip(of, _weighed(of, name), strict=True))
    return found


def _corpora(folder: Path) -> set[str]:
    quora = read_rows(folder / "qqp_pairs.jsonl.gz")
    banking = read_rows(folder / "banking77.jsonl.gz")
    sides = {row[side].strip() for row in quora for side in ("text_a", "text_b")}
    return sides | {row["text"].strip() for row in banking}


def _weighed(rows: Sequence[Mapping[str, Any]], name: str) -> list[Row]:
    in_band = Counter(row.get("bucket") for row in rows)
    return [
        Row(
            cached=row["cached"],
            query=row["query"],
            good=bool(row["label"]) and not row.get("disputed"),
            cosine=row["cosine"],
            file=name,
            share=row.get("population_share", 1.0) / in_band[row.get("bucket")],
        )
        for row in rows
    ]


def arrays(rows: Sequence[Row]) -> Pairs:
    """The rows as arrays, compared by their facets."""
    files = list(dict.fromkeys(row.file for row in rows))
    compared = [compare(facets(row.cached), facets(row.query)) for row in rows]
    return Pairs(
        rows=rows,
        x=np.array([inputs(r.cosine, c.values) for r, c in zip(rows, compared, strict=True)]),
        good=np.array([row.good for row in rows]),
        vetoed=np.array([bool(comparison.veto) for comparison in compared]),
        file=np.array([files.index(row.file) for row in rows]),
        share=np.array([row.share for row in rows]),
        files=files,
    )
