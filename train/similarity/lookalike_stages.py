"""Look-alikes kept apart in, what each stage and the served bounds make of them out.

None of them was fitted on: whole written groups, whole tests of CheckList, PAWS, banking's traps.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from cache.facets import facets
from cache.guard import compare
from cache.risk import RiskModel
from cache.verifier import LARGEST, clipped
from sidecar.encoder.encoding import Encodings
from train.similarity.coverage import BOUNDS, interval
from train.similarity.judged import Numbers
from train.similarity.pairs import Pair, split
from train.similarity.stages import Models
from train.similarity.vectorhead import Encoder, VectorHead

SOURCES: Final = ("written", "paws", "checklist", "traps")

Flags = NDArray[np.bool_]


def lookalikes(
    folder: Path, encoder: Encoder, models: Models, head: VectorHead | None, seed: int
) -> dict[str, Any]:
    """By source: AUC of each stage, by kind too, and what each bound serves; raises DataError."""
    held = [p for p in split(folder, with_quora=False, seed=seed).held if p.source in SOURCES]
    scores = scored(held, encoder, models, head)
    source = np.array([pair.source for pair in held])
    return {name: _of_source(name, held, scores, models, here=source == name) for name in SOURCES}


def scored(
    held: Sequence[Pair], encoder: Encoder, models: Models, head: VectorHead | None
) -> dict[str, Numbers]:
    """(n,) float64 by stage: risks, or what rises with them; infinite is never served."""
    texts = sorted({text for pair in held for text in (pair.one, pair.other)})
    places = {text: place for place, text in enumerate(texts)}
    encodings: Encodings = encoder.encode(texts)
    parts = [facets(text) for text in texts]
    rows: dict[str, list[float]] = {
        "cosine": [],
        "vetoes": [],
        "risk": [],
        "verifier": [],
        "all": [],
    }
    for pair in held:
        one, other = places[pair.one], places[pair.other]
        similarity = min(1.0, float(encodings.vectors[one] @ encodings.vectors[other]))
        comparison = compare(parts[one], parts[other])
        risk = models.cheap.risk(similarity, comparison)
        verdict = _verdict(models, pair)
        rows["cosine"].append(-similarity)
        rows["vetoes"].append(np.inf if comparison.veto else -similarity)
        rows["risk"].append(np.inf if comparison.veto else risk)
        rows["verifier"].append(-verdict)
        told = models.verified
        is_asked = told is not None and told.doubt is not None and risk <= told.doubt
        rows["all"].append(
            told.risk(similarity, comparison, verdict)
            if told is not None and is_asked and not comparison.veto
            else np.inf
        )
    if models.verified is None:
        del rows["verifier"], rows["all"]
    scores = {name: np.array(row) for name, row in rows.items()}
    if head is not None:
        scores["head"] = -np.array([_clipped(head.verdict(p.one, p.other)) for p in held])
    return scores


def _verdict(models: Models, pair: Pair) -> float:
    return _clipped(models.verifier.verdict(pair.one, pair.other) if models.verifier else None)


def _clipped(verdict: float | None) -> float:
    return -LARGEST if verdict is None else clipped(verdict)


def _of_source(
    name: str,
    held: Sequence[Pair],
    scores: dict[str, Numbers],
    models: Models,
    *,
    here: Flags,
) -> dict[str, Any]:
    good = np.array([pair.is_same for pair in held])
    kinds = np.array([pair.group if name == "checklist" else pair.kind for pair in held])
    return {
        "pairs": int(here.sum()),
        "auc": {stage: auc(good[here], score[here]) for stage, score in scores.items()},
        "by_kind": {
            str(kind): {
                stage: _of_kind(good, score, here & (kinds == kind), same=here & good)
                for stage, score in scores.items()
            }
            for kind in np.unique(kinds[here & ~good if name == "written" else here])
        },
        "served": {
            stage: _served(model, scores[stage][here], good[here])
            for stage, model in models.named().items()
        },
    }


def _of_kind(good: Flags, score: Numbers, of: Flags, *, same: Flags) -> dict[str, Any]:
    """A kind of one label alone is set against all the pairs that are the same."""
    rows = of if len(set(good[of])) > 1 else of | same
    return {"auc": auc(good[rows], score[rows]), "pairs": int(of.sum())}


def auc(good: Flags, score: Numbers) -> float | None:
    """None where there is but one label."""
    if len(set(good.tolist())) < 2:  # noqa: PLR2004 - two labels
        return None
    return round(float(roc_auc_score(good, -np.where(np.isfinite(score), score, 1e3))), 3)


def _served(model: RiskModel, risks: Numbers, good: Flags) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for bound in BOUNDS:
        limit = model.limit(bound)
        hits = risks <= limit if limit is not None else np.zeros_like(good)
        count, wrong = int(hits.sum()), int((hits & ~good).sum())
        low, high = interval(wrong, count)
        told[str(bound)] = {
            "hits": count,
            "wrong": wrong,
            "low": round(low, 3),
            "high": round(high, 3),
            "of_same": int((hits & good).sum()),
            "same": int(good.sum()),
        }
    return told
