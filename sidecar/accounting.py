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
from cache.prompt import prompt_version
from router.decision import Decision
from router.pricing import cost
from router.tiers import Ladder
from sidecar import __version__, answer, chat
from sidecar.again import Again
from sidecar.degraded import MODEL
from sidecar.ledger import Balance, Ledger
from sidecar.outcome import Attempt
from sidecar.trace import trace
from sidecar.traffic.record import (
    AgainRecord,
    AttemptRecord,
    Pattern,
    Record,
    RequestRecord,
    packed_vector,
)

_EIGHT_PLACES: Final = Decimal("0.00000001")

_NOTHING: Final = Decimal(0)
_FACTS: Final = (
    "tier",
    "model",
    "degraded",
    "narrowed",
    "similarity",
    "escalations",
    "confidence",
    "cost-usd",
    "saved-usd",
)
_IN_SUMMARY: Final = {f"x-sidecar-{name}": name.replace("-", "_") for name in _FACTS}
_NO_PARAMETERS: Final = frozenset({"messages", "user"})
_UNDECIDED: Final = Decision(entry=0, probabilities=(), reason="")

MAX_REASON: Final = 512
"""Chosen: servers before us commonly refuse more than 8 KiB of headers in all."""


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
        self._config_hash = config_hash
        self._encoder_id = encoder_id
        self._log = log
        self._meter = meter
        self._logger = logger

    def headers(self, ledger: Ledger) -> dict[str, str]:
        """The response headers that can be known by now; see PRODUCT's table in the README."""
        balance = self.balance(ledger)
        told = {
            "x-sidecar-request-id": ledger.inquiry.request_id,
            "x-sidecar-cache": ledger.cache,
            "x-sidecar-router": balance.version,
            "x-sidecar-overhead-ms": f"{ledger.inquiry.watch.overhead_ms():.3f}",
        }
        if ledger.outcome is not None:
            told.update(ledger.outcome.served.headers)
        if ledger.hit is not None:
            age_s = ledger.inquiry.received_at - ledger.hit.entry.created_at
            told["age"] = str(max(0, int(age_s)))
        _add_facts(ledger, balance, told)
        if ledger.inquiry.options.debug:
            told |= self._debug_headers(ledger)
        return told

    def summary(self, ledger: Ledger) -> dict[str, Any]:
        """The last chunk's `sidecar` object: the same facts, where headers came too early."""
        balance, facts = self.balance(ledger), dict[str, str]()
        _add_facts(ledger, balance, facts)
        return {
            "request_id": ledger.inquiry.request_id,
            "cache": ledger.cache,
            "router": balance.version,
            "overhead_ms": round(ledger.inquiry.watch.overhead_ms(), 3),
            **{_IN_SUMMARY[name]: told for name, told in facts.items()},
        }

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

    def _debug_headers(self, ledger: Ledger) -> dict[str, str]:
        told = {"server-timing": ledger.inquiry.watch.server_timing()}
        if prompt := prompt_version(ledger.inquiry.request.messages):
            told["x-sidecar-prompt"] = prompt
        if ledger.miss is not None:
            told["x-sidecar-miss-reason"] = _joined(ledger.miss.reason.value, ledger.miss.detail)
        elif ledger.hit is None and ledger.aim is not None and ledger.aim.permit.reason:
            told["x-sidecar-miss-reason"] = _joined("not_cacheable", ledger.aim.permit.reason)
        if ledger.hit is not None:
            told["x-sidecar-risk"] = f"{ledger.hit.risk:.4f}"
            told["x-sidecar-entry"] = str(ledger.hit.entry.entry_id)
            told["x-sidecar-cache-store"] = ledger.hit.store
        if sought := trace(ledger.hit or ledger.miss):
            told["x-sidecar-trace"] = sought
        told |= {
            f"x-sidecar-{name}": ",".join(words)
            for name, words in (
                ("overrides", ledger.ruling.switches),
                ("guardrails", self._broken(ledger)),
            )
            if words
        }
        if ledger.aim is not None and ledger.aim.rule:
            told["x-sidecar-rule"] = ledger.aim.rule
        if ledger.decision is not None:
            decision = ledger.decision
            told["x-sidecar-tier-reason"] = _joined(decision.reason, str(decision.detail))
            told["x-sidecar-probabilities"] = ",".join(f"{p:.3f}" for p in decision.probabilities)
        if ledger.outcome is not None:
            attempts = (self._told(attempt) for attempt in ledger.outcome.attempts)
            told["x-sidecar-attempts"] = ", ".join(attempts)
            if ledger.outcome.judgement is not None:
                judged = ledger.outcome.judgement
                told["x-sidecar-judgement"] = _joined(judged.reason, judged.detail)
        return told

    def _told(self, attempt: Attempt) -> str:
        return (
            f"{self._ladder[attempt.place].name};upstream={attempt.upstream}"
            f";outcome={attempt.outcome};ms={attempt.latency_ms:.1f}"
            f";usd={_dollars(attempt.cost_usd)}"
        )

    def _broken(self, ledger: Ledger) -> list[str]:
        """The operator's rules that were broken on the way, `rule` or `rule@tier`."""
        attempts = ledger.outcome.attempts if ledger.outcome is not None else ledger.attempts
        broken = [ledger.refused_by] if ledger.refused_by else []
        return broken + [
            f"{attempt.violation.rule}@{self._ladder[attempt.place].name}"
            for attempt in attempts
            if attempt.violation is not None
        ]

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
        if broken := self._broken(ledger):
            facts = {"request_id": inquiry.request_id, "rules": broken}
            self._logger.info("guardrail", extra={"facts": facts})
        if ledger.ruling.writes:
            self._log.put(self._record(ledger, total_ms, overhead_ms))

    def pattern(self, ledger: Ledger) -> Pattern:
        """What its record has in common with those of all that are like it."""
        return Pattern(self._record(ledger, 0.0, 0.0))

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

    def _record(self, ledger: Ledger, total_ms: float, overhead_ms: float) -> RequestRecord:
        inquiry, balance, names = ledger.inquiry, self.balance(ledger), self._names
        request, options, body = inquiry.request, inquiry.options, inquiry.request.body
        messages = request.messages
        aim, hit, miss, outcome = ledger.aim, ledger.hit, ledger.miss, ledger.outcome
        decision = ledger.decision or _UNDECIDED
        partition = aim.keys.partition if aim is not None else None
        judgement = outcome.judgement if outcome is not None else None
        return RequestRecord(
            request_id=inquiry.request_id,
            at=inquiry.received_at,
            tenant=inquiry.caller.tenant,
            namespace=options.namespace,
            user=options.user or _text(body.get("user")),
            tags=options.tags,
            alias=request.alias,
            question=request.question or "",
            system=chat.system_of(messages),
            turns=len(messages),
            parameters={k: v for k, v in body.items() if k not in _NO_PARAMETERS},
            partition=partition.hex() if partition is not None else "",
            vector=packed_vector(miss.vector) if miss is not None else b"",
            encoder_id=self._encoder_id,
            tokens_in=request.tokens_in,
            cache=ledger.cache,
            cache_reason=_miss_reason(ledger),
            similarity=_similarity(ledger),
            risk=hit.risk if hit is not None else None,
            entry_id=hit.entry.entry_id if hit is not None else ledger.kept_id,
            allowed=tuple([names[place] for place in aim.target.allowed]) if aim else (),
            entry_tier=names[decision.entry] if ledger.decision is not None else "",
            decision_reason=decision.reason,
            rule=aim.rule if aim is not None else "",
            probabilities=dict(zip(names, decision.probabilities, strict=True))
            if decision.probabilities
            else None,
            propensity=decision.propensity,
            quality=aim.quality if aim is not None else None,
            # On a hit they were answers to another question, whoever is billed for them.
            attempts=self._attempts(ledger) if ledger.pays and hit is None else (),
            served_tier=balance.tier,
            served_model=balance.model,
            degraded=ledger.degraded,
            confidence=judgement.confidence if judgement is not None else None,
            status=ledger.status,
            error=ledger.error,
            guardrail=ledger.refused_by,
            overrides=ledger.ruling.switches,
            stream=request.stream,
            cost_usd=str(balance.cost_usd),
            saved_usd=str(balance.saved_usd),
            latency_ms=total_ms,
            overhead_ms=overhead_ms,
            artifact=balance.version,
            artifact_role=decision.role,
            rival=decision.rival,
            rival_tier="" if decision.rival_entry is None else names[decision.rival_entry],
            config=self._config_hash,
            version=__version__,
        )

    def _attempts(self, ledger: Ledger) -> tuple[AttemptRecord, ...]:
        attempts = ledger.outcome.attempts if ledger.outcome is not None else ledger.attempts
        return tuple([self._attempt(attempt) for attempt in attempts])

    def _attempt(self, attempt: Attempt) -> AttemptRecord:
        tier, body = self._ladder[attempt.place], attempt.body
        return AttemptRecord(
            tier=tier.name,
            model=tier.model,
            upstream=attempt.upstream,
            outcome=attempt.outcome,
            tokens_in=attempt.tokens_in,
            tokens_out=attempt.tokens_out,
            cost_usd=str(attempt.cost_usd),
            latency_ms=attempt.latency_ms,
            finish_reason=(body["choices"][0].get("finish_reason") or "") if body else "",
            confidence=attempt.confidence,
            answer=answer.text(body) if body is not None else "",
            guardrail=attempt.violation.rule if attempt.violation is not None else "",
        )


