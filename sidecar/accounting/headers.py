"""An account in, the response headers out, or a stream's last word: the same facts, later told."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from cache.prompt import prompt_version
from router.tiers import Ladder
from sidecar.accounting.trace import trace
from sidecar.ledger import Balance, Ledger
from sidecar.outcome import Attempt

_EIGHT_PLACES: Final = Decimal("0.00000001")

MAX_REASON: Final = 512
"""Chosen: servers before us commonly refuse more than 8 KiB of headers in all."""

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


def response_headers(ledger: Ledger, balance: Balance, ladder: Ladder) -> dict[str, str]:
    """Those that can be known by now; see PRODUCT's table in the README."""
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
        told |= _debug_headers(ledger, ladder)
    return told


def summary(ledger: Ledger, balance: Balance) -> dict[str, Any]:
    """The last chunk's `sidecar` object: the same facts, where headers came too early."""
    facts = dict[str, str]()
    _add_facts(ledger, balance, facts)
    return {
        "request_id": ledger.inquiry.request_id,
        "cache": ledger.cache,
        "router": balance.version,
        "overhead_ms": round(ledger.inquiry.watch.overhead_ms(), 3),
        **{_IN_SUMMARY[name]: told for name, told in facts.items()},
    }


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
    if is_alike and (similarity := ledger.similarity) is not None:
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


def _debug_headers(ledger: Ledger, ladder: Ladder) -> dict[str, str]:
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
            ("guardrails", broken_rules(ledger, ladder)),
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
        attempts = (_told(attempt, ladder) for attempt in ledger.outcome.attempts)
        told["x-sidecar-attempts"] = ", ".join(attempts)
        if ledger.outcome.judgement is not None:
            judged = ledger.outcome.judgement
            told["x-sidecar-judgement"] = _joined(judged.reason, "; ".join(map(str, judged.detail)))
    return told


def _told(attempt: Attempt, ladder: Ladder) -> str:
    return (
        f"{ladder[attempt.place].name};upstream={attempt.upstream}"
        f";outcome={attempt.outcome};ms={attempt.latency_ms:.1f}"
        f";usd={_dollars(attempt.cost_usd)}"
    )


def broken_rules(ledger: Ledger, ladder: Ladder) -> list[str]:
    """The operator's rules that were broken on the way, `rule` or `rule@tier`."""
    attempts = ledger.outcome.attempts if ledger.outcome is not None else ledger.attempts
    broken = [ledger.refused_by] if ledger.refused_by else []
    return broken + [
        f"{attempt.violation.rule}@{ladder[attempt.place].name}"
        for attempt in attempts
        if attempt.violation is not None
    ]


def _dollars(amount: Decimal) -> str:
    return f"{amount.quantize(_EIGHT_PLACES).normalize():f}"


def _joined(reason: str, detail: str) -> str:
    """A header's value: what a caller wrote may be in `detail`, so only plain characters pass."""
    told = f"{reason}: {detail}" if detail else reason
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in told)[:MAX_REASON]
