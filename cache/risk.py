"""A similarity and what tells two questions apart in, the chance that the hit is false out.

A logistic model over the cosine and the guard's numbers, then Platt's scaling; all of it, and the
table that says which risk may be served at which bound, lies in one small JSON file that
`python -m train cache` writes and checks. There are two: the cheap one, and one that is told the
verifier's verdict too and is asked only of pairs that the cheap one leaves in doubt.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from cache.errors import RiskModelError
from cache.guard import NAMES, Comparison
from cache.verifier import LARGEST

FORMAT: Final = "sidecar-cache-risk/2"
DEFAULT_PATH: Final = Path(__file__).with_name("risk_default.json")
MAX_FILE_BYTES: Final = 1 << 20
"""Chosen: the file has a few kilobytes; a larger one is not ours."""

INPUTS: Final = ("similarity", "similarity_squared", *NAMES, "similarity_overlap", "rare_overlap")
"""Names of the model's inputs, in order."""

VERDICT: Final = "verdict"
"""The last input of a model that is told the verifier's verdict."""

CONFIDENCE: Final = 0.90
"""Chosen: one-sided; the bound holds in nine calibrations of ten. At .95 the rows at hand show 2 %
at less than half the coverage, and not for every shuffle (docs/cache.md)."""

_WRONG_AT_BOUND: Final = 6
"""Chosen: the walk over the table begins where so many wrong hits would meet the bound exactly;
with fewer rows one odd label decides. Chosen with the table in sight: `CONFIDENCE` is nominal."""


NEAR_RATIO: Final = 2.0
"""Chosen: up to twice the risk limit is a near miss, worth a check; beyond it most are wrong."""


def inputs(similarity: float, values: Sequence[float]) -> tuple[float, ...]:
    """The model's inputs; `values` as in `guard.Comparison`."""
    overlap = values[0]
    return (similarity, similarity**2, *values, similarity * overlap, overlap**3)


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """What serving up to one risk did on the rows that the model was not fitted on.

    Attributes:
        risk: Hits up to it are served.
        coverage: Share of all questions served, the calibration files weighing the same.
        wrong_ratio: Share of those hits that were wrong.
        upper: One-sided upper confidence bound of `wrong_ratio`, see `CONFIDENCE`.
        hits: Rows served, after weighing (Kish's effective number).
        worst: Of each calibration corpus by itself the one-sided lower confidence bound of its
            share of wrong hits; the highest. Above a bound, that corpus refutes it.
    """

    risk: float
    coverage: float
    wrong_ratio: float
    upper: float
    hits: float
    worst: float


@dataclass(frozen=True, slots=True)
class RiskModel:
    """The model, as its file holds it.

    Attributes:
        names: Of its inputs: `INPUTS`, and `VERDICT` if it is told that.
        intercept: Of the logistic model.
        weights: One for each of `names`.
        scale: Platt's slope.
        offset: Platt's offset.
        restated_risk: Of a calculation said twice (`Comparison.is_restated`): the upper bound of
            its share of wrong pairs, on generated ones.
        points: The operating table, lowest risk first.
        lowest: Similarity of the least near pair that it was fitted on: of less near ones it knows
            nothing, and a parabola says anything there.
        doubt: The cheap model's risk beyond which the verifier is not asked and nothing is served;
            of a model that is told a verdict, else None.
        verifier: The digest of the verifier whose verdicts it was fitted on; else empty.
    """

    names: tuple[str, ...]
    intercept: float
    weights: tuple[float, ...]
    scale: float
    offset: float
    restated_risk: float
    points: tuple[OperatingPoint, ...]
    lowest: float
    doubt: float | None = None
    verifier: str = ""

    @classmethod
    def load(cls, path: Path | None = None) -> RiskModel:
        """The model at `path`, or the one that comes with this package.

        Raises:
            RiskModelError: The file is missing, torn or of another make.
        """
        path = path or DEFAULT_PATH
        try:
            with path.open("rb") as file:
                raw = file.read(MAX_FILE_BYTES + 1)
            if len(raw) > MAX_FILE_BYTES:
                raise RiskModelError(f"{path} is larger than any risk model")
            return parse(orjson.loads(raw))
        except (OSError, ValueError, TypeError, KeyError) as fault:
            raise RiskModelError(f"{path} holds no risk model: {fault!r}") from fault

    @property
    def needs_verdict(self) -> bool:
        """It is told the verifier's verdict."""
        return self.names[-1] == VERDICT

    def risk(
        self, similarity: float, comparison: Comparison, verdict: float | None = None
    ) -> float:
        """Chance in [0, 1] that the kept answer would not serve; vetoes are another matter.

        `verdict` is for a model that needs one, and for no other.
        """
        if comparison.is_restated:
            return self.restated_risk
        if similarity < self.lowest:
            return 1.0
        told = inputs(similarity, comparison.values)
        made = zip(self.weights, told if verdict is None else (*told, verdict), strict=True)
        logit = self.intercept + sum(weight * value for weight, value in made)
        # Clamped where the exponential would overflow.
        return 1.0 / (1.0 + math.exp(min(60.0, -(self.scale * logit + self.offset))))

    def least(self, similarity: float, comparison: Comparison) -> float:
        """The least risk that any verdict could leave, of a model that is told one."""
        return min(self.risk(similarity, comparison, said) for said in (-LARGEST, LARGEST))

    def limit(self, max_false_hit_rate: float) -> float | None:
        """The risk up to which hits may be served; None if no coverage holds that bound.

        The points are walked in rising risk and the walk ends at the first whose bound fails, so
        that one test is made at a time and the confidence is that of each (fixed-sequence
        testing). Where it begins is decided by the number of rows and by no label. A point fails
        too where a corpus by itself refutes the bound: a mix must not pay for one with another.
        Source: Angelopoulos et al., "Learn then Test", arXiv 2110.01052, section 2.3.
        """
        needed = _WRONG_AT_BOUND / max_false_hit_rate
        limit = None
        for point in self.points:
            if point.hits < needed:
                continue
            if max(point.upper, point.worst) > max_false_hit_rate:
                break
            limit = point.risk
        return limit


def parse(values: Any) -> RiskModel:
    """The model that the file's JSON says.

    Raises ValueError, TypeError or KeyError if it says none.
    """
    if values["format"] != FORMAT:
        raise ValueError(f"format {values['format']!r}, this version reads {FORMAT!r}")
    names = tuple(values["names"])
    if names not in {INPUTS, (*INPUTS, VERDICT)} or len(values["weights"]) != len(names):
        raise ValueError("its inputs are not those of this version")
    model = RiskModel(
        names=names,
        intercept=float(values["intercept"]),
        weights=tuple(float(weight) for weight in values["weights"]),
        scale=float(values["scale"]),
        offset=float(values["offset"]),
        restated_risk=float(values["restated_risk"]),
        points=tuple(OperatingPoint(**point) for point in values["points"]),
        lowest=float(values["lowest"]),
        doubt=None if values["doubt"] is None else float(values["doubt"]),
        verifier=str(values["verifier"]),
    )
    if model.needs_verdict != (model.doubt is not None):
        raise ValueError("a model that is told a verdict says when, and no other does")
    numbers = (model.intercept, *model.weights, model.scale, model.offset, model.lowest)
    if not all(map(math.isfinite, numbers)) or model.scale <= 0.0:
        raise ValueError("a coefficient is not a finite number")
    return model
