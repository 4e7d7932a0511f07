"""What was seen at rest decides; what wavers under load does not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from loadtest.measures.vitals import Vitals
from loadtest.resilience.churn import Paced
from loadtest.resilience.soaked import Soaked, report

SPELL_S = 180.0


def _vitals(at_s: float, *, rss_mib: float = 200.0, handles: int = 34) -> Vitals:
    own_mib = rss_mib - 60.0
    return Vitals(
        at_s=at_s,
        rss_mib=rss_mib,
        own_mib=own_mib,
        handles=handles,
        threads=13,
        tasks=12,
        cpu_s=at_s / 2,
    )


def _soaked(rests: Sequence[Vitals], unanswered: int = 0) -> Soaked:
    return Soaked(
        before=_vitals(0.0),
        samples=[_vitals(5.0 * n, handles=40 + 37 * n * n % 101) for n in range(1, 432)],
        rests=rests,
        warm_up=0.2,
        done={"new": 90_000},
        outcomes={"200 miss": 90_000, "unanswered: TimeoutError, head": unanswered},
        pace=Paced(0, 0.1),
        load_s=1_800.0,
    )


def _resting(handles: Sequence[int]) -> list[Vitals]:
    return [_vitals(SPELL_S * (n + 1), handles=count) for n, count in enumerate(handles)]


def test_handles_that_come_back_at_each_rest_are_flat_however_they_waver_under_load() -> None:
    """The wavering stands beside it, and decides nothing."""
    soaked = _soaked(_resting([34] * 12))
    assert soaked.verdict("handles") == "flat"
    under_load = soaked.slope_under_load("handles")
    assert under_load.high - under_load.low > soaked.flat_below("handles")
    assert soaked.is_good


def test_a_handle_lost_every_ten_minutes_grows() -> None:
    """Six an hour, which no series under load would show."""
    soaked = _soaked(_resting([34 + int(SPELL_S * n / 600) for n in range(12)]))
    assert soaked.verdict("handles") == "grows"
    assert soaked.left_behind == {"handles": 3}
    assert not soaked.is_good


def test_what_grows_until_it_is_full_within_the_warm_up_is_flat() -> None:
    """The first rests, that fill what has a bound, are not judged."""
    assert _soaked(_resting([34, 44, *[50] * 10])).verdict("handles") == "flat"


def test_memory_may_gain_a_tenth_of_its_level_in_an_hour() -> None:
    """Ten of 200 MiB are flat, and forty grow."""

    def verdict(gain_mib: float) -> str:
        rests = [
            _vitals(SPELL_S * n, rss_mib=200 + gain_mib * SPELL_S * n / 3_600) for n in range(1, 13)
        ]
        return _soaked(rests).verdict("rss_mib")

    assert [verdict(10.0), verdict(40.0)] == ["flat", "grows"]


def test_too_few_rests_are_unclear() -> None:
    """Nothing is called flat that was not seen to be."""
    assert _soaked(_resting([34] * 5)).verdict("handles") == "unclear"


@pytest.mark.parametrize("unanswered", [0, 1])
def test_one_request_without_an_answer_is_not_good(unanswered: int) -> None:
    """The report says so too, with the rate that the load had."""
    told = report(_soaked(_resting([34] * 12), unanswered))
    assert told.is_good is not bool(unanswered)
    assert f"{unanswered} requests got no HTTP answer." in told.notes
    assert told.notes[0].startswith("90000 requests, 50.0 a second")
