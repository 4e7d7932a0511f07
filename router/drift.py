"""What an artifact was fitted on in, how far traffic has gone from it out: each request, and late.

Per request: the *strangeness* of a vector, the share of the training rows that lie nearer to what
was known. Beyond FOREIGN nothing like it was there to learn from.

Of late, four kinds, each over a window and each with an alarm that is raised at one value and
cleared at a lower one, so that it does not flutter:

- `input`: strangeness, as a population stability index over tenths of the training rows, against
  the latest of them;
- `score`: the same of the chance that each tier is right, the tier that moved most;
- `agreement`: how much less or more often two tiers agree than at first under this artifact. Not
  than in training: whoever is asked twice was chosen for it;
- `calibration`: how far the confidence of answers that somebody scored lies from their scores.

Source: the index and its two limits, .1 "some change" and .25 "a great one": N. Siddiqi, "Credit
Risk Scorecards", 2006.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["input", "score", "agreement", "calibration"]
KINDS: Final[tuple[Kind, ...]] = ("input", "score", "agreement", "calibration")

FOREIGN: Final = 0.99
"""Chosen: of traffic like the training rows one request in a hundred leans for nothing."""

WARY: Final = 0.9
"""Chosen: the same while the alarm of the input is raised. Much of the traffic is foreign then,
and it takes less to believe it of one request; a tenth of what is known is taken for foreign too,
and served like a mix for so long."""

LEAN: Final = 0.5
"""Chosen: of a foreign request a dollar must buy half as much: where nothing is known of it, the
safer tier is worth more than usual."""

BINS: Final = 10
WINDOW: Final = 500
LEAST: Final = 200
"""Chosen: of 500 requests without any change the index is .018 on average (BINS - 1 over their
number), and beyond .05 once in a thousand windows; below 200 nothing is said."""

_EPSILON: Final = 1e-3
_SURE: Final = 3.0
"""Chosen: standard errors; a share or a gap that is large by chance raises no alarm."""

_LIMITS: Final[Mapping[Kind, tuple[float, float]]] = {
    "input": (0.25, 0.1),
    "score": (0.25, 0.1),
    "agreement": (0.15, 0.075),
    "calibration": (0.1, 0.05),
}
"""Raised at, cleared below. Chosen: for the last two, what moves the operating point visibly."""

Floats = NDArray[np.float32]

EVEN: Final = (1.0 / BINS,) * BINS


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Known:
    """A summary of what an artifact was fitted on.

    Attributes:
        centroids: (k, dim) float32, unit length: where its vectors lie.
        similarity: (101,) float32, falling: percentiles of each row's similarity to the nearest.
        shares: (BINS,) float32: of the latest training rows those in each tenth of strangeness.
            A tenth each, where they are like the others; what was learnt since they changed is not.
        scores: (tiers, BINS - 1) float32, rising: tenths of the latest rows' chance that each tier
            is right, before any answer.
        gain: (plans,) float64: the mean gain of each plan before any answer.
    """

    centroids: Floats
    similarity: Floats
    shares: Floats
    scores: Floats
    gain: NDArray[np.float64]
    _rising: list[float] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # Looked up in a list: numpy's search takes longer to be called than to find it.
        object.__setattr__(self, "_rising", (-self.similarity).tolist())

    def strangeness(self, vector: Floats) -> float:
        """The share of the training rows that lie nearer, in [0, 1]."""
        nearest = float((self.centroids @ vector).max())
        nearer = bisect_left(self._rising, -nearest)
        return min(1.0, nearer / (len(self._rising) - 1))


@dataclass(frozen=True, slots=True)
class Standing:
    """One kind of drift as it stands.

    Attributes:
        value: As told at the head; 0 before there is enough to go by.
        is_alarmed: It was raised and not cleared since.
        seen: Requests in the window.
    """

    value: float = 0.0
    is_alarmed: bool = False
    seen: int = 0


def tenth_of(strangeness: float) -> int:
    """In which tenth of the training rows it lies, 0 to BINS - 1."""
    return min(BINS - 1, int(strangeness * BINS))


@dataclass(slots=True)
class _Tenths:
    """Counts over a window of what should fall into each tenth by its share."""

    shares: Sequence[float] = EVEN
    held: deque[int] = field(default_factory=deque)
    counts: list[int] = field(default_factory=lambda: [0] * BINS)

    def add(self, tenth: int) -> None:
        if len(self.held) == WINDOW:
            self.counts[self.held.popleft()] -= 1
        self.held.append(tenth)
        self.counts[tenth] += 1

    def index(self) -> float:
        seen = len(self.held)
        if seen < LEAST:
            return 0.0
        pairs = zip((count / seen for count in self.counts), self.shares, strict=True)
        both = ((max(_EPSILON, share), max(_EPSILON, before)) for share, before in pairs)
        return sum((share - before) * math.log(share / before) for share, before in both)


class Watch:
    """Traffic against one artifact. One owner; told of each request as it ends."""

    def __init__(self, known: Known | None) -> None:
        """Without `known` only agreement and calibration are watched."""
        self._known = known
        self._input = _Tenths(EVEN if known is None else known.shares.tolist())
        self._scores = [_Tenths() for _ in (known.scores if known is not None else ())]
        self._first: list[bool] = []
        self._agreed: deque[bool] = deque(maxlen=WINDOW)
        self._gaps: deque[tuple[float, float]] = deque(maxlen=WINDOW)
        self._standing: dict[Kind, Standing] = dict.fromkeys(KINDS, Standing())

    def decided(self, strangeness: float | None, right: Sequence[float]) -> None:
        """A request was decided; `right` by the artifact's own tiers."""
        if self._known is None or strangeness is None:
            return
        self._input.add(tenth_of(strangeness))
        self._stands("input", self._input.index(), len(self._input.held))
        if len(right) == len(self._scores):
            for tenths, chance, limits in zip(self._scores, right, self._known.scores, strict=True):
                tenths.add(int(np.searchsorted(limits, chance)))
            moved = max(tenths.index() for tenths in self._scores)
            self._stands("score", moved, len(self._scores[0].held))

    def agreed(self, *, same: bool) -> None:
        """Two tiers answered; their final answers are the same or not."""
        if len(self._first) < LEAST:
            self._first.append(same)
            return
        self._agreed.append(same)
        seen, first = len(self._agreed), sum(self._first) / len(self._first)
        if seen < LEAST:
            return
        late = sum(self._agreed) / seen
        spread = first * (1 - first) / len(self._first) + late * (1 - late) / seen
        self._stands_surely("agreement", late - first, math.sqrt(spread), seen)

    def scored(self, confidence: float, score: float) -> None:
        """Somebody scored an answer, 0 to 1, that was served with this confidence."""
        self._gaps.append((score - confidence, confidence * (1.0 - confidence)))
        seen = len(self._gaps)
        if seen < LEAST:
            return
        gap = sum(each for each, _ in self._gaps) / seen
        spread = math.sqrt(sum(each for _, each in self._gaps)) / seen
        self._stands_surely("calibration", gap, spread, seen)

    def _stands_surely(self, kind: Kind, value: float, spread: float, seen: int) -> None:
        is_sure = abs(value) > _SURE * spread
        self._stands(kind, value, seen, is_sure=is_sure)

    def _stands(self, kind: Kind, value: float, seen: int, *, is_sure: bool = True) -> None:
        raised, cleared = _LIMITS[kind]
        was = self._standing[kind].is_alarmed
        is_alarmed = abs(value) >= (cleared if was else raised) and (was or is_sure)
        self._standing[kind] = Standing(value, is_alarmed, seen)

    @property
    def standings(self) -> Mapping[Kind, Standing]:
        """Every kind."""
        return self._standing
