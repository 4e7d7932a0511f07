"""What one request came to: its account in, response headers, metrics and one log record out.

The three are views of the same account. What none of them finds in it ready (whose answer it is,
what it cost and saved) is drawn up once, as its `Balance`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final, Protocol

from cache.entry import Entry
from router.pricing import cost
from router.tiers import Ladder
from sidecar.accounting.again import Again
from sidecar.accounting.headers import broken_rules, response_headers, summary
from sidecar.accounting.records import Records
from sidecar.degraded import MODEL
from sidecar.ledger import Balance, Ledger
from sidecar.outcome import Attempt
from sidecar.traffic.record import AgainRecord, Pattern, Record

_NOTHING: Final = Decimal(0)


class Log(Protocol):
    """Where records go. Never raises, never waits."""

    def put(self, record: Record | AgainRecord) -> None:
        """Take one record."""
        ...


class Meter(Protocol):
    """Where counts go."""

    def request(
        self,
        ledger: Ledger,
        *,
        tiers: Sequence[str],
        saved_usd: Decimal,
        total_ms: float,
        overhead_ms: float,
    ) -> None:
        """One request is over; `tiers` are the ladder's names, by place."""
        ...

    def drilled(self, kind: str) -> None:
        """A drill is over, and that is all that is counted of it."""
        ...


class Released(Protocol):
    """What is released now."""

    @property
    def version(self) -> str:
        """Of the artifact that serves."""
        ...


class Watch(Protocol):
    """Who compares what artifacts come to."""

    def closed(self, ledger: Ledger, cost_usd: Decimal) -> None:
        """A request is over, and cost so much."""
        ...


class Both:
    """Two who watch."""

    def __init__(self, one: Watch, other: Watch) -> None:
        self._watches = one, other

    def closed(self, ledger: Ledger, cost_usd: Decimal) -> None:
        """See Watch."""
        for watch in self._watches:
            watch.closed(ledger, cost_usd)


class Accounting:
    """Knows the prices, and whom to tell. Holds nothing of any request."""

    def __init__(
        self,
        *,
        ladder: Ladder,
        released: Released,
        watch: Watch,
        config_hash: str,
        encoder_id: str,
        log: Log,
        meter: Meter,
        logger: logging.Logger,
    ) -> None:
        self._ladder = ladder
        self._names = ladder.names
        self._top = ladder[ladder.top].price
        self._released = released
        self._watch = watch
        self._records = Records(ladder, config_hash=config_hash, encoder_id=encoder_id)
        self._log = log
        self._meter = meter
        self._logger = logger

    def headers(self, ledger: Ledger) -> dict[str, str]:
        """See `response_headers`."""
        return response_headers(ledger, self.balance(ledger), self._ladder)

    def summary(self, ledger: Ledger) -> dict[str, Any]:
        """See `headers.summary`."""
        return summary(ledger, self.balance(ledger))

    def balance(self, ledger: Ledger) -> Balance:
        """What it comes to by now; for good, once it is known what became of it."""
        if ledger.balance is not None:
            return ledger.balance
        tier, model = self._served(ledger)
        outcome, decision = ledger.outcome, ledger.decision
        cost_usd = outcome.cost_usd if outcome is not None and ledger.pays else _NOTHING
        served = _answered(ledger)
        saved_usd = _NOTHING
        if served is not None:
            saved_usd = cost(self._top, served.tokens_in, served.tokens_out) - cost_usd
        version = (decision.version if decision is not None else "") or self._released.version
        drawn = Balance(tier, model, cost_usd, saved_usd, version)
        if served is not None:
            ledger.balance = drawn
        return drawn

    def _served(self, ledger: Ledger) -> tuple[str, str]:
        """Whose answer it is: the tier's name and its model; empty if there is none."""
        if ledger.hit is not None:
            return ledger.hit.entry.tier, ledger.hit.entry.model
        if ledger.degraded == "static":
            return "", MODEL
        outcome = ledger.outcome
        place = ledger.relayed_place if outcome is None else outcome.served.place
        if place is None:
            return "", ""
        return self._ladder[place].name, self._ladder[place].model

    def close(self, ledger: Ledger) -> None:
        """Count the request and write its record. Only the first call for a ledger counts."""
        if ledger.is_closed:
            return
        ledger.is_closed = True
        inquiry = ledger.inquiry
        if inquiry.drill is not None:
            self._meter.drilled(inquiry.drill.kind)
            return
        balance = self.balance(ledger)
        total_ms, overhead_ms = inquiry.watch.total_ms(), inquiry.watch.overhead_ms()
        self._meter.request(
            ledger,
            tiers=self._names,
            saved_usd=balance.saved_usd,
            total_ms=total_ms,
            overhead_ms=overhead_ms,
        )
        self._watch.closed(ledger, balance.cost_usd)
        if broken := broken_rules(ledger, self._ladder):
            facts = {"request_id": inquiry.request_id, "rules": broken}
            self._logger.info("guardrail", extra={"facts": facts})
        if ledger.ruling.writes:
            self._log.put(self._records.of(ledger, balance, total_ms, overhead_ms))

    def pattern(self, ledger: Ledger) -> Pattern:
        """What its record has in common with those of all that are like it."""
        return Pattern(self._records.of(ledger, self.balance(ledger), 0.0, 0.0))

    def close_again(self, ledger: Ledger, again: Again) -> None:
        """As `close`, of a hit that was given before."""
        ledger.is_closed, inquiry = True, ledger.inquiry
        total_ms, overhead_ms = inquiry.watch.total_ms(), inquiry.watch.overhead_ms()
        self._meter.request(
            ledger,
            tiers=self._names,
            saved_usd=again.saved_usd,
            total_ms=total_ms,
            overhead_ms=overhead_ms,
        )
        self._log.put(
            AgainRecord(
                again.pattern, inquiry.request_id, inquiry.received_at, total_ms, overhead_ms
            )
        )


def _answered(ledger: Ledger) -> Entry | Attempt | None:
    """What was answered with, and how many tokens it took when it was made."""
    if ledger.hit is not None:
        return ledger.hit.entry
    return ledger.outcome.served if ledger.outcome is not None else None
