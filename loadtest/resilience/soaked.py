"""What a soak saw in; whether anything grew, and the report of it, out.

Judged is what stands at rest: under load handles and tasks follow the requests under way, which
waver more than any leak that half an hour shows. The same under load stands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Final

from loadtest.callers.answers import UNANSWERED
from loadtest.measures.slopes import Slope, slope_per_hour
from loadtest.measures.vitals import Vitals
from loadtest.report import Report, Table
from loadtest.resilience.churn import Paced

COUNTS: Final = ("handles", "tasks", "threads")
QUANTITIES: Final = ("rss_mib", "own_mib", *COUNTS)

FLAT_RATIO: Final = 0.1
"""Chosen: of the memory's level, an hour; less than what chance makes of an hour's memory."""

FLAT_COUNT: Final = 2.0
"""Chosen: an hour. At 50 requests a second the rarest kind comes 900 times an hour: whatever a
request leaves behind, if only one in four hundred of the rarest kind does, is more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Soaked:
    """What was seen.

    Attributes:
        before: At rest, after the start, what filled it, and a handful of requests of each kind.
        samples: Under load.
        rests: At rest, after each spell of load; at least one.
        warm_up: The share of the time whose samples and rests are not judged.
        done: Requests by kind.
        outcomes: What came back, by count.
        pace: How the load generator kept its own.
        load_s: How long the load lasted, rests left out.
    """

    before: Vitals
    samples: Sequence[Vitals]
    rests: Sequence[Vitals]
    warm_up: float
    done: Mapping[str, int]
    outcomes: Mapping[str, int]
    pace: Paced
    load_s: float

    @property
    def after(self) -> Vitals:
        """At rest, when all is over."""
        return self.rests[-1]

    @property
    def peak_mib(self) -> float:
        """The most memory, warm-up included."""
        return max(one.rss_mib for one in (*self.samples, *self.rests))

    @property
    def judged_rests(self) -> list[Vitals]:
        """Those after the warm-up."""
        return self._warm(self.rests)

    @property
    def judged_samples(self) -> list[Vitals]:
        """Those after the warm-up."""
        return self._warm(self.samples)

    def _warm(self, seen: Sequence[Vitals]) -> list[Vitals]:
        began_s = self.before.at_s
        from_s = began_s + self.warm_up * (self.after.at_s - began_s)
        return [one for one in seen if one.at_s >= from_s]

    def slope_at_rest(self, name: str) -> Slope:
        """Of a quantity, an hour, over the rests."""
        return _slope(self.judged_rests, name)

    def slope_under_load(self, name: str) -> Slope:
        """The same over the samples."""
        return _slope(self.judged_samples, name)

    def flat_below(self, name: str) -> float:
        """What a quantity may gain an hour and be called flat."""
        if name in COUNTS:
            return FLAT_COUNT
        return FLAT_RATIO * fmean(float(getattr(one, name)) for one in self.judged_rests)

    def verdict(self, name: str) -> str:
        """Of the interval at rest: `flat` if all of it is, `grows` if none is, or `unclear`."""
        slope, bound = self.slope_at_rest(name), self.flat_below(name)
        if slope.high <= bound:
            return "flat"
        return "grows" if slope.low > bound else "unclear"

    @property
    def left_behind(self) -> dict[str, int]:
        """Handles, tasks and threads that are still there at the end, and were not before."""
        return more(self.after, self.before)

    @property
    def unanswered(self) -> int:
        """Requests that got no HTTP answer, callers who left apart."""
        return sum(count for name, count in self.outcomes.items() if name.startswith(UNANSWERED))

    @property
    def cpu_share(self) -> float:
        """Of one core, while there was load."""
        return (self.after.cpu_s - self.before.cpu_s) / self.load_s

    @property
    def is_good(self) -> bool:
        """Nothing grows, nothing is left behind, everybody was answered."""
        grows = any(self.verdict(name) == "grows" for name in QUANTITIES)
        return not grows and not self.left_behind and not self.unanswered


def more(now: Vitals, before: Vitals) -> dict[str, int]:
    """The counts of `now` that exceed those of `before`, and by how much."""
    excess = {name: getattr(now, name) - getattr(before, name) for name in COUNTS}
    return {name: count for name, count in excess.items() if count > 0}


def report(soaked: Soaked) -> Report:
    """For people and scripts."""
    began = sum(soaked.done.values())
    return Report(
        title=f"{soaked.load_s / 60:g} minutes of churn, with {len(soaked.rests)} rests",
        tables=[
            Table(
                title="Quantities",
                headings=(
                    "quantity",
                    "at rest",
                    "slope an hour",
                    "so it",
                    "left",
                    "under load",
                    "",
                ),
                rows=[_row(soaked, name) for name in QUANTITIES],
            ),
            _counts("Requests by kind", soaked.done),
            _counts("What came back", soaked.outcomes),
        ],
        figures=asdict(soaked)
        | {
            "slopes_at_rest": {name: asdict(soaked.slope_at_rest(name)) for name in QUANTITIES},
            "slopes_under_load": {
                name: asdict(soaked.slope_under_load(name)) for name in QUANTITIES
            },
            "verdicts": {name: soaked.verdict(name) for name in QUANTITIES},
            "cpu_share": soaked.cpu_share,
        },
        notes=[
            f"{began} requests, {began / soaked.load_s:.1f} a second; what filled it comes on top.",
            f"{soaked.cpu_share:.0%} of one core.",
            f"{soaked.pace.skipped} requests were not begun.",
            f"One was begun at most {soaked.pace.late_s:.1f} s late.",
            f"{soaked.unanswered} requests got no HTTP answer.",
            f"The first {soaked.warm_up:.0%} of the time is left out of the slopes.",
            "An interval is Student's, over the means of ten batches: of ten rests, each is one.",
            (
                f"Flat: an hour's gain at rest, with its whole interval, is below {FLAT_RATIO:.0%}"
                f" of the memory, or below {FLAT_COUNT:g} handles, tasks or threads."
            ),
            "Left: at the end, beyond what there was before.",
        ],
        is_good=soaked.is_good,
    )


def _row(soaked: Soaked, name: str) -> tuple[str, ...]:
    return (
        name,
        _range(soaked.judged_rests, name),
        str(soaked.slope_at_rest(name)),
        soaked.verdict(name),
        f"{getattr(soaked.after, name) - getattr(soaked.before, name):+.0f}",
        _range(soaked.judged_samples, name),
        str(soaked.slope_under_load(name)),
    )


def _range(seen: Sequence[Vitals], name: str) -> str:
    values = [getattr(one, name) for one in seen]
    return f"{min(values):.0f} to {max(values):.0f}"


def _slope(seen: Sequence[Vitals], name: str) -> Slope:
    return slope_per_hour([one.at_s for one in seen], [float(getattr(one, name)) for one in seen])


def _counts(title: str, counts: Mapping[str, int]) -> Table:
    rows = [(name, str(count)) for name, count in sorted(counts.items(), key=lambda one: -one[1])]
    return Table(title=title, headings=("", "count"), rows=rows)
