"""What one request came to: its account in, response headers, metrics and one log record out."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Protocol

from cache.prompt import prompt_version
from router.decision import Decision
from router.pricing import cost
from router.tiers import Ladder
from sidecar import __version__, answer, chat
from sidecar.again import Again
from sidecar.degraded import MODEL
from sidecar.ledger import Ledger
from sidecar.outcome import Attempt, Outcome
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

MAX_REASON: Final = 512
"""Chosen: servers before us commonly refuse more than 8 KiB of headers in all."""


class Log(Protocol):
    """Where records go. Never raises, never waits."""

    def put(self, record: Record | AgainRecord) -> None:
        """Take one record."""
        ...


class Meter(Protocol):
    """Where counts go."""

    def request(self, ledger: Ledger, *, tiers: Sequence[str], saved_usd: Decimal) -> None:
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
        self._released = released
        self._watch = watch
        self._config_hash = config_hash
        self._encoder_id = encoder_id
        self._log = log
        self._meter = meter
        self._logger = logger

    def headers(self, ledger: Ledger) -> dict[str, str]:
        """The response headers that can be known by now; see PRODUCT's table in the README."""
        told = {
            "x-sidecar-request-id": ledger.inquiry.request_id,
            "x-sidecar-cache": ledger.cache,
            "x-sidecar-router": self._version(ledger),
            "x-sidecar-overhead-ms": f"{ledger.inquiry.watch.overhead_ms():.3f}",
        }
        if ledger.outcome is not None:
            told.update(ledger.outcome.headers)
        if ledger.hit is not None:
            told |= self._hit_headers(ledger)
        told |= {f"x-sidecar-{name}": value for name, value in self._facts(ledger).items()}
        return told | (self._debug_headers(ledger) if ledger.inquiry.options.debug else {})

    def summary(self, ledger: Ledger) -> dict[str, Any]:
        """The last chunk's `sidecar` object: the same facts, where headers came too early."""
        return {
            "request_id": ledger.inquiry.request_id,
            "cache": ledger.cache,
            "router": self._version(ledger),
            "overhead_ms": round(ledger.inquiry.watch.overhead_ms(), 3),
            **{name.replace("-", "_"): value for name, value in self._facts(ledger).items()},
        }

    def _version(self, ledger: Ledger) -> str:
        """Of the artifact that decided; where none had to, of the one that serves."""
        decided = ledger.decision.version if ledger.decision is not None else ""
        return decided or self._released.version

    def _hit_headers(self, ledger: Ledger) -> dict[str, str]:
        assert ledger.hit is not None  # noqa: S101 - asked for only then
        age_s = ledger.inquiry.received_at - ledger.hit.entry.created_at
        return {"age": str(max(0, int(age_s)))}

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

    def _facts(self, ledger: Ledger) -> dict[str, str]:
        tier, model = self._served(ledger)
        facts = {"tier": tier} if tier else {}
        facts |= {"model": model} if model else {}
        facts |= {"degraded": ledger.degraded} if ledger.degraded else {}
        facts |= {"narrowed": ledger.narrowed} if ledger.narrowed else {}
        if ledger.hit is not None:
            facts |= {"similarity": f"{ledger.hit.similarity:.4f}", "escalations": "0"}
        elif ledger.cache == "coalesced":
            pass  # the very same question: nothing of the answer is owed to likeness
        elif ledger.miss is not None and ledger.miss.nearest is not None:
            facts["similarity"] = f"{ledger.miss.nearest:.4f}"
        if ledger.outcome is not None:
            facts["escalations"] = str(ledger.outcome.escalations)
            if ledger.outcome.judgement is not None:
                facts["confidence"] = f"{ledger.outcome.judgement.confidence:.4f}"
        if ledger.hit is not None or ledger.outcome is not None or ledger.degraded == "static":
            facts["cost-usd"] = _dollars(self.cost_usd(ledger))
            facts["saved-usd"] = _dollars(self.saved_usd(ledger))
        return facts

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

    def cost_usd(self, ledger: Ledger) -> Decimal:
        """What this request cost: nothing on a hit, nothing for a follower who is not billed."""
        if ledger.outcome is None or not ledger.pays:
            return Decimal(0)
        return ledger.outcome.cost_usd

    def saved_usd(self, ledger: Ledger) -> Decimal:
        """Against answering it at the top tier, taken to use as many tokens; may be negative."""
        top = self._ladder[self._ladder.top].price
        if ledger.hit is not None:
            served_usd = cost(top, ledger.hit.entry.tokens_in, ledger.hit.entry.tokens_out)
            return served_usd - self.cost_usd(ledger)
        if ledger.outcome is None:
            return Decimal(0)
        served = ledger.outcome.served
        return cost(top, served.tokens_in, served.tokens_out) - self.cost_usd(ledger)

    def close(self, ledger: Ledger) -> None:
        """Count the request and write its record. Only the first call for a ledger counts."""
        if ledger.is_closed:
            return
        ledger.is_closed = True
        if ledger.inquiry.drill is not None:
            self._meter.drilled(ledger.inquiry.drill.kind)
            return
        spent, saved = self.cost_usd(ledger), self.saved_usd(ledger)
        self._meter.request(ledger, tiers=self._ladder.names, saved_usd=saved)
        self._watch.closed(ledger, spent)
        if broken := self._broken(ledger):
            facts = {"request_id": ledger.inquiry.request_id, "rules": broken}
            self._logger.info("guardrail", extra={"facts": facts})
        if ledger.ruling.writes:
            self._log.put(self._record(ledger, spent, saved))

    def pattern(self, ledger: Ledger) -> Pattern:
        """What its record has in common with those of all that are like it."""
        return Pattern(self._record(ledger, self.cost_usd(ledger), self.saved_usd(ledger)))

    def close_again(self, ledger: Ledger, again: Again) -> None:
        """As `close`, of a hit that was given before."""
        ledger.is_closed, inquiry = True, ledger.inquiry
        self._meter.request(ledger, tiers=self._ladder.names, saved_usd=again.saved_usd)
        total_ms, overhead_ms = inquiry.watch.total_ms(), inquiry.watch.overhead_ms()
        self._log.put(
            AgainRecord(
                again.pattern, inquiry.request_id, inquiry.received_at, total_ms, overhead_ms
            )
        )

    def _record(self, ledger: Ledger, spent: Decimal, saved: Decimal) -> RequestRecord:
        inquiry, request = ledger.inquiry, ledger.inquiry.request
        body = request.body
        tier, model = self._served(ledger)
        aim = ledger.aim
        partition = aim.keys.partition if aim is not None else None
        vector = ledger.miss.vector if ledger.miss is not None else None
        decision, outcome = ledger.decision, ledger.outcome
        allowed = aim.target.allowed if aim is not None else ()
        return RequestRecord(
            request_id=inquiry.request_id,
            at=inquiry.received_at,
            tenant=inquiry.caller.tenant,
            namespace=inquiry.options.namespace,
            user=inquiry.options.user or _text(body.get("user")),
            tags=inquiry.options.tags,
            alias=request.alias,
            question=request.question or "",
            system=chat.system_of(request.messages),
            turns=len(request.messages),
            parameters={k: v for k, v in body.items() if k not in {"messages", "user"}},
            partition=partition.hex() if partition is not None else "",
            vector=packed_vector(vector),
            encoder_id=self._encoder_id,
            tokens_in=request.tokens_in,
            cache=ledger.cache,
            cache_reason=_miss_reason(ledger),
            similarity=_similarity(ledger),
            risk=ledger.hit.risk if ledger.hit is not None else None,
            entry_id=ledger.hit.entry.entry_id if ledger.hit is not None else ledger.kept_id,
            allowed=tuple(self._ladder[place].name for place in allowed),
            entry_tier=self._ladder[decision.entry].name if decision is not None else "",
            decision_reason=decision.reason if decision is not None else "",
            rule=aim.rule if aim is not None else "",
            probabilities=self._probabilities(ledger),
            propensity=decision.propensity if decision is not None else 1.0,
            quality=aim.quality if aim is not None else None,
            # On a hit they were answers to another question, whoever is billed for them.
            attempts=self._attempts(ledger) if ledger.pays and ledger.hit is None else (),
            served_tier=tier,
            served_model=model,
            degraded=ledger.degraded,
            confidence=_confidence(outcome),
            status=ledger.status,
            error=ledger.error,
            guardrail=ledger.refused_by,
            overrides=ledger.ruling.switches,
            stream=request.stream,
            cost_usd=str(spent),
            saved_usd=str(saved),
            latency_ms=inquiry.watch.total_ms(),
            overhead_ms=inquiry.watch.overhead_ms(),
            artifact=self._version(ledger),
            artifact_role=decision.role if decision is not None else "",
            rival=decision.rival if decision is not None else "",
            rival_tier=self._rival_tier(decision),
            config=self._config_hash,
            version=__version__,
        )

    def _rival_tier(self, decision: Decision | None) -> str:
        if decision is None or decision.rival_entry is None:
            return ""
        return self._ladder[decision.rival_entry].name

    def _probabilities(self, ledger: Ledger) -> Mapping[str, float] | None:
        if ledger.decision is None or not ledger.decision.probabilities:
            return None
        return dict(zip(self._ladder.names, ledger.decision.probabilities, strict=True))

    def _attempts(self, ledger: Ledger) -> tuple[AttemptRecord, ...]:
        attempts = ledger.outcome.attempts if ledger.outcome is not None else ledger.attempts
        return tuple(
            AttemptRecord(
                tier=self._ladder[attempt.place].name,
                model=self._ladder[attempt.place].model,
                upstream=attempt.upstream,
                outcome=attempt.outcome,
                tokens_in=attempt.tokens_in,
                tokens_out=attempt.tokens_out,
                cost_usd=str(attempt.cost_usd),
                latency_ms=attempt.latency_ms,
                finish_reason=_finish_reason(attempt),
                confidence=attempt.confidence,
                answer=answer.text(attempt.body) if attempt.body is not None else "",
                guardrail=attempt.violation.rule if attempt.violation is not None else "",
            )
            for attempt in attempts
        )


def _dollars(amount: Decimal) -> str:
    return f"{amount.quantize(_EIGHT_PLACES).normalize():f}"


def _joined(reason: str, detail: str) -> str:
    """A header's value: what a caller wrote may be in `detail`, so only plain characters pass."""
    told = f"{reason}: {detail}" if detail else reason
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in told)[:MAX_REASON]


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _miss_reason(ledger: Ledger) -> str:
    if ledger.miss is not None:
        return ledger.miss.reason.value
    is_read = ledger.aim is None or ledger.aim.permit.read
    return "" if ledger.hit is not None or is_read else "not_cacheable"


def _similarity(ledger: Ledger) -> float | None:
    if ledger.hit is not None:
        return ledger.hit.similarity
    return ledger.miss.nearest if ledger.miss is not None else None


def _confidence(outcome: Outcome | None) -> float | None:
    if outcome is None or outcome.judgement is None:
        return None
    return outcome.judgement.confidence


def _finish_reason(attempt: Attempt) -> str:
    return (attempt.body["choices"][0].get("finish_reason") or "") if attempt.body else ""
