"""A candidate and the artifact that serves in, replayed on the same rows; whether it may pass out.

Asked are four things, each paired by row, with 95 % intervals by the bootstrap:

    area       of the cost-quality curve: not worse by more than the margin, beyond doubt
    equal cost quality where the candidate spends what the other does at `balanced`: the same
    confidence the expected calibration error: not worse by more than the allowance
    slices     each domain's worth (quality less the price of what it cost): those that got worse
               beyond doubt are named, and one that lost more than its margin refuses

"Not worse beyond doubt" asks the interval's lower end, so that few rows refuse where many would let
pass: what cannot be told is not released.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from statistics import NormalDist
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from router.artifact import Artifact
from router.policy import Router, RouterConfig
from router.quality import QUALITY
from router.tiers import Ladder
from train.errors import DataError
from train.samples.examples import Example
from train.samples.vectors import Vectors
from train.scoring.metrics import Point, area, bootstrap, calibration_error
from train.scoring.replay import Remembering, Replayed, ladder_of, replay

DIAL: Final = tuple(sorted({*np.linspace(0.0, 1.0, 17).tolist(), *QUALITY.values()}))
ROUNDS: Final = 400

MARGIN: Final = 0.01
"""Chosen: of the area, and of quality at equal cost. Measured: 2,900 rows tell two artifacts apart
within .004 (paired), 400 within .012."""

SLICE_MARGIN: Final = 0.05
"""Chosen: points of worth that one domain may lose while the whole gains."""

ECE_ALLOWANCE: Final = 0.02
"""Chosen: what the error of calibration wavers by between two halves of 2,900 rows."""

LEAST_SLICE: Final = 30
"""Chosen: rows below which a domain's mean says nothing."""

LEAST_ROWS: Final = 100

Numbers = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One question, and whether it was passed.

    Attributes:
        name: What was compared.
        serving: The figure of the artifact that serves.
        candidate: The candidate's.
        lead: How much better the candidate is; None where no interval is made.
        interval: Of the lead, 95 %.
        passed: It is not worse beyond what is allowed.
        told: The rule, in words.
    """

    name: str
    serving: float
    candidate: float
    lead: float | None
    interval: tuple[float, float] | None
    passed: bool
    told: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """A domain that got worse beyond doubt."""

    name: str
    rows: int
    lead: float
    interval: tuple[float, float]
    quality: tuple[float, float]
    refuses: bool

    def gist(self) -> str:
        """One line for the terminal."""
        low, high = self.interval
        before, after = self.quality
        return (
            f"{'FAIL' if self.refuses else 'note':<5}worse: {self.name} ({self.rows} rows), worth "
            f"{self.lead:+.4f} ({low:+.4f} to {high:+.4f}), quality {before:.3f} -> {after:.3f}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the gate found."""

    rows: int
    checks: tuple[Check, ...]
    worse: tuple[Slice, ...]

    @property
    def passed(self) -> bool:
        """The candidate may be tried."""
        return all(check.passed for check in self.checks) and not any(
            each.refuses for each in self.worse
        )

    def told(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "passed": self.passed,
            "rows": self.rows,
            "checks": [asdict(check) for check in self.checks],
            "worse": [asdict(each) for each in self.worse],
        }

    def gist(self) -> str:
        """A table for the terminal."""
        lines = [f"{self.rows} rows"]
        for check in self.checks:
            ends = (
                "" if check.interval is None else "  ({:+.4f} to {:+.4f})".format(*check.interval)
            )
            lead = "" if check.lead is None else f"  lead {check.lead:+.4f}"
            lines.append(
                f"{'pass' if check.passed else 'FAIL':<5}{check.name:<22} "
                f"{check.serving:.4f} -> {check.candidate:.4f}{lead}{ends}  [{check.told}]"
            )
        lines += [each.gist() for each in self.worse]
        return "\n".join([*lines, "passed" if self.passed else "refused"])


@dataclass(frozen=True, slots=True, eq=False)
class Swept:
    """One artifact at every point of `DIAL`: (points, n) quality and cost, and at `balanced`."""

    correct: Numbers
    cost_usd: Numbers
    balanced: Replayed

    def points(self, rows: Rows) -> list[Point]:
        """The curve over `rows`, rising in cost."""
        pairs = zip(
            self.cost_usd[:, rows].mean(axis=1), self.correct[:, rows].mean(axis=1), strict=True
        )
        return sorted((Point(float(c), float(q)) for c, q in pairs), key=lambda p: p.cost_usd)


