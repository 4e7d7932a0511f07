"""A verifier's verdicts on the scoreboard in, what they would change in the cache out.

Asked in two ways. As one more input of the risk: coverage with it and without. As a veto on what
the risk would serve: hits and wrong ones, on the scoreboard and on the look-alikes kept apart,
beside the risk alone at a limit that serves as many, so that caution is not taken for insight.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from cache.facets import facets
from cache.guard import compare
from cache.risk import RiskModel
from sidecar.encoder.encoding import Encodings
from train.cache import FILES, Numbers, Pairs, cross_fitted, figures, fit, load_pairs, risks_of
from train.pairs import Pair, read_rows

NO: Final = -6.0
"""The logit that stands for no verdict: the firmest no. Chosen: verdicts are cut at it and its
opposite, so that one sure error cannot outweigh the facets."""

VETO_AT: Final = 0.0
"""Chosen: the network's own even chance; others trade hits for caution along the same line."""

REFITS: Final = 3
"""Chosen: how often the cross-fit is shuffled anew, to see what hangs on the shuffle."""

LIMITS: Final = (0.02, 0.03, 0.05)


class Judge(Protocol):
    """The served verifier's one method."""

    def verdict(self, kept: str, asked: str) -> float | None:
        """The logit, or None for no verdict."""
        ...


class Encoder(Protocol):
    """Texts to vectors."""

    def encode(self, texts: Sequence[str]) -> Encodings:
        """Raises EncoderError."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """What was said of some pairs: risk by cosine and facets, and verdict; (n,) float64 each."""

    risks: Numbers
    verdicts: Numbers

    def passed(self, limit: float) -> NDArray[np.bool_]:
        """(n,): served up to this risk unless the verifier forbids it."""
        return (self.risks <= limit) & (self.verdicts >= VETO_AT)


def verdicts(judge: Judge, texts: Iterable[tuple[str, str]]) -> Numbers:
    """(n,) float64 logits, cut at `NO` and its opposite."""
    told = (judge.verdict(kept, asked) for kept, asked in texts)
    return np.array([NO if logit is None else min(-NO, max(NO, logit)) for logit in told])


def compared(
    folder: Path, judge: Judge, encoder: Encoder, held: Sequence[Pair], seed: int
) -> dict[str, Any]:
    """Coverage by file, what each bound allows, and the veto."""
    paths = [folder / f"{name}.jsonl.gz" for name in FILES]
    pairs = load_pairs(paths)
    told = verdicts(judge, ((r["cached"], r["query"]) for path in paths for r in read_rows(path)))
    both = replace(pairs, x=np.column_stack([pairs.x, told]))
    logits = {"risk": cross_fitted(pairs, seed), "risk and verifier": cross_fitted(both, seed)}
    scores = {name: np.where(pairs.vetoed, np.inf, each) for name, each in logits.items()}
    scores = {"cosine": -pairs.x[:, 0], "verifier": np.where(pairs.vetoed, np.inf, -told)} | scores
    model = fit(pairs, logits["risk"], 0.0)
    risks = risks_of(pairs, model.scale * logits["risk"] + model.offset)
    held_told = verdicts(judge, ((pair.one, pair.other) for pair in held))
    apart = Told(cheap_risks(held, model, encoder), held_told)
    return {
        "files": {
            name: {
                kind: figures(pairs, score, np.flatnonzero(pairs.file == place), seed)
                for kind, score in scores.items()
            }
            for place, name in enumerate(FILES)
        },
        "allowed": {
            "risk": [allowed(pairs, seed + turn) for turn in range(REFITS)],
            "risk and verifier": [allowed(both, seed + turn) for turn in range(REFITS)],
        },
        "veto": vetoing(pairs, Told(risks, told), held, apart, model),
    }


def allowed(pairs: Pairs, seed: int) -> dict[str, list[float] | None]:
    """For each bound the coverage of each file that the operating table allows."""
    logits = cross_fitted(pairs, seed)
    model = fit(pairs, logits, 0.0)
    risks = risks_of(pairs, model.scale * logits + model.offset)
    limits = {str(bound): model.limit(bound) for bound in LIMITS}
    return {
        bound: None if limit is None else coverage(pairs, risks <= limit)
        for bound, limit in limits.items()
    }


def coverage(pairs: Pairs, served: NDArray[np.bool_]) -> list[float]:
    """Of each file the share of its questions that is served."""
    places = range(len(FILES))
    return [round(float(pairs.share[served & (pairs.file == at)].sum()), 4) for at in places]


def cheap_risks(held: Sequence[Pair], model: RiskModel, encoder: Encoder) -> Numbers:
    """(n,) float64: the risk of each pair by cosine and facets; infinite where a veto forbids."""
    texts = sorted({text for pair in held for text in (pair.one, pair.other)})
    places = {text: place for place, text in enumerate(texts)}
    vectors, parts = encoder.encode(texts).vectors, [facets(text) for text in texts]
    risks = []
    for pair in held:
        one, other = places[pair.one], places[pair.other]
        comparison = compare(parts[one], parts[other])
        similarity = min(1.0, float(vectors[one] @ vectors[other]))
        risks.append(np.inf if comparison.veto else model.risk(similarity, comparison))
    return np.array(risks)


def vetoing(
    pairs: Pairs, board: Told, held: Sequence[Pair], apart: Told, model: RiskModel
) -> dict[str, Any]:
    """At each bound: the risk alone, with the veto, and alone where it serves as many."""
    table: dict[str, Any] = {}
    for bound in LIMITS:
        limit = model.limit(bound)
        if limit is None:
            continue
        weight = float(pairs.weight[board.passed(limit)].sum())
        stricter = _limit_serving(pairs, board.risks, weight)
        rows = {
            "risk": (board.risks <= limit, apart.risks <= limit),
            "risk and veto": (board.passed(limit), apart.passed(limit)),
            "risk, as many served": (board.risks <= stricter, apart.risks <= stricter),
        }
        table[str(bound)] = {
            name: {
                "coverage": coverage(pairs, served),
                "wrong": _hits(FILES, pairs.file, pairs.good, served),
                "look-alikes": _hits_on(held, held_served),
            }
            for name, (served, held_served) in rows.items()
        }
    return table


def _limit_serving(pairs: Pairs, risks: Numbers, weight: float) -> float:
    """The risk up to which rows of this weight are served."""
    order = np.argsort(risks, kind="stable")
    place = int(np.searchsorted(np.cumsum(pairs.weight[order]), weight))
    return float(risks[order[min(place, len(order) - 1)]])


def _hits(
    names: Sequence[str],
    file: NDArray[np.int64],
    good: NDArray[np.bool_],
    served: NDArray[np.bool_],
) -> Mapping[str, str]:
    """`wrong of hits`, by file."""
    rows = [(name, served & (file == place)) for place, name in enumerate(names)]
    return {name: f"{int((at & ~good).sum())} of {int(at.sum())}" for name, at in rows}


def _hits_on(held: Sequence[Pair], served: NDArray[np.bool_]) -> Mapping[str, str]:
    names = sorted({pair.source for pair in held})
    file = np.array([names.index(pair.source) for pair in held])
    return _hits(names, file, np.array([pair.is_same for pair in held]), served)
