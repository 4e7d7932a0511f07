"""Whether there is room: a caller in, and a place, a count or a reservation out, or a refusal.

The parts have a file each; this one composes them for the door and the till, and tells `/metrics`
and the operator how they stand.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Protocol

from sidecar.admission.places import Place, Places
from sidecar.admission.purses import Key, Purses, Reservation
from sidecar.admission.rates import Rates
from sidecar.admission.tenants import OTHER, Caller, TenantConfig, Tenants, user_key
from sidecar.deadline import Deadline
from sidecar.errors import AdmissionRefused, UnknownCaller
from sidecar.options import Priority
from sidecar.values import value

TOLD_USERS: Final = 20
"""Chosen: of each tenant, the users that the operator is told, dearest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionConfig:
    """What all tenants have in common.

    Attributes:
        path: File of what was spent, so that it survives a restart; empty is `admission.sqlite`
            among the rest of the state, and memory alone where nothing else is kept on disk.
        answer_tokens: The longest answer that is reckoned with where a request sets no limit.
        refresh_budget_usd_per_hour: What fetching expired answers anew behind callers' backs may
            cost; no tenant's budget pays for it.

    Raises:
        ValueError: A number lies outside its range.
    """

    path: str = ""
    # Chosen: few chat answers are longer; one that is, is counted all the same once it stands.
    answer_tokens: int = 4096
    refresh_budget_usd_per_hour: float = 1.0

    def __post_init__(self) -> None:
        if self.answer_tokens <= 0:
            raise ValueError("answer_tokens must be positive")
        if self.refresh_budget_usd_per_hour < 0:
            raise ValueError("refresh_budget_usd_per_hour must not be negative")


class Meter(Protocol):
    """Hears who was refused and who waited."""

    def refused(self, tenant: str, reason: str) -> None:
        """A request of the tenant's (`other` where no config names it) was refused."""
        ...

    def queued(self, priority: str, waited_s: float) -> None:
        """One got a place after a wait."""
        ...


@value(frozen=True, slots=True, eq=False)
class Hold:
    """What was taken for one climb until it is known what it came to.

    Attributes:
        caller: Who pays.
        user: For whom.
        tokens: Of the minute's.
        reservation: Of the budgets; tells how many tiers it covers.
    """

    caller: Caller
    user: str
    tokens: float
    reservation: Reservation