def _add_facts(ledger: Ledger, balance: Balance, told: dict[str, str]) -> None:
    """Add what the answer is, and what it came to, under the headers' names."""
    hit, outcome = ledger.hit, ledger.outcome
    if balance.tier:
        told["x-sidecar-tier"] = balance.tier
    if balance.model:
        told["x-sidecar-model"] = balance.model
    if ledger.degraded:
        told["x-sidecar-degraded"] = ledger.degraded
    if ledger.narrowed:
        told["x-sidecar-narrowed"] = ledger.narrowed
    # Who hears the answer to the very same question owes nothing of it to likeness.
    is_alike = hit is not None or ledger.cache != "coalesced"
    if is_alike and (similarity := _similarity(ledger)) is not None:
        told["x-sidecar-similarity"] = f"{similarity:.4f}"
    if hit is not None:
        told["x-sidecar-escalations"] = "0"
    if outcome is not None:
        told["x-sidecar-escalations"] = str(outcome.escalations)
        if outcome.judgement is not None:
            told["x-sidecar-confidence"] = f"{outcome.judgement.confidence:.4f}"
    if hit is not None or outcome is not None or ledger.degraded == "static":
        told["x-sidecar-cost-usd"] = _dollars(balance.cost_usd)
        told["x-sidecar-saved-usd"] = _dollars(balance.saved_usd)


def _dollars(amount: Decimal) -> str:
    return f"{amount.quantize(_EIGHT_PLACES).normalize():f}"


def _joined(reason: str, detail: str) -> str:
    """A header's value: what a caller wrote may be in `detail`, so only plain characters pass."""
    told = f"{reason}: {detail}" if detail else reason
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in told)[:MAX_REASON]


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _answered(ledger: Ledger) -> Entry | Attempt | None:
    """What was answered with, and how many tokens it took when it was made."""
    if ledger.hit is not None:
        return ledger.hit.entry
    return ledger.outcome.served if ledger.outcome is not None else None


def _miss_reason(ledger: Ledger) -> str:
    if ledger.miss is not None:
        return ledger.miss.reason.value
    is_read = ledger.aim is None or ledger.aim.permit.read
    return "" if ledger.hit is not None or is_read else "not_cacheable"


def _similarity(ledger: Ledger) -> float | None:
    if ledger.hit is not None:
        return ledger.hit.similarity
    return ledger.miss.nearest if ledger.miss is not None else None
