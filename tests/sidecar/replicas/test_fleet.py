"""The fleet: what is known of an upstream outlives a reload, as long as it is the same one."""

from __future__ import annotations

from sidecar.providers.breaker import BreakerConfig, State
from sidecar.replicas.fleet import Fleet, Identity, Manner, Replica
from tests.sidecar.replicas.fakes import FakeClock, FakeUpstream

VENDOR = FakeUpstream("4", name="vendor")
ONE_IS_ENOUGH = BreakerConfig(run=1)


def wanted(
    model: str = "m",
    base_url: str = "http://u",
    key: str = "k",
    breaker: BreakerConfig = ONE_IS_ENOUGH,
) -> list[list[tuple[FakeUpstream, str, Manner]]]:
    identity = Identity.of("vendor", base_url, key)
    return [[(VENDOR, model, Manner(identity=identity, breaker=breaker))]]


def shut(replica: Replica) -> None:
    ticket = replica.breaker.admit(1_000.0)
    assert ticket is not None
    replica.breaker.failed(ticket, 1_000.0)


def state_after(fleet: Fleet, *tiers: list[tuple[FakeUpstream, str, Manner]]) -> State:
    return fleet.muster(tiers)[0][0].breaker.state(1_000.0)


def test_a_reload_forgets_nothing_of_the_same_upstream() -> None:
    """Open stays open, and new settings hold from now on."""
    fleet = Fleet(FakeClock())
    shut(fleet.muster(wanted())[0][0])
    (again,) = fleet.muster(wanted(breaker=BreakerConfig(run=7)))[0]
    assert again.breaker.state(1_000.0) is State.OPEN
    assert again.breaker.config.run == 7


def test_another_model_place_or_key_begins_anew() -> None:
    """A key that was changed is tried at once, whatever the old one met."""
    for other in (wanted(model="n"), wanted(base_url="http://v"), wanted(key="l")):
        fleet = Fleet(FakeClock())
        shut(fleet.muster(wanted())[0][0])
        assert state_after(fleet, *other) is State.CLOSED


def test_what_a_reload_took_away_is_forgotten() -> None:
    """Nothing grows with the number of reloads."""
    fleet = Fleet(FakeClock())
    for number in range(50):
        fleet.muster(wanted(model=f"m{number}"))
    assert [each.model for each in fleet.standings()] == ["m49"]


def test_two_tiers_of_one_model_share_what_is_known() -> None:
    """And two models of one upstream share its budget, but not their breakers."""
    same = Fleet(FakeClock()).muster([*wanted(), *wanted()])
    assert same[0][0].breaker is same[1][0].breaker
    other = Fleet(FakeClock()).muster([*wanted("m"), *wanted("n")])
    assert other[0][0].budget is other[1][0].budget
    assert other[0][0].breaker is not other[1][0].breaker


def test_the_key_is_not_held() -> None:
    """Only its digest is."""
    assert "sk-secret" not in repr(Identity.of("vendor", "http://u", "sk-secret"))
