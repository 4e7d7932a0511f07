"""Rates: reserve, then settle; by tenant and by user; bounded, told, and remembered."""

from __future__ import annotations

import pytest

from sidecar.admission import rates as module
from sidecar.admission.rates import FIRST_ANSWER_TOKENS, Rates, duration
from sidecar.errors import RateLimited
from tests.sidecar.admission.fakes import FakeClock, tenant


def rates(clock: FakeClock | None = None, **limits: float) -> Rates:
    clock = clock or FakeClock()
    made = Rates(clock, clock)
    made.know({"shop": tenant("shop", **limits)})
    return made


def left(made: Rates, user: str = "", kind: str = "tokens") -> int:
    return int(made.headers("shop", user)[f"x-ratelimit-remaining-{kind}"])


def test_requests_come_back_with_time() -> None:
    """At the rate that was told, and no sooner."""
    clock = FakeClock()
    made = rates(clock, requests_per_minute=2)
    for _ in range(2):
        made.take_request("shop", None)
    with pytest.raises(RateLimited) as caught:
        made.take_request("shop", None)
    assert caught.value.retry_after_s == pytest.approx(30.0)
    assert caught.value.reason == "requests_per_minute"
    assert caught.value.headers["x-ratelimit-remaining-requests"] == "0"
    assert caught.value.headers["x-ratelimit-reset-requests"] == "1m0s"
    clock.now_s += 30.0
    made.take_request("shop", None)


def test_what_was_reserved_and_not_billed_comes_back() -> None:
    """And what was billed beyond it is owed."""
    made = rates(tokens_per_minute=1000)
    reserved = made.reserve_tokens("shop", "", 100, 400)
    assert (reserved, left(made)) == (500, 500)
    made.settle_tokens("shop", "", reserved, 150)
    assert left(made) == 850
    reserved = made.reserve_tokens("shop", "", 100, 100)
    made.settle_tokens("shop", "", reserved, 900)
    assert left(made) == 0
    with pytest.raises(RateLimited):
        made.reserve_tokens("shop", "", 1, 1)


def test_without_a_limit_the_mean_of_the_answers_is_reserved() -> None:
    """It follows what the tenant's answers were."""
    made = rates(tokens_per_minute=10_000)
    assert made.reserve_tokens("shop", "", 100, None) == 100 + FIRST_ANSWER_TOKENS
    for _ in range(200):
        made.saw_answer("shop", 10)
    assert made.reserve_tokens("shop", "", 100, None) == pytest.approx(110, abs=1)


def test_tenant_and_user_pay_both_or_neither() -> None:
    """A user at his limit takes nothing of his tenant's."""
    made = rates(tokens_per_minute=1000, user_tokens_per_minute=100)
    made.reserve_tokens("shop", "ann", 50, 50)
    with pytest.raises(RateLimited) as caught:
        made.reserve_tokens("shop", "ann", 50, 50)
    assert caught.value.reason == "user_tokens_per_minute"
    assert left(made, "bob") == 100
    assert left(made, "ann") == 0
    made.reserve_tokens("shop", "bob", 50, 50)


def test_more_than_a_minutes_tokens_is_not_told_to_come_back() -> None:
    """It would never be there."""
    with pytest.raises(RateLimited, match="more than a minute's") as caught:
        rates(tokens_per_minute=100).reserve_tokens("shop", "", 50, 51)
    assert caught.value.retry_after_s is None
    assert caught.value.headers["x-should-retry"] == "false"


def test_users_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has been silent longest is forgotten; his tenant's limit is not."""
    monkeypatch.setattr(module, "MAX_USERS", 3)
    made = rates(user_requests_per_minute=1)
    for user in ("a", "b", "c"):
        made.take_request("shop", user)
    with pytest.raises(RateLimited):
        made.take_request("shop", "a")
    made.take_request("shop", "d")
    made.take_request("shop", "b")
    with pytest.raises(RateLimited):
        made.take_request("shop", "a")


def test_one_tenants_users_push_out_no_other_tenants(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who invents users makes room among his own."""
    monkeypatch.setattr(module, "MAX_USERS", 4)
    made = Rates(FakeClock(), FakeClock())
    limit = {"user_requests_per_minute": 1.0}
    made.know({name: tenant(name, **limit) for name in ("shop", "flood")})
    made.take_request("shop", "ann")
    for number in range(100):
        made.take_request("flood", f"user-{number}")
    with pytest.raises(RateLimited):
        made.take_request("shop", "ann")


def test_a_restart_is_no_way_to_a_fresh_minute() -> None:
    """What was taken a moment before it stays taken, as long as a minute says."""
    clock = FakeClock()
    made = rates(clock, requests_per_minute=60, user_requests_per_minute=30)
    for _ in range(30):
        made.take_request("shop", None)
        made.take_request("shop", "ann")
    levels = made.changes()
    assert made.changes() == []
    clock.now_s += 5.0
    again = rates(clock, requests_per_minute=60, user_requests_per_minute=30)
    again.restore(levels)
    assert left(again, "bob", "requests") == 30
    assert left(again, "ann", "requests") == 2


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.0, "0ms"), (0.02, "20ms"), (1.0, "1s"), (1.5, "1.5s"), (61.5, "1m1.5s"), (360.0, "6m0s")],
)
def test_durations_are_told_as_the_vendor_tells_them(seconds: float, told: str) -> None:
    """Minutes, seconds, milliseconds."""
    assert duration(seconds) == told
