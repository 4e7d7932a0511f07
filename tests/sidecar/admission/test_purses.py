"""Budgets: never over, whatever interleaving; settled once; the same after a restart."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sidecar.admission import purses as module
from sidecar.admission.purses import OTHERS, Purses, Reservation
from sidecar.errors import BudgetSpent
from tests.sidecar.admission.fakes import DAY_S, FakeClock, tenant

LIMITS: dict[str, Any] = {
    "budget_usd": "5",
    "budget_usd_per_day": "2",
    "user_budget_usd_per_day": "0.7",
}
CENTS = st.integers(0, 100).map(lambda cents: Decimal(cents) / 100)


def purses(clock: FakeClock | None = None, **limits: Any) -> Purses:
    made = Purses(clock or FakeClock())
    made.know({"shop": tenant("shop", **limits)})
    return made


class BudgetMachine(RuleBasedStateMachine):
    """Calls begin, end, never end, and processes die; every purse is added up beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.purses = purses(self.clock, **LIMITS)
        self.open: list[tuple[Reservation, int, str]] = []
        self.true: dict[tuple[str | None, int | None], Decimal] = {}
        self.kept: dict[Any, Any] = {}

    def day(self) -> int:
        return int(self.clock.now_s // DAY_S)

    @rule(user=st.sampled_from("ab"), worst=st.lists(CENTS, min_size=1, max_size=3))
    def begin(self, user: str, worst: list[Decimal]) -> None:
        """As many tiers as fit, from the first on."""
        try:
            reservation = self.purses.reserve("shop", user, worst)
        except BudgetSpent:
            return
        assert 1 <= reservation.tiers <= len(worst)
        assert reservation.worst_usd == sum(worst[: reservation.tiers])
        self.open.append((reservation, self.day(), user))

    @precondition(lambda self: self.open)
    @rule(data=st.data(), share=st.integers(0, 100))
    def end(self, data: st.DataObject, share: int) -> None:
        """It cost its worst case or less; settling twice is settling once."""
        one = data.draw(st.sampled_from(self.open))
        self.open.remove(one)
        reservation, day, user = one
        cost = reservation.worst_usd * share / 100
        self.purses.settle(reservation, cost)
        self.purses.settle(reservation, cost * 7)
        self.count(user, day, cost)

    def count(self, user: str, day: int, cost: Decimal) -> None:
        for key in ((None, None), (None, day), (user, day)):
            self.true[key] = self.true.get(key, Decimal(0)) + cost

    @rule(hours=st.integers(0, 30))
    def pass_time(self, hours: int) -> None:
        """Days begin by themselves."""
        self.clock.now_s += hours * 3600.0

    @rule()
    def write(self) -> None:
        """What a disk would hold."""
        self.kept |= {(s.tenant, s.user, s.day): s for s in self.purses.changes()}

    @rule()
    def be_killed(self) -> None:
        """Just after a write: what was under way counts as spent."""
        self.write()
        for reservation, day, user in self.open:
            self.count(user, day, reservation.worst_usd)
        self.open.clear()
        self.purses = purses(self.clock, **LIMITS)
        self.purses.restore([*self.kept.values()])

    @invariant()
    def never_over(self) -> None:
        """In all, today, and of each user today."""
        today = self.day()
        limits = {(None, None): "5", (None, today): "2", ("a", today): "0.7", ("b", today): "0.7"}
        for (user, day), limit in limits.items():
            purse = self.purses.peek(("shop", user, day))
            under_way = sum(
                (r.worst_usd for r, d, u in self.open if user in {None, u} and day in {None, d}),
                Decimal(0),
            )
            assert purse.reserved == under_way
            assert purse.spent == self.true.get((user, day), Decimal(0))
            assert purse.committed <= Decimal(limit)


BudgetMachine.TestCase.settings = settings(max_examples=150, deadline=None)
test_budgets_against_a_sum = BudgetMachine.TestCase


def test_money_for_the_cheap_tiers_alone_narrows_to_them() -> None:
    """The ceiling comes down before anybody is refused."""
    made = purses(budget_usd="0.5")
    worst = [Decimal("0.1"), Decimal("0.3"), Decimal(2)]
    assert made.reserve("shop", "", worst).tiers == 2
    assert made.reserve("shop", "", worst).tiers == 1
    with pytest.raises(BudgetSpent):
        made.reserve("shop", "", [Decimal("0.2")])


def test_what_costs_nothing_is_never_refused() -> None:
    """A tier of one's own answers on, even where a longer answer than was reckoned overran."""
    made = purses(budget_usd="1")
    made.settle(made.reserve("shop", "", [Decimal(1)]), Decimal(2))
    assert made.reserve("shop", "", [Decimal(0), Decimal("0.1")]).tiers == 1
    with pytest.raises(BudgetSpent):
        made.reserve("shop", "", [Decimal("0.1")])


def test_what_is_reserved_may_come_back_and_what_is_spent_does_not() -> None:
    """Only in the one case does asking again make sense."""
    clock = FakeClock()
    made = purses(clock, budget_usd="1")
    reservation = made.reserve("shop", "", [Decimal(1)])
    with pytest.raises(BudgetSpent) as caught:
        made.reserve("shop", "", [Decimal("0.1")])
    assert caught.value.retry_after_s == 1.0
    assert "x-should-retry" not in caught.value.headers
    made.settle(reservation, Decimal("0.95"))
    with pytest.raises(BudgetSpent) as caught:
        made.reserve("shop", "", [Decimal("0.1")])
    assert caught.value.retry_after_s is None
    assert caught.value.headers["x-should-retry"] == "false"
    assert caught.value.reason == "budget"


def test_a_day_ends_at_midnight_utc() -> None:
    """Who is refused is told how long that is."""
    clock = FakeClock()
    clock.now_s += DAY_S - 60.0
    made = purses(clock, user_budget_usd_per_day="1")
    made.settle(made.reserve("shop", "ann", [Decimal(1)]), Decimal(1))
    with pytest.raises(BudgetSpent) as caught:
        made.reserve("shop", "ann", [Decimal(1)])
    assert caught.value.retry_after_s == pytest.approx(60.0)
    assert caught.value.reason == "user_budget_day"
    clock.now_s += 60.0
    made.reserve("shop", "ann", [Decimal(1)])


def test_a_clock_set_back_finds_its_day_again() -> None:
    """A jump over midnight and back gives nobody a second day."""
    clock = FakeClock()
    made = purses(clock, budget_usd_per_day="1")
    made.settle(made.reserve("shop", "", [Decimal(1)]), Decimal(1))
    for jump_s in (3 * DAY_S, -3 * DAY_S):
        clock.now_s += jump_s
        made.peek(("shop", None, made.today()))
        if jump_s > 0:
            made.reserve("shop", "", [Decimal("0.1")])
    with pytest.raises(BudgetSpent):
        made.reserve("shop", "", [Decimal("0.1")])


def test_users_beyond_the_bound_share_a_purse(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that names can be invented without end, and money cannot."""
    monkeypatch.setattr(module, "MAX_USERS", 3)
    made = purses(user_budget_usd_per_day="1")
    for number in range(50):
        try:
            made.settle(made.reserve("shop", f"u{number}", [Decimal(1)]), Decimal(1))
        except BudgetSpent:
            continue
    assert [each.user for each in made.dearest(9)["shop"]] == ["u0", "u1", OTHERS]


def test_a_raised_limit_goes_on_from_what_was_spent() -> None:
    """A reload is how a budget is raised, and no way to a fresh one."""
    made = purses(budget_usd="1")
    made.settle(made.reserve("shop", "", [Decimal(1)]), Decimal(1))
    made.know({"shop": tenant("shop", budget_usd="1.5")})
    assert made.reserve("shop", "", [Decimal("0.5")]).tiers == 1
    with pytest.raises(BudgetSpent):
        made.reserve("shop", "", [Decimal("0.1")])


def test_whom_no_config_names_spends_without_a_purse() -> None:
    """Nothing is held of a tenant without limits, however many there are."""
    made = purses()
    made.settle(made.reserve("key-1", "", [Decimal(9)]), Decimal(9))
    assert made.changes() == []


def test_what_is_spent_without_a_limit_stands_when_one_comes() -> None:
    """Nothing is reserved of who has no limit; what he spent is in his purses all the same."""
    made = purses()
    made.spend("shop", Decimal("0.4"))
    made.spend("key-1", Decimal(9))
    assert [(each.day is None, each.committed_usd) for each in made.changes()].count(
        (True, Decimal("0.4"))
    ) == 1
    made.know({"shop": tenant("shop", budget_usd_per_day="0.5")})
    with pytest.raises(BudgetSpent):
        made.reserve("shop", "", [Decimal("0.2")])
    assert made.peek(("key-1", None, None)).spent == 0