class Admission:
    """Knows the tenants, and counts who is inside. Lives on the event loop's thread."""

    def __init__(
        self,
        *,
        tenants: Sequence[TenantConfig],
        max_in_flight: int,
        max_queued: int,
        queue_timeout_s: float,
        meter: Meter,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`clock` is monotonic, in seconds; `wall` in seconds since the epoch, UTC."""
        self._queue_timeout_s = queue_timeout_s
        self._meter = meter
        self._places = Places(max_in_flight=max_in_flight, max_queued=max_queued)
        self.rates: Final = Rates(clock, wall)
        self.purses: Final = Purses(wall)
        self.know(tenants)

    def know(self, tenants: Sequence[TenantConfig]) -> None:
        """Know these tenants from now on, and no others; what they took and spent stays so."""
        self._tenants = Tenants(tenants)
        self.rates.know(self._tenants.configs)
        self.purses.know(self._tenants.configs)

    def identify(self, headers: Mapping[str, str]) -> Caller:
        """See Tenants; raises UnknownCaller, and counts who tries keys."""
        try:
            return self._tenants.identify(headers)
        except UnknownCaller:
            self._meter.refused(OTHER, "unknown_key")
            raise

    @property
    def in_flight(self) -> int:
        """Requests inside."""
        return self._places.in_flight

    def waiting(self, priority: Priority) -> int:
        """Requests that wait for a place."""
        return self._places.line.length(priority)

    def has_room(self, caller: Caller, asked: Priority | None) -> bool:
        """A request would get a place at once; nobody's are counted by the minute."""
        priority: Priority = "batch" if asked == "batch" else caller.priority
        is_counted = caller.tenant in self.rates.limited
        return not is_counted and self._places.has_room(caller, priority)

    async def place(self, caller: Caller, asked: Priority | None, deadline: Deadline) -> Place:
        """A place, now or when one comes free; the request counts as one of its tenant's.

        Args:
            caller: Who asks.
            asked: What he asks for; it may be less urgent than his tenant is, never more.
            deadline: He waits no longer.

        Raises:
            AdmissionRefused: The minute's requests are used up, the line is full, or time is over.
        """
        priority: Priority = "batch" if asked == "batch" else caller.priority
        try:
            if caller.tenant in self.rates.limited:
                self.rates.take_request(caller.tenant, None)
            place = self._places.find(caller, priority)
            if place is not None:
                return place
            budget_s = min(self._queue_timeout_s, deadline.remaining_s())
            place, waited_s = await self._places.wait(caller, priority, budget_s)
        except AdmissionRefused as fault:
            self._refused(caller, fault)
            raise
        self._meter.queued(priority, waited_s)
        return place

    def is_rated(self, caller: Caller) -> bool:
        """His requests, or his tokens, are counted by the minute."""
        return caller.tenant in self.rates.limited

    def count_user(self, caller: Caller, user: str) -> None:
        """One request of this user's.

        Raises:
            RateLimited: His minute's requests are used up.
        """
        if caller.tenant not in self.rates.limited:
            return
        try:
            self.rates.take_request(caller.tenant, user_key(user))
        except AdmissionRefused as fault:
            self._refused(caller, fault)
            raise

    def rate_headers(self, caller: Caller, user: str) -> dict[str, str]:
        """What is left of the minute's; empty where nothing is limited."""
        if caller.tenant not in self.rates.limited:
            return {}
        return self.rates.headers(caller.tenant, user_key(user))

    def knows(self, caller: Caller) -> bool:
        """What he takes and spends is counted: the config names his tenant."""
        return caller.tenant in self._tenants.configs

    def has_budget(self, caller: Caller) -> bool:
        """He may not spend without end."""
        return caller.tenant in self._tenants.budgeted

    def is_limited(self, caller: Caller) -> bool:
        """Something must be taken of his budgets or his minute's before anybody is asked."""
        tenant = caller.tenant
        return tenant in self._tenants.budgeted or tenant in self.rates.limited

    def hold(
        self,
        caller: Caller,
        user: str,
        *,
        tokens_in: int,
        answer_tokens: int | None,
        worst_usd: Sequence[Decimal],
    ) -> Hold:
        """Take what a climb may come to, of the minute's tokens and of the budgets.

        Args:
            caller: Who pays.
            user: For whom.
            tokens_in: Of the prompt, estimated.
            answer_tokens: The answer's limit; None if the request sets none.
            worst_usd: Of each tier that may be asked, in rising order, what it may cost at worst.

        Raises:
            BudgetSpent: There is no money even for the first tier.
            RateLimited: There are not so many tokens left in this minute.
        """
        tenant, user = caller.tenant, user_key(user)
        try:
            reservation = self.purses.reserve(tenant, user, worst_usd)
            try:
                tokens = self.rates.reserve_tokens(tenant, user, tokens_in, answer_tokens)
            except AdmissionRefused:
                self.purses.settle(reservation, Decimal(0))
                raise
        except AdmissionRefused as fault:
            self._refused(caller, fault)
            raise
        return Hold(caller, user, tokens, reservation)

    def spend(self, caller: Caller, cost_usd: Decimal) -> None:
        """A climb of somebody who has no limits came to this."""
        self.purses.spend(caller.tenant, cost_usd)

    def settle(self, hold: Hold, *, tokens: int, cost_usd: Decimal) -> None:
        """The climb came to this. Only the first call for a hold counts."""
        if not hold.reservation.is_settled:
            self.rates.settle_tokens(hold.caller.tenant, hold.user, hold.tokens, tokens)
            self.purses.settle(hold.reservation, cost_usd)

    def _refused(self, caller: Caller, fault: AdmissionRefused) -> None:
        is_known = caller.tenant in self._tenants.configs
        self._meter.refused(caller.tenant if is_known else OTHER, fault.reason)

    # What the operator sees.

    def budget_rows(self, figure: str) -> Iterator[tuple[tuple[str, str], float]]:
        """One gauge's rows: (tenant, period) and dollars; `figure` is a field of `budgets`."""
        for tenant in self._tenants.configs:
            for period, told in self._periods(tenant).items():
                if (amount := told[figure]) is not None:
                    yield (tenant, period), float(amount)

    def budgets(self) -> list[dict[str, Any]]:
        """Limits, spent, reserved and remaining of every tenant, and its dearest users today.

        From any thread: with many users it takes a while, which callers need not wait for.
        """
        dearest = self.purses.dearest(TOLD_USERS)
        return [
            {
                "tenant": name,
                **self._periods(name),
                "users_today": [
                    {"user": each.user, "committed_usd": str(each.committed_usd)}
                    for each in dearest.get(name, ())
                ],
                "user_limit_usd_per_day": _text(config.user_budget_usd_per_day),
            }
            for name, config in self._tenants.configs.items()
        ]

    def _periods(self, tenant: str) -> dict[str, dict[str, str | None]]:
        keys: dict[str, Key] = {
            "total": (tenant, None, None),
            "day": (tenant, None, self.purses.today()),
        }
        return {period: self._told(key) for period, key in keys.items()}

    def _told(self, key: Key) -> dict[str, str | None]:
        limit, purse = self.purses.limit_usd(key), self.purses.peek(key)
        remaining = None if limit is None else max(Decimal(0), limit - purse.committed)
        return {
            "limit_usd": _text(limit),
            "spent_usd": _text(purse.spent),
            "reserved_usd": _text(purse.reserved),
            "remaining_usd": _text(remaining),
        }


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else f"{amount.normalize():f}"
