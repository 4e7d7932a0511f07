"""The traffic log in, the gate's word on a candidate by off-policy evaluation out; nobody is asked.

Rows are routed requests of whose served answer something is known, with the chance with which their
entry tier was drawn. Without exploration (`[router] exploration`) the log shows what the router did
and nothing else, and the gate says that it cannot tell. Nor can it tell of a candidate that judges
the answers otherwise than the artifact that serves: what follows the entry was logged under that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from router.artifact import Artifact
from router.decision import AnswerView, Task
from router.policy import Router, RouterConfig
from router.pricing import Price
from router.quality import QUALITY
from router.readings import Readings
from router.tiers import Ladder, Tier
from sidecar.disk.sealing import AesGcm
from sidecar.traffic.record import RequestRecord, unpacked_vector
from train.errors import DataError
from train.samples.traffic import Heard, is_held_out, label_of, read_heard
from train.scoring import ope
from train.scoring.metrics import calibration_error
from train.weighing.gate import ECE_ALLOWANCE, Check, Report, slices

MARGIN: Final = 0.05
"""Chosen: of worth. Weighted rows tell less than replayed ones: some thousands with 5 % explored
are needed to tell so much."""

LEAST_ROWS: Final = 50
LEAST_EFFECTIVE: Final = 50.0
"""Chosen: rows' worth below which the candidate's choices were hardly ever logged."""

LEAST_ALIKE: Final = 0.7
"""Chosen: of the logged answers, how many both must judge alike for what followed to stand."""

Numbers = NDArray[np.float64]

_DRAWN: Final = frozenset({"policy", "explored"})


@dataclass(frozen=True, slots=True, eq=False)
class _Row:
    """A request, what is known of its served answer, and what the router was asked and told."""

    request: RequestRecord
    label: float
    task: Task
    answers: Mapping[int, AnswerView]


def compare(
    candidate: Artifact,
    serving: Artifact,
    folder: Path,
    encoder_id: str,
    *,
    margin: float = MARGIN,
    seed: int = 0,
    cipher: AesGcm | None = None,
) -> tuple[Report, dict[str, Any]]:
    """The report, and each policy's estimates.

    Raises:
        DataError: Too few rows are labelled, or a tier was never asked.
        TrafficError: There is no log there, or it cannot be read.
    """
    heard = read_heard(folder, cipher)
    if candidate.manifest.get("held_out"):  # it was fitted on a log, maybe on this one
        heard = [one for one in heard if is_held_out(one.request.request_id)]
    ladder = _ladder(heard, serving.tiers)
    rows = [row for one in heard if (row := _row(one, ladder, encoder_id)) is not None]
    if len(rows) < LEAST_ROWS:
        few = f"{len(rows)} labelled requests that it was not fitted on are too few"
        raise DataError(f"{few}; {LEAST_ROWS} are needed")
    ours, theirs = (_choices(each, ladder, rows) for each in (candidate, serving))
    price = Router(ladder=ladder, artifact=serving, config=RouterConfig()).price_of_quality(
        QUALITY["balanced"]
    )
    quality, dollars = _logged(rows, theirs, ladder)
    worth = ope.Logged(
        chosen=quality.chosen,
        propensity=quality.propensity,
        outcome=quality.outcome - price * dollars.outcome,
        model=quality.model - price * dollars.model,
    )
    policies = {"candidate": ours.policy, "serving": theirs.policy}
    told = {
        name: {
            "quality": ope.estimates(quality, policy, seed),
            "cost_usd": ope.estimates(dollars, policy, seed),
            "worth": ope.estimates(worth, policy, seed),
        }
        for name, policy in policies.items()
    }
    return _report(rows, worth, quality, ours=ours, theirs=theirs, margin=margin, seed=seed), told


@dataclass(frozen=True, slots=True, eq=False)
class _Choices:
    """(n, tiers) chances of choice, chances of sufficing, foretold dollars; (n,) the judgements.

    A judgement is the answer that would be served of those that were logged, and who is asked next.
    """

    policy: Numbers
    right: Numbers
    cost_usd: Numbers
    judged: Sequence[tuple[int, int | None]]


def _choices(artifact: Artifact, ladder: Ladder, rows: Sequence[_Row]) -> _Choices:
    router = Router(ladder=ladder, artifact=artifact, config=RouterConfig())
    assert router.estimator is not None, "it has an artifact"  # noqa: S101 - a bug of ours
    chosen, right, cost, judged = [], [], [], []
    for row in rows:
        estimate = router.estimator.estimate(row.task, {})
        if estimate is None:
            raise DataError("the log's vectors do not fit the artifact")
        decision = router.decide(row.task)
        judgement = router.judge(row.task, decision, row.answers)
        judged.append((judgement.best, judgement.next_place))
        chosen.append(decision.entry)
        right.append(estimate.right)
        cost.append(estimate.cost_usd)
    policy = ope.greedy(np.array(chosen), len(ladder))
    return _Choices(policy, np.array(right), np.array(cost), judged)


def _logged(
    rows: Sequence[_Row], theirs: _Choices, ladder: Ladder
) -> tuple[ope.Logged, ope.Logged]:
    """Quality and dollars; what was to be expected is as the artifact that serves foretells."""
    chosen = np.array([ladder.find_place(row.request.entry_tier) for row in rows])
    propensity = np.array([row.request.propensity for row in rows])
    label = np.array([row.label for row in rows])
    dollars = np.array([float(row.request.cost_usd) for row in rows])
    return (
        ope.Logged(chosen=chosen, propensity=propensity, outcome=label, model=theirs.right),
        ope.Logged(chosen=chosen, propensity=propensity, outcome=dollars, model=theirs.cost_usd),
    )


def _report(
    rows: Sequence[_Row],
    worth: ope.Logged,
    quality: ope.Logged,
    *,
    ours: _Choices,
    theirs: _Choices,
    margin: float,
    seed: int,
) -> Report:
    lead = ope.lead(worth, ours.policy, theirs.policy, seed)
    before, after = (float(ope.doubly_robust(worth, each.policy).mean()) for each in (theirs, ours))
    told = ope.effective_rows(ope.weights(worth, ours.policy))
    alike = float(np.mean([a == b for a, b in zip(ours.judged, theirs.judged, strict=True)]))
    place = np.arange(len(rows)), quality.chosen
    errors = [
        calibration_error(each.right[place], quality.outcome.round()) for each in (theirs, ours)
    ]
    checks = (
        Check(
            name="worth (doubly robust)",
            serving=before,
            candidate=after,
            lead=lead["value"],
            interval=lead["interval"],
            passed=lead["interval"][0] >= -margin,
            told=f"the interval's lower end must not be below {-margin:g}",
        ),
        Check(
            name="effective rows",
            serving=ope.effective_rows(ope.weights(worth, theirs.policy)),
            candidate=told,
            lead=None,
            interval=None,
            passed=told >= LEAST_EFFECTIVE,
            told=f"at least {LEAST_EFFECTIVE:g}; explore more where there are fewer",
        ),
        Check(
            name="answers judged alike",
            serving=1.0,
            candidate=alike,
            lead=None,
            interval=None,
            passed=alike >= LEAST_ALIKE,
            told=f"at least {LEAST_ALIKE:g}; else hold it against rows (--data)",
        ),
        Check(
            name="calibration error",
            serving=errors[0],
            candidate=errors[1],
            lead=None,
            interval=None,
            passed=errors[1] <= errors[0] + ECE_ALLOWANCE,
            told=f"it may rise by {ECE_ALLOWANCE:g}",
        ),
    )
    doubly = [ope.doubly_robust(worth, each.policy) for each in (theirs, ours)]
    qualities = [ope.doubly_robust(quality, each.policy) for each in (theirs, ours)]
    names = np.array([row.request.tenant for row in rows])
    worse = slices(doubly[1] - doubly[0], qualities[0], qualities[1], names)
    return Report(rows=len(rows), checks=checks, worse=worse)


def _row(heard: Heard, ladder: Ladder, encoder_id: str) -> _Row | None:
    """None where the router did not draw, or nothing is known of what was served."""
    request = heard.request
    served = [a for a in request.attempts if a.tier == request.served_tier and a.answer]
    vector = unpacked_vector(request.vector) if request.encoder_id == encoder_id else None
    places = [ladder.find_place(name) for name in request.allowed]
    if not served or vector is None or request.decision_reason not in _DRAWN or None in places:
        return None
    label = label_of(served[-1], heard)
    if label is None or ladder.find_place(request.entry_tier) is None:
        return None
    task = Task(
        text=request.question,
        vector=vector,
        tokens_in=request.tokens_in,
        turns=request.turns,
        allowed=tuple(place for place in places if place is not None),
        quality=QUALITY["balanced"] if request.quality is None else request.quality,
        readings=Readings(),
    )
    answers = {
        place: AnswerView(text=a.answer, finish_reason=a.finish_reason, tokens_out=a.tokens_out)
        for a in request.attempts
        if a.outcome == "answered" and (place := ladder.find_place(a.tier)) is not None
    }
    return _Row(request, label, task, answers)


def _ladder(heard: Sequence[Heard], tiers: Sequence[str]) -> Ladder:
    """The tiers, their prices read off the log's bills by least squares."""
    bills: Mapping[str, list[tuple[float, float, float]]] = {tier: [] for tier in tiers}
    for one in heard:
        for attempt in one.request.attempts:
            if attempt.outcome == "answered" and attempt.tier in bills:
                bill = attempt.tokens_in, attempt.tokens_out, float(attempt.cost_usd)
                bills[attempt.tier].append(bill)
    lacking = [tier for tier, rows in bills.items() if not rows]
    if lacking:
        raise DataError(f"the log shows no answer of {lacking}: explore, or ask them in shadow")
    return Ladder([Tier(name=tier, model=tier, price=_price(rows)) for tier, rows in bills.items()])


def _price(rows: Sequence[tuple[float, float, float]]) -> Price:
    told = np.array(rows)
    found = np.maximum(np.linalg.lstsq(told[:, :2], told[:, 2], rcond=None)[0] * 1e6, 0.0)
    return Price(
        in_usd_per_mtok=Decimal(f"{found[0]:.4f}"), out_usd_per_mtok=Decimal(f"{found[1]:.4f}")
    )
