"""Recorded answers in, what the very router would have served and spent out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from router.cascade import Cascade, Do, Event, Step
from router.decision import AnswerView, Decision, Task
from router.estimate import Estimate, Estimator
from router.policy import Router
from router.pricing import Price
from router.tiers import Ladder, Tier
from train.errors import DataError
from train.samples.examples import Example
from train.samples.vectors import Vectors

Numbers = NDArray[np.float64]
Held = tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Replayed:
    """What came of one replay, by row.

    Attributes:
        correct: (n,) how good the served answer was.
        cost_usd: (n,) of every tier asked.
        served: (n,) place of the served answer.
        asked: (n,) how many tiers were asked.
        confidence: (n,) of the served answer.
    """

    correct: Numbers
    cost_usd: Numbers
    served: NDArray[np.int64]
    asked: NDArray[np.int64]
    confidence: Numbers


@dataclass(slots=True)
class Remembering:
    """Asks another estimator once for each question and set of answers: a sweep asks often."""

    inner: Estimator
    _kept: dict[tuple[str, Held], Estimate | None] = field(default_factory=dict)

    def estimate(self, task: Task, answers: Mapping[int, AnswerView]) -> Estimate | None:
        """See `router.estimate.Estimator`; right as long as the recording does not change."""
        key = (task.text, tuple(sorted(answers)))
        if key not in self._kept:
            self._kept[key] = self.inner.estimate(task, answers)
        return self._kept[key]


def replay(
    router: Router,
    ladder: Ladder,
    examples: Sequence[Example],
    vectors: Vectors,
    quality: float,
    *,
    is_wary: bool = False,
) -> Replayed:
    """Every example through `decide`, the cascade and `judge`, at one point of the curve."""
    tasks = [
        example.task(vector, len(ladder), quality)._replace(is_wary=is_wary)
        for example, vector in zip(examples, vectors, strict=True)
    ]
    rows = [climb(router, ladder, *each) for each in zip(examples, tasks, strict=True)]
    correct, cost, served, asked, confidence = (
        np.array(column) for column in list(zip(*rows, strict=True))[:5]
    )
    return Replayed(
        correct=correct, cost_usd=cost, served=served, asked=asked, confidence=confidence
    )


class Climbed(NamedTuple):
    """What came of one row: the fields of `Replayed`, in its order, and what was foretold."""

    correct: float
    cost_usd: float
    served: int
    asked: int
    confidence: float
    foretold: tuple[float, ...]


def climb(router: Router, ladder: Ladder, example: Example, task: Task) -> Climbed:
    """One example through `decide`, the cascade and `judge`."""
    decision: Decision = router.decide(task)
    cascade = Cascade(entry=decision.entry, allowed=task.allowed)
    held: dict[int, AnswerView] = {}
    step = Step(Do.ASK, decision.entry)
    spent = 0.0
    while step.do is Do.ASK:
        answer = example.answers[ladder[cascade.place].name]
        held[cascade.place] = answer.view
        spent += answer.cost_usd
        judgement = router.judge(task, decision, held)
        event = Event.CONFIDENT if judgement.next_place is None else Event.DOUBTFUL
        step = cascade.after(event, judgement.next_place)
    label = example.answers[ladder[judgement.best].name].correct
    return Climbed(
        correct=label or 0.0,
        cost_usd=spent,
        served=judgement.best,
        asked=len(held),
        confidence=judgement.confidence,
        foretold=decision.probabilities,
    )


def tiers_of(examples: Sequence[Example]) -> tuple[str, ...]:
    """Names of the tiers that every example has an answer of, cheapest first on average.

    Raises:
        DataError: There are no examples, or they do not all have the same tiers.
    """
    if not examples:
        raise DataError("there are no rows")
    names = set(examples[0].answers)
    if any(set(example.answers) != names for example in examples):
        raise DataError("the rows do not all have answers of the same tiers")
    mean = {name: np.mean([e.answers[name].cost_usd for e in examples]) for name in names}
    return tuple(sorted(names, key=lambda name: float(mean[name])))


def ladder_of(examples: Sequence[Example], tiers: Sequence[str]) -> Ladder:
    """The ladder, its prices read off the rows' own bills by least squares."""
    return Ladder([Tier(name=name, model=name, price=_price(examples, name)) for name in tiers])


def _price(examples: Sequence[Example], tier: str) -> Price:
    told = [example.answers[tier] for example in examples]
    tokens = np.array([[answer.tokens_in, answer.tokens_out] for answer in told], float)
    bills = np.array([answer.cost_usd for answer in told])
    found = np.maximum(np.linalg.lstsq(tokens, bills, rcond=None)[0] * 1e6, 0.0)
    return Price(
        in_usd_per_mtok=Decimal(f"{found[0]:.4f}"), out_usd_per_mtok=Decimal(f"{found[1]:.4f}")
    )