def compare(
    candidate: Artifact,
    serving: Artifact,
    examples: Sequence[Example],
    vectors: Vectors,
    *,
    tiers: Sequence[str],
    margin: float = MARGIN,
    seed: int = 0,
) -> Report:
    """The report on rows that neither was fitted on.

    Raises:
        DataError: There are too few.
        ArtifactError: One of them does not know the rows' tiers.
    """
    if len(examples) < LEAST_ROWS:
        raise DataError(f"{len(examples)} rows are too few for a gate; {LEAST_ROWS} are needed")
    ladder = ladder_of(examples, tiers)
    price = Router(ladder=ladder, artifact=serving, config=RouterConfig()).price_of_quality(
        QUALITY["balanced"]
    )
    ours, theirs = (_swept(each, ladder, examples, vectors) for each in (candidate, serving))
    single = [[e.answers[t].cost_usd for t in tiers] for e in examples]
    right = [[e.answers[t].correct or 0.0 for t in tiers] for e in examples]
    checks = (
        _area(ours, theirs, np.array(right), np.array(single), margin, seed),
        _equal_cost(ours, theirs, margin, seed),
        _calibration(ours.balanced, theirs.balanced),
    )
    after, before = ours.balanced, theirs.balanced
    more = (after.correct - before.correct) - price * (after.cost_usd - before.cost_usd)
    names = np.array([example.domain or "(no domain)" for example in examples])
    worse = slices(more, before.correct, after.correct, names)
    return Report(rows=len(examples), checks=checks, worse=worse)


def _swept(
    artifact: Artifact, ladder: Ladder, examples: Sequence[Example], vectors: Vectors
) -> Swept:
    router = Router(ladder=ladder, artifact=artifact, config=RouterConfig())
    assert router.estimator is not None, "it has an artifact"  # noqa: S101 - a bug of ours
    router.estimator = Remembering(router.estimator)
    runs = [replay(router, ladder, examples, vectors, quality) for quality in DIAL]
    return Swept(
        np.array([run.correct for run in runs]),
        np.array([run.cost_usd for run in runs]),
        runs[DIAL.index(QUALITY["balanced"])],
    )


def _area(  # noqa: PLR0917 - a private step of `compare`
    ours: Swept, theirs: Swept, right: Numbers, single: Numbers, margin: float, seed: int
) -> Check:
    def of(swept: Swept, rows: Rows) -> float:
        ends = [Point(float(single[rows, p].mean()), float(right[rows, p].mean())) for p in (0, -1)]
        return area(swept.points(rows), *ends)

    return _paired("area of the curve", partial(of, ours), partial(of, theirs), right, margin, seed)


def _equal_cost(ours: Swept, theirs: Swept, margin: float, seed: int) -> Check:
    """Quality of both curves where the one that serves is at `balanced`."""
    spent = theirs.balanced.cost_usd

    def of(swept: Swept, rows: Rows) -> float:
        points, wanted = swept.points(rows), float(spent[rows].mean())
        return float(np.interp(wanted, [p.cost_usd for p in points], [p.quality for p in points]))

    ours_of, theirs_of = partial(of, ours), partial(of, theirs)
    return _paired("quality at equal cost", ours_of, theirs_of, spent, margin, seed)


def _paired(  # noqa: PLR0917 - a private step of `compare`
    name: str, ours: Any, theirs: Any, like: Numbers, margin: float, seed: int
) -> Check:
    count = len(like)
    every = np.arange(count)
    ends = bootstrap(lambda rows: ours(rows) - theirs(rows), count, ROUNDS, seed)
    before, after = theirs(every), ours(every)
    return Check(
        name=name,
        serving=before,
        candidate=after,
        lead=after - before,
        interval=ends,
        passed=ends[0] >= -margin,
        told=f"the interval's lower end must not be below {-margin:g}",
    )


def _calibration(ours: Replayed, theirs: Replayed) -> Check:
    before, after = (calibration_error(r.confidence, r.correct) for r in (theirs, ours))
    return Check(
        name="calibration error",
        serving=before,
        candidate=after,
        lead=None,
        interval=None,
        passed=after <= before + ECE_ALLOWANCE,
        told=f"it may rise by {ECE_ALLOWANCE:g}",
    )


def slices(
    more: Numbers, before: Numbers, after: Numbers, names: NDArray[np.str_]
) -> tuple[Slice, ...]:
    """The slices whose worth fell beyond doubt, the worst first.

    The intervals are widened for their number: of many slices one falls by chance.

    Args:
        more: (n,) worth gained.
        before: (n,) quality under the artifact that serves.
        after: (n,) quality under the candidate.
        names: (n,) which slice a row is of.
    """
    kinds = [name for name in np.unique(names) if np.sum(names == name) >= LEAST_SLICE]
    found = []
    for name in kinds:
        rows = names == name
        mean, spread = float(more[rows].mean()), float(more[rows].std(ddof=1) / np.sqrt(rows.sum()))
        reach = NormalDist().inv_cdf(1.0 - 0.025 / len(kinds)) * spread
        if mean + reach < 0.0:
            found.append(
                Slice(
                    name=str(name),
                    rows=int(rows.sum()),
                    lead=mean,
                    interval=(mean - reach, mean + reach),
                    quality=(float(before[rows].mean()), float(after[rows].mean())),
                    refuses=mean < -SLICE_MARGIN,
                )
            )
    return tuple(sorted(found, key=lambda each: each.lead))
