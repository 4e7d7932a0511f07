"""Requests that are over in, what they came to counted out.

A request has some twenty counts. Those that each request makes are `tallies`, on the event loop's
thread alone; those that few make are the metrics library's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram

from cache.entry import Hit
from sidecar.ledger import Ledger
from sidecar.outcome import Attempt, Outcome
from sidecar.telemetry.tallies import SECONDS, Spread, Tally

_RATIOS: Final = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 0.99, 1.0)
"""Chosen: next to nothing is served under .75; from there on the steps shorten towards 1."""


class RequestMetrics:
    """The counts of requests; see accounting.closing.Meter. One owner: the event loop."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Tally(
            "sidecar_requests",
            "Requests that are over",
            ["cache", "tier", "status", "stream"],
            registry=registry,
        )
        self._misses = Tally(
            "sidecar_misses", "Misses of the semantic tier by reason", ["reason"], registry=registry
        )
        self._coalesced = Tally(
            "sidecar_coalesced",
            "Requests answered by another one's climb, by what made them alike",
            ["by"],
            registry=registry,
        )
        self._errors = Tally(
            "sidecar_errors", "Requests that ended in an error", ["error"], registry=registry
        )
        self._similarity = Histogram(
            "sidecar_semantic_hit_similarity",
            "Cosine of semantic hits",
            buckets=_RATIOS,
            registry=registry,
        )
        self._risk = Counter(
            "sidecar_semantic_hit_risk_sum",
            "Sum of the calibrated risks of semantic hits: the false hits to be expected",
            registry=registry,
        )
        self._latency = Spread(
            "sidecar_request_seconds",
            "First byte read to last byte written",
            "cache",
            SECONDS,
            registry=registry,
        )
        self._overhead = Spread(
            "sidecar_overhead_seconds",
            "Our own share of it, upstreams excluded",
            "cache",
            SECONDS,
            registry=registry,
        )
        self._hops = Spread("sidecar_hop_seconds", "Each hop", "hop", SECONDS, registry=registry)
        self._cost = Tally("sidecar_cost_usd", "Dollars spent", ["tier"], registry=registry)
        self._saved = Tally(
            "sidecar_saved_usd", "Dollars saved against the top tier", registry=registry
        )
        self._overspent = Tally(
            "sidecar_overspent_usd",
            "Dollars that escalations cost beyond the top tier alone",
            registry=registry,
        )
        self._tokens = Tally(
            "sidecar_tokens", "Tokens billed", ["tier", "direction"], registry=registry
        )
        self._attempts = Tally(
            "sidecar_attempts", "Calls upstream", ["tier", "outcome"], registry=registry
        )
        self._escalations = Tally(
            "sidecar_escalations", "Steps to a higher tier", registry=registry
        )
        self._decisions = Tally(
            "sidecar_decisions", "Entry tiers by reason", ["tier", "reason"], registry=registry
        )
        self._degraded = Tally(
            "sidecar_degraded", "Answers by who stood in for whom", ["mode"], registry=registry
        )
        self._violations = Counter(
            "sidecar_guardrail_violations",
            "Requests refused and answers held, by the rule that they break",
            ["rule"],
            registry=registry,
        )
        self._rules = Tally(
            "sidecar_router_rules",
            "Requests by the rule that routes them",
            ["rule"],
            registry=registry,
        )
        self._drills = Counter("sidecar_drills", "Drills run", ["kind"], registry=registry)

    def request(
        self,
        ledger: Ledger,
        *,
        tiers: Sequence[str],
        saved_usd: Decimal,
        total_ms: float,
        overhead_ms: float,
    ) -> None:
        """One request is over; see Meter."""
        inquiry, outcome = ledger.inquiry, ledger.outcome
        tier = tiers[outcome.served.place] if outcome is not None else ""
        tier = ledger.hit.entry.tier if ledger.hit is not None else tier
        stream = "true" if inquiry.request.stream else "false"
        self._requests.add(ledger.cache, tier, str(ledger.status), stream)
        self._latency.see(ledger.cache, total_ms / 1e3)
        self._overhead.see(ledger.cache, overhead_ms / 1e3)
        for hop, spent_ms in inquiry.watch.hops_ms.items():
            self._hops.see(hop, spent_ms / 1e3)
        if ledger.error or ledger.refused_by or ledger.degraded:
            self._troubled(ledger)
        if ledger.miss is not None:
            self._misses.add(ledger.miss.reason.value)
        if ledger.cache == "coalesced":
            self._coalesced.add("key" if ledger.hit is None else "meaning")
        if ledger.aim is not None and ledger.aim.rule:
            self._rules.add(ledger.aim.rule)
        if ledger.hit is not None:
            self._found(ledger.hit)
        if ledger.outcome is not None and ledger.pays:
            self._climbed(ledger.outcome, tiers)
        elif ledger.outcome is None:
            self._called(ledger.attempts, tiers)
        (self._saved if saved_usd >= 0 else self._overspent).add(amount=abs(float(saved_usd)))

    def _troubled(self, ledger: Ledger) -> None:
        if ledger.error:
            self._errors.add(ledger.error)
        if ledger.refused_by:
            self._violations.labels(ledger.refused_by).inc()
        if ledger.degraded:
            self._degraded.add(ledger.degraded)

    def _found(self, hit: Hit) -> None:
        if hit.kind == "semantic":
            self._similarity.observe(hit.similarity)
            self._risk.inc(hit.risk)

    def _climbed(self, outcome: Outcome, tiers: Sequence[str]) -> None:
        if escalations := outcome.escalations:
            self._escalations.add(amount=escalations)
        self._decisions.add(tiers[outcome.decision.entry], outcome.decision.reason)
        self._called(outcome.attempts, tiers)

    def _called(self, attempts: Iterable[Attempt], tiers: Sequence[str]) -> None:
        for attempt in attempts:
            tier = tiers[attempt.place]
            self._attempts.add(tier, attempt.outcome)
            self._cost.add(tier, amount=float(attempt.cost_usd))
            self._tokens.add(tier, "in", amount=attempt.tokens_in)
            self._tokens.add(tier, "out", amount=attempt.tokens_out)
            if attempt.violation is not None:
                self._violations.labels(attempt.violation.rule).inc()

    def drilled(self, kind: str) -> None:
        """A drill is over; see Meter."""
        self._drills.labels(kind).inc()
