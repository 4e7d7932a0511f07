"""A parent artifact and what the log tells in; every head fitted anew out, where that is better.

Two ways lead from a log to an artifact. A *shift* (`shift`) keeps the parent's heads and
moves their odds: any number of labels will do, and no number mends heads that are wrong throughout.
A *refit* (`learn`) grows all heads anew, for which some hundreds of questions must have
been put to every tier. Both are held against each other on rows that neither was fitted on, the
parent included, and the parent is kept with its shift unless the refit's curve lies above: that is
all the prior there is. A parent that was itself a refit from this log, which still holds all that
it grew from, has none: it is grown anew with what came since, and the gate has the word.
Rejected: to grow new trees upon the parent's. Each retrain would make the artifact slower.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import KFold

from router.artifact import Artifact
from router.drift import WINDOW
from router.policy import Router, RouterConfig
from router.tiers import Ladder
from train.fitting import shift
from train.fitting.known import known_arrays
from train.fitting.learn import FOLDS, Crossed, CrossedEstimator, learn, rowset
from train.fitting.trees import DEFAULT, TreesConfig
from train.samples.examples import Example
from train.samples.vectors import Vectors
from train.scoring.metrics import Point, area
from train.scoring.replay import Remembering, ladder_of, replay

LEAST_WHOLE: Final = 200
"""Chosen: questions put to every tier, below which five folds leave too little for a head."""

LEAST_ASKED: Final = 100
"""Chosen: of these such as the parent has not learnt from, below which the two cannot be told
apart: a gate asks for as many."""

POINTS: Final = tuple(np.linspace(0.0, 1.0, 13).tolist())
"""Chosen: points of quality at which the two are held against each other."""

Numbers = NDArray[np.float64]


class Finish(Protocol):
    """Makes an artifact of the arrays: fills its table by replaying these whole rows."""

    def __call__(
        self,
        head: dict[str, Any],
        arrays: dict[str, NDArray[Any]],
        crossed: Crossed,
        examples: Sequence[Example],
        *,
        ladder: Ladder,
    ) -> Artifact:
        """See `train.fitting.fit.with_table`."""
        ...


def find_refit(  # noqa: PLR0917 - what a fit is made of
    parent: Artifact,
    head: dict[str, Any],
    examples: Sequence[Example],
    vectors: Vectors,
    seed: int,
    finish: Finish,
    config: TreesConfig = DEFAULT,
) -> Artifact | None:
    """The refit artifact; None where too little is known, or a shift of the parent does better.

    Raises:
        DataError: Of some set of tiers too few answers are known together.
    """
    examples, vectors = merged(examples, vectors)
    rows = rowset(examples, vectors, parent.tiers)
    is_whole = rows.is_whole
    is_asked = is_whole & shift.is_unseen(parent, examples)
    is_more_of_it = _grew_from(parent) <= (is_whole & ~is_asked).sum()
    if is_whole.sum() < LEAST_WHOLE or not (is_more_of_it or is_asked.sum() >= LEAST_ASKED):
        return None
    some = [example for example, whole in zip(examples, is_whole, strict=True) if whole]
    ladder = ladder_of(some, parent.tiers)
    arrays, crossed = learn(rows, seed, config)
    arrays |= known_arrays(vectors, crossed.right[()], crossed.gain[()], seed, latest=WINDOW)
    among = _only(crossed, is_whole)
    made = finish(head, arrays, among, some, ladder=ladder)
    labels = np.isfinite(rows.labels).sum(axis=0).tolist()
    told: dict[str, Any] = {"whole_rows": len(some), "asked": int(is_asked.sum()), "labels": labels}
    if not is_more_of_it:
        asked = [example for example, is_one in zip(examples, is_asked, strict=True) if is_one]
        refitted = _crossed(made, _only(crossed, is_asked), asked, vectors[is_asked], ladder)
        moved = _shifted(parent, examples, vectors, is_asked, ladder, seed)
        told["area"] = {
            "refit": _area([refitted], asked, ladder),
            "shift": _area(moved, asked, ladder),
        }
        if told["area"]["refit"] <= told["area"]["shift"]:
            return None
    return replace(made, manifest={**made.manifest, "refit": told})


def _grew_from(parent: Artifact) -> float:
    """How many whole rows of a log; without end, if it is no refit."""
    refit = parent.manifest.get("refit")
    return float(refit["whole_rows"]) if refit and "until" in parent.manifest else np.inf


def merged(examples: Sequence[Example], vectors: Vectors) -> tuple[list[Example], Vectors]:
    """Each question once, with all that was ever answered to it: of a tier what is labelled, last.

    They stand in the order in which they were asked last. A question that stood in two folds would
    be known to the fit that is held against it.
    """
    held: dict[str, Example] = {}
    row_of: dict[str, int] = {}
    for row, example in enumerate(examples):
        before = held.pop(example.query, None)
        known, first = (before.answers, before.at) if before else ({}, example.at)
        fresh = {
            tier: told
            for tier, told in example.answers.items()
            if tier not in known or told.correct is not None
        }
        held[example.query] = replace(example, answers={**known, **fresh}, at=first)
        row_of.pop(example.query, None)
        row_of[example.query] = row
    return list(held.values()), vectors[list(row_of.values())]


def _only(crossed: Crossed, rows: NDArray[np.bool_]) -> Crossed:
    """The scores of these rows."""
    return Crossed(
        right={held: {p: s[rows] for p, s in told.items()} for held, told in crossed.right.items()},
        gain={held: {p: s[rows] for p, s in told.items()} for held, told in crossed.gain.items()},
        tokens=crossed.tokens[rows],
    )


class Swept(NamedTuple):
    """(points, n) quality and cost at each of POINTS."""

    correct: Numbers
    cost_usd: Numbers


def _swept(router: Router, ladder: Ladder, examples: Sequence[Example], vectors: Vectors) -> Swept:
    runs = [replay(router, ladder, examples, vectors, quality) for quality in POINTS]
    return Swept(np.array([run.correct for run in runs]), np.array([run.cost_usd for run in runs]))


def _crossed(
    made: Artifact, crossed: Crossed, examples: Sequence[Example], vectors: Vectors, ladder: Ladder
) -> Swept:
    """The refit, by scores that never saw the row."""
    router = Router(ladder=ladder, artifact=_blind(made), config=RouterConfig())
    place = {example.query: row for row, example in enumerate(examples)}
    router.estimator = Remembering(CrossedEstimator(crossed, ladder, place))
    return _swept(router, ladder, examples, vectors)


def _blind(artifact: Artifact) -> Artifact:
    """Without what it was fitted on: nothing is foreign to it, and it leans for nothing."""
    return replace(artifact, known=None)


def _shifted(  # noqa: PLR0917 - as above
    parent: Artifact,
    examples: Sequence[Example],
    vectors: Vectors,
    is_asked: NDArray[np.bool_],
    ladder: Ladder,
    seed: int,
) -> list[Swept]:
    """The parent with a shift, neither of which saw the row, fold by fold."""
    runs, unseen = [], np.flatnonzero(shift.is_unseen(parent, examples))
    for into, out in KFold(FOLDS, shuffle=True, random_state=seed).split(unseen):
        fitted_on, kept = unseen[into], unseen[out]
        told = [examples[row] for row in fitted_on]
        arrays, _ = shift.shifted(parent, told, vectors[fitted_on], seed=seed)
        moved = _blind(Artifact.build(parent.manifest, arrays))
        router = Router(ladder=ladder, artifact=moved, config=RouterConfig())
        assert router.estimator is not None, "it has an artifact"  # noqa: S101 - a bug of ours
        router.estimator = Remembering(router.estimator)
        asked = kept[is_asked[kept]]
        runs.append(_swept(router, ladder, [examples[row] for row in asked], vectors[asked]))
    return runs


def _area(runs: Sequence[Swept], examples: Sequence[Example], ladder: Ladder) -> float:
    """Under the curve of all these rows together."""
    told = [[example.answers[name] for name in ladder.names] for example in examples]
    cost = np.array([[answer.cost_usd for answer in row] for row in told]).mean(axis=0)
    right = np.array([[answer.correct or 0.0 for answer in row] for row in told]).mean(axis=0)
    ends = [Point(float(cost[place]), float(right[place])) for place in (0, -1)]
    quality = np.concatenate([run.correct for run in runs], axis=1).mean(axis=1)
    spent = np.concatenate([run.cost_usd for run in runs], axis=1).mean(axis=1)
    points = [Point(float(c), float(q)) for c, q in zip(spent, quality, strict=True)]
    return area(points, *ends)
