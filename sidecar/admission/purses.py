"""What may be spent, and what was: dollars of a tenant in all, of it and of its users on one day.

Rule 1: the worst case of a call is reserved before it is made, in every purse that it would be paid
        from, or in none. So spent and reserved together never pass a limit, however many ask at
        once; only a call that costs more than its worst case could, and it is counted all the same.
Rule 2: what is reserved counts as spent until it is settled, also on the disk: a process that is
        killed leaves its reservations as spendings behind.
Rule 3: a reservation is settled once, into the day that it was made on. Days are UTC days, and the
        two last seen are held, so that a clock set back for a while finds its day again.
Rule 4: `MAX_USERS` have a purse of their own on one day; those beyond share one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from heapq import nlargest
from typing import Final

from sidecar.admission.tenants import TenantConfig
from sidecar.errors import BudgetSpent

MAX_USERS: Final = 100_000
"""Chosen: some tens of megabytes, on a day on which so many users of the pod ask for something."""

OTHERS: Final = "*"
"""The user that stands for those beyond `MAX_USERS`."""

_DAY_S: Final = 86_400
_DAYS_HELD: Final = 2
"""Chosen: today, and yesterday for calls that were begun before midnight."""

Key = tuple[str, str | None, int | None]
"""Tenant, user (None for the tenant as a whole), and the UTC day since 1970 (None for ever)."""


@dataclass(slots=True, eq=False)
class Purse:
    """What one of them spent.

    Attributes:
        spent: Settled, in USD.
        reserved: By calls under way, in USD.
    """

    spent: Decimal = Decimal(0)
    reserved: Decimal = Decimal(0)

    @property
    def committed(self) -> Decimal:
        """What must be taken for spent if nothing more is heard."""
        return self.spent + self.reserved


@dataclass(slots=True, eq=False)
class Reservation:
    """The worst case of one call, until it is settled.

    Attributes:
        worst_usd: What was reserved.
        tiers: How many tiers it covers, cheapest first.
    """

    worst_usd: Decimal
    tiers: int
    keys: tuple[Key, ...] = field(repr=False)
    is_settled: bool = False


@dataclass(frozen=True, slots=True)
class Spending:
    """One purse, as it is told and kept.

    Attributes:
        tenant: Whose.
        user: None for the tenant as a whole.
        day: UTC day since 1970; None for all days.
        committed_usd: Spent, and reserved by calls under way.
    """

    tenant: str
    user: str | None
    day: int | None
    committed_usd: Decimal


class Purses:
    """Every purse. Lives on the event loop's thread; `wall` gives seconds since the epoch, UTC."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._configs: Mapping[str, TenantConfig] = {}
        self._purses: dict[int | None, dict[Key, Purse]] = {None: {}}
        self._changed: set[Key] = set()

    def know(self, configs: Mapping[str, TenantConfig]) -> None:
        """These limits from now on; what was spent stays spent."""
        self._configs = configs

    def reserve(self, tenant: str, user: str, worst_usd: Sequence[Decimal]) -> Reservation:
        """Room for as many of the tiers as there is money for, and for one at least.

        Args:
            tenant: Who pays.
            user: For whom.
            worst_usd: Of each tier that may be asked, in rising order, what it may cost at worst.

        Raises:
            BudgetSpent: There is not enough even for the first.
        """
        keys = self._keys(tenant, user)
        room = self._room(keys)
        total, tiers = Decimal(0), 0
        for cost in worst_usd:
            # A tier without a price may be asked whatever was spent.
            if room is not None and cost > 0 and total + cost > room:
                break
            total, tiers = total + cost, tiers + 1
        if not tiers:
            raise self._refusal(keys, worst_usd[0])
        for key in keys:
            self._purse(key).reserved += total
        self._changed.update(keys)
        return Reservation(total, tiers, keys)

    def spend(self, tenant: str, cost_usd: Decimal) -> None:
        """It came to this, of a tenant who has no limits, and so nothing was reserved."""
        keys = self._keys(tenant, "")
        for key in keys:
            self._purse(key).spent += cost_usd
        self._changed.update(keys)

    def settle(self, reservation: Reservation, cost_usd: Decimal) -> None:
        """It came to this. Only the first call for a reservation counts."""
        if reservation.is_settled:
            return
        reservation.is_settled = True
        for key in reservation.keys:
            # Gone with its day, if the call outlived that and the next one.
            if (purse := self._purses.get(key[2], {}).get(key)) is not None:
                purse.reserved -= reservation.worst_usd
                purse.spent += cost_usd
        self._changed.update(reservation.keys)

    def limit_usd(self, key: Key) -> Decimal | None:
        """What may be spent from the purse at `key`; None without end."""
        tenant, user, day = key
        config = self._configs.get(tenant)
        if config is None:
            return None
        if user is not None:
            return config.user_budget_usd_per_day
        return config.budget_usd if day is None else config.budget_usd_per_day

    def peek(self, key: Key) -> Purse:
        """The purse at `key` as it stands; an empty one if there is none."""
        return self._purses.get(key[2], {}).get(key) or Purse()

    def today(self) -> int:
        """The UTC day since 1970."""
        return int(self._wall() // _DAY_S)

    def dearest(self, most: int) -> dict[str, list[Spending]]:
        """Of each tenant the users who spent most today; from any thread."""
        # Copied at once: while a dict is read by one thread, another must not change it.
        held = self._purses.get(self.today(), {}).copy()
        told: dict[str, list[Spending]] = {}
        for key, purse in held.items():
            if key[1] is not None:
                told.setdefault(key[0], []).append(_told(key, purse))
        return {
            tenant: nlargest(most, each, key=lambda one: one.committed_usd)
            for tenant, each in told.items()
        }

    def changes(self) -> list[Spending]:
        """The purses that were touched since the last call."""
        changed, self._changed = self._changed, set()
        return [_told(key, self.peek(key)) for key in changed]

    def restore(self, spendings: Sequence[Spending]) -> None:
        """Go on where the process before this one ended."""
        for each in spendings:
            if each.day is None or abs(each.day - self.today()) < _DAYS_HELD:
                self._purse((each.tenant, each.user, each.day)).spent = each.committed_usd

    def _keys(self, tenant: str, user: str) -> tuple[Key, ...]:
        """The purses that a call is paid from; users have one only where they have a limit."""
        config, day = self._configs.get(tenant), self.today()
        if config is None:
            return ()
        of_tenant: tuple[Key, ...] = ((tenant, None, None), (tenant, None, day))
        if config.user_budget_usd_per_day is None:
            return of_tenant
        of_user: Key = (tenant, user, day)
        held = self._purses.get(day, {})
        if of_user not in held and len(held) >= MAX_USERS:
            of_user = (tenant, OTHERS, day)
        return (*of_tenant, of_user)

    def _room(self, keys: Sequence[Key]) -> Decimal | None:
        rooms = [limit - purse.committed for _, limit, purse in self._limited(keys)]
        return min(rooms, default=None)

    def _limited(self, keys: Sequence[Key]) -> Iterator[tuple[Key, Decimal, Purse]]:
        for key in keys:
            if (limit := self.limit_usd(key)) is not None:
                yield key, limit, self._purse(key)

    def _refusal(self, keys: Sequence[Key], worst_usd: Decimal) -> BudgetSpent:
        """Of the purses that are too empty, the one that stays so longest."""
        empty = [each for each in self._limited(keys) if each[1] - each[2].committed < worst_usd]
        # What calls under way have reserved may come back in a moment.
        spent = [each for each in empty if each[1] - each[2].spent < worst_usd]
        (_, user, day), limit, _ = min(spent or empty, key=lambda each: each[0][2] is not None)
        wait_s = 1.0 if not spent else None if day is None else _DAY_S - self._wall() % _DAY_S
        whose = "this user's" if user is not None else "this tenant's"
        when = "" if day is None else " for today (UTC)"
        return BudgetSpent(
            f"{whose} budget of {limit} USD{when} has no room for this request",
            reason=f"{'user_' if user is not None else ''}budget{'' if day is None else '_day'}",
            retry_after_s=wait_s,
            may_retry=not spent,
        )

    def _purse(self, key: Key) -> Purse:
        day = key[2]
        held = self._purses.get(day)
        if held is None:
            held = self._purses[day] = {}
            days = [each for each in self._purses if each is not None]
            if len(days) > _DAYS_HELD:
                del self._purses[days[0]]  # seen first
        return held.setdefault(key, Purse())


def _told(key: Key, purse: Purse) -> Spending:
    return Spending(*key, purse.committed)
