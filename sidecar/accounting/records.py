"""An account in, its record for the log out."""

from __future__ import annotations

from typing import Final

from router.decision import Decision
from router.tiers import Ladder
from sidecar import __version__, answer, chat
from sidecar.ledger import Balance, Ledger
from sidecar.outcome import Attempt
from sidecar.traffic.record import AttemptRecord, RequestRecord, packed_vector

_NO_PARAMETERS: Final = frozenset({"messages", "user"})
_UNDECIDED: Final = Decision(entry=0, probabilities=(), reason="")


class Records:
    """Those of one config. Holds nothing of any request."""

    def __init__(self, ladder: Ladder, *, config_hash: str, encoder_id: str) -> None:
        self._ladder = ladder
        self._names = ladder.names
        self._config_hash = config_hash
        self._encoder_id = encoder_id

    def of(
        self, ledger: Ledger, balance: Balance, total_ms: float, overhead_ms: float
    ) -> RequestRecord:
        """What is known of it, now that it is over, or as good as over."""
        inquiry, names = ledger.inquiry, self._names
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
            similarity=ledger.similarity,
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


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _miss_reason(ledger: Ledger) -> str:
    if ledger.miss is not None:
        return ledger.miss.reason.value
    is_read = ledger.aim is None or ledger.aim.permit.read
    return "" if ledger.hit is not None or is_read else "not_cacheable"
