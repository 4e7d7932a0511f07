"""Judged pairs and a verifier's verdicts in; what each stage of the second look is worth out.

A stage is a set of inputs. All are judged alike: cross-fitted, so that a row's risk is told by a
model that has not seen it, and on each file apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from cache.risk import RiskModel
from cache.verifier import LARGEST, Verifier, clipped
from train.similarity.calibrate import CrossFit, cross_fit, fit, risks_of, with_verdicts
from train.similarity.coverage import BOUNDS, calibration_error, curves, figures, served
from train.similarity.judged import CORPORA, Numbers, Pairs
from train.similarity.restated import restated_bound
from train.similarity.vectorhead import Judge, VectorHead

DOUBT: Final = 0.6
"""Chosen: beyond this cheap risk the verifier is not asked. Hardly anything that is served lies
there, and half of all pairs do."""

REFITS: Final = 3
"""Chosen: how often the cross-fit is shuffled anew, to see what hangs on the shuffle."""


@dataclass(frozen=True, slots=True)
class Models:
    """What is served: the cheap model, and the one that is told a verdict, with who tells it."""

    cheap: RiskModel
    verified: RiskModel | None = None
    verifier: Verifier | None = None

    def named(self) -> dict[str, RiskModel]:
        """The models by the names of their stages."""
        both = {"risk": self.cheap, "all": self.verified}
        return {name: model for name, model in both.items() if model is not None}


def verdicts(judge: Judge, pairs: Pairs) -> Numbers:
    """(n,) float64: as the risk is told them; no verdict is the firmest no."""
    told = (judge.verdict(row.cached, row.query) for row in pairs.rows)
    return np.array([-LARGEST if logit is None else clipped(logit) for logit in told])


def doubted(pairs: Pairs, told: Numbers, cheap: CrossFit) -> Pairs:
    """The pairs as the second model sees them: with verdicts, vetoed where none is asked for."""
    return with_verdicts(pairs, told, cheap.risks(pairs) <= DOUBT)


def fitted(pairs: Pairs, verifier: Verifier | None, told: Numbers | None, seed: int) -> Models:
    """The models on all rows, with tables of cross-fitted risks."""
    cheap, restated = cross_fit(pairs, seed), restated_bound()
    model = fit(pairs, cheap, restated)
    if verifier is None or told is None:
        return Models(model)
    both = doubted(pairs, told, cheap)
    verified = fit(both, cross_fit(both, seed), restated, DOUBT)
    return Models(model, replace(verified, verifier=verifier.digest), verifier)


def stages(
    pairs: Pairs, told: Numbers | None, head: VectorHead | None, seed: int
) -> dict[str, dict[str, Any]]:
    """By file and stage: figures with intervals, calibration error, and curves."""
    open_pairs = replace(pairs, vetoed=np.zeros_like(pairs.vetoed))
    similarity = pairs.x[:, :1]
    sets = {
        "cosine": replace(open_pairs, x=similarity),
        "vetoes": replace(pairs, x=similarity),
        "risk": pairs,
    }
    if head is not None:
        sets["head"] = replace(open_pairs, x=verdicts(head, pairs)[:, np.newaxis])
    if told is not None:
        sets["verifier"] = replace(open_pairs, x=told[:, np.newaxis])
        sets["all"] = doubted(pairs, told, cross_fit(pairs, seed))
    risks = {name: cross_fit(each, seed).risks(each) for name, each in sets.items()}
    return {
        file: {
            name: figures(pairs, risk, pairs.of(file), seed)
            | {"ece": calibration_error(pairs, risk, pairs.of(file))}
            | curves(pairs, risk, pairs.of(file))
            for name, risk in risks.items()
        }
        for file in pairs.files
    }


def allowed(pairs: Pairs, told: Numbers | None, seed: int) -> dict[str, list[dict[str, Any]]]:
    """What the operating tables let through at each bound, for several shuffles of the folds."""
    tables: dict[str, list[dict[str, Any]]] = {"risk": [], "all": []}
    for turn in range(REFITS):
        cheap = cross_fit(pairs, seed + turn)
        tables["risk"].append(_allowed(pairs, cheap))
        if told is not None:
            both = doubted(pairs, told, cheap)
            tables["all"].append(_allowed(both, cross_fit(both, seed + turn)))
    return {name: table for name, table in tables.items() if table}


def _allowed(pairs: Pairs, cross: CrossFit) -> dict[str, Any]:
    model, risks = fit(pairs, cross, 0.0), cross.risks(pairs)
    limits = {bound: model.limit(bound) for bound in BOUNDS}
    return {
        str(bound): None
        if limit is None
        else {"risk": limit} | {name: served(pairs, risks <= limit, name) for name in pairs.files}
        for bound, limit in limits.items()
    }


def corpora_left_out(
    pairs: Pairs, told: Numbers | None, seed: int
) -> Mapping[str, Mapping[str, Any]]:
    """For each corpus: models and limits made without it, and what they then do on it."""
    of_row = np.array([CORPORA[name] for name in pairs.files])[pairs.file]
    return {
        corpus: {
            name: _unseen(pairs, told if name == "all" else None, of_row == corpus, seed)
            for name in ("risk", "all")
            if name == "risk" or told is not None
        }
        for corpus in dict.fromkeys(CORPORA.values())
    }


def _unseen(
    pairs: Pairs, told: Numbers | None, held: Any, seed: int
) -> dict[str, dict[str, Any] | None]:
    """By bound: what is served of each held file by models that never saw its corpus."""
    seen, new = pairs.take(~held), pairs.take(held)
    cheap, cross = _fitted(seen, seed)
    model = cheap
    if told is not None:
        both = with_verdicts(seen, told[~held], cross.risks(seen) <= DOUBT)
        model = _fitted(both, seed)[0]
        new = with_verdicts(new, told[held], _risks(cheap, new) <= DOUBT)
    risks = _risks(model, new)
    files = [name for name in new.files if len(new.of(name))]
    limits = {bound: model.limit(bound) for bound in BOUNDS}
    return {
        str(bound): None
        if limit is None
        else {name: served(new, risks <= limit, name) for name in files}
        for bound, limit in limits.items()
    }


def _fitted(pairs: Pairs, seed: int) -> tuple[RiskModel, CrossFit]:
    cross = cross_fit(pairs, seed)
    return fit(pairs, cross, 0.0), cross


def _risks(model: RiskModel, pairs: Pairs) -> Numbers:
    logits = pairs.x @ np.array(model.weights) + model.intercept
    return risks_of(pairs, model.scale * logits + model.offset)
