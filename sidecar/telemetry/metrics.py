"""Counts and times in, Prometheus' text out. Every label is from a closed set of words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from cache.entry import Hit
from sidecar.encoder.batcher import BatchReport
from sidecar.ledger import Ledger
from sidecar.outcome import Attempt, Outcome
from sidecar.telemetry.tallies import Spread, Tally

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1, 2.5, 10, 30, 120)
"""Chosen: an exact hit lies under the first, a long answer of a large model under the last."""

_RATIOS: Final = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 0.99, 1.0)


class _Table(Collector):
    """A family of gauges that is read anew whenever somebody looks."""

    def __init__(
        self,
        name: str,
        told: str,
        labels: Sequence[str],
        read: Callable[[], Iterable[tuple[Sequence[str], float]]],
    ) -> None:
        self._head = name, told, labels
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client's Collector."""
        name, told, labels = self._head
        family = GaugeMetricFamily(name, told, labels=labels)
        for values, number in self._read():
            family.add_metric(values, number)
        yield family


class Metrics:
    """This process's counters, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
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
            _SECONDS,
            registry=registry,
        )
        self._overhead = Spread(
            "sidecar_overhead_seconds",
            "Our own share of it, upstreams excluded",
            "cache",
            _SECONDS,
            registry=registry,
        )
        self._hops = Spread("sidecar_hop_seconds", "Each hop", "hop", _SECONDS, registry=registry)
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
        self._dropped = Counter(
            "sidecar_traffic_dropped", "Records not logged", ["reason"], registry=registry
        )
        self._lost = Counter(
            "sidecar_cache_lost_writes",
            "Changes of the cache that did not reach index or disk",
            registry=registry,
        )
        self._disk_reads = Counter(
            "sidecar_cache_disk_reads",
            "Exact look-ups that memory could not answer and the disk was asked",
            ["outcome"],
            registry=registry,
        )
        self._index_builds = Counter(
            "sidecar_cache_index_builds",
            "Indexes laid anew, or read from disk, in the background",
            ["outcome"],
            registry=registry,
        )
        self._batches = Histogram(
            "sidecar_encoder_batch_texts",
            "Texts in one run of the encoder",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=registry,
        )
        self._encoder_faults = Counter(
            "sidecar_encoder_refusals",
            "Texts and works the encoder's thread did not do",
            ["reason"],
            registry=registry,
        )
        self._refreshes = Counter(
            "sidecar_cache_refreshes",
            "Expired answers fetched anew",
            ["outcome"],
            registry=registry,
        )
        self._feedback = Counter(
            "sidecar_feedback", "Feedback by score", ["sense"], registry=registry
        )
        self._verified = Counter(
            "sidecar_semantic_verified",
            "Hits drawn for a check, by what became of it",
            ["outcome"],
            registry=registry,
        )
        self._verify_cost = Counter(
            "sidecar_semantic_verify_cost_usd", "Dollars spent on checks", registry=registry
        )
        self._retries = Counter(
            "sidecar_retries",
            "Failed calls made again, or not for want of budget or time",
            ["outcome"],
            registry=registry,
        )
        self._hedges = Counter(
            "sidecar_hedges",
            "Second calls beside a slow first one, by what became of them",
            ["outcome"],
            registry=registry,
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
        self._refused = Counter(
            "sidecar_requests_refused",
            "Requests that were not let in, or not paid for",
            ["tenant", "reason"],
            registry=registry,
        )
        self._queue = Histogram(
            "sidecar_queue_seconds",
            "Wait for a place, of those that waited and got one",
            ["priority"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._lost_spendings = Counter(
            "sidecar_admission_lost_writes",
            "Changes of budgets that did not reach the disk; they are tried again",
            registry=registry,
        )
        self._routed = Counter(
            "sidecar_router_requests",
            "Requests that an artifact decided; in shadow, beside the one that was heeded",
            ["artifact_role"],
            registry=registry,
        )
        self._released = Counter(
            "sidecar_router_releases",
            "Changes of what is released, as this process saw them",
            ["action"],
            registry=registry,
        )
        self._shadowed = Counter(
            "sidecar_router_shadow_asks",
            "Requests drawn to have their next tier asked, by what became of it",
            ["outcome"],
            registry=registry,
        )
        self._shadow_cost = Counter(
            "sidecar_router_shadow_cost_usd", "Dollars spent on them", registry=registry
        )
        self._queued_reviews = Counter(
            "sidecar_review_queued",
            "Answers that were found worth a person's look, by why",
            ["why"],
            registry=registry,
        )
        self._reviews = Counter(
            "sidecar_reviews", "Verdicts of the operator's reviewers", ["label"], registry=registry
        )
        self._quarantined = Counter(
            "sidecar_cache_quarantined",
            "Entries taken out for having served wrongly",
            registry=registry,
        )
        self._fronted = Counter(
            "sidecar_front_requests",
            "Requests at a front: served by it, relayed to the owner, or served and untold",
            ["outcome"],
            registry=registry,
        )
        self._restarts = Counter(
            "sidecar_worker_restarts", "Fronts that died and were started again", registry=registry
        )

    def gauge(self, name: str, told: str, read: Callable[[], float]) -> None:
        """Show what `read` returns, whenever somebody looks."""
        Gauge(name, told, registry=self._registry).set_function(read)

    def gauges(
        self, name: str, told: str, label: str, reads: Mapping[str, Callable[[], float]]
    ) -> None:
        """As `gauge`, one for each value of `label`."""
        family = Gauge(name, told, [label], registry=self._registry)
        for value, read in reads.items():
            family.labels(value).set_function(read)

    def table(
        self,
        name: str,
        told: str,
        labels: Sequence[str],
        read: Callable[[], Iterable[tuple[Sequence[str], float]]],
    ) -> None:
        """As `gauges`, with rows that may change: `read` gives each one's labels and value."""
        self._registry.register(_Table(name, told, labels, read))

    def info(self, name: str, told: str, facts: dict[str, str]) -> None:
        """Show facts that hold for the life of the process."""
        Gauge(name, told, list(facts), registry=self._registry).labels(**facts).set(1)

    def exposition(self) -> bytes:
        """The registry as Prometheus reads it."""
        return generate_latest(self._registry)

    def request(
        self,
        ledger: Ledger,
        *,
        tiers: Sequence[str],
        saved_usd: Decimal,
        total_ms: float,
        overhead_ms: float,
    ) -> None:
        """One request is over; see accounting.Meter."""
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

    def feedback(self, score: float | None) -> None:
        """One piece of feedback came in."""
        self._feedback.labels(_sense(score)).inc()

    def noticed(self, why: str) -> None:
        """See oversight.reviewing.Meter."""
        self._queued_reviews.labels(why).inc()

    def reviewed(self, score: float | None) -> None:
        """See oversight.reviewing.Meter."""
        self._reviews.labels(_sense(score)).inc()

    def verified(self, outcome: str, cost_usd: Decimal) -> None:
        """See oversight.findings.Meter."""
        self._verified.labels(outcome).inc()
        self._verify_cost.inc(float(cost_usd))

    def drilled(self, kind: str) -> None:
        """See accounting.Meter."""
        self._drills.labels(kind).inc()

    def retried(self, outcome: str) -> None:
        """See replicas.replicas.Meter."""
        self._retries.labels(outcome).inc()

    def hedged(self, outcome: str) -> None:
        """See replicas.replicas.Meter."""
        self._hedges.labels(outcome).inc()

    def refused(self, tenant: str, reason: str) -> None:
        """See admission.admission.Meter."""
        self._refused.labels(tenant, reason).inc()

    def queued(self, priority: str, waited_s: float) -> None:
        """See admission.admission.Meter."""
        self._queue.labels(priority).observe(waited_s)

    def lost_spendings(self, count: int) -> None:
        """See admission.bookkeeper.Hook."""
        self._lost_spendings.inc(count)

    def quarantined(self) -> None:
        """See oversight.findings.Meter."""
        self._quarantined.inc()

    def routed(self, role: str) -> None:
        """See rollout.rollout.Meter."""
        self._routed.labels(role).inc()

    def released(self, action: str) -> None:
        """See rollout.rollout.Meter."""
        self._released.labels(action).inc()

    def shadowed(self, fate: str, cost_usd: Decimal) -> None:
        """See oversight.shadows.Meter."""
        self._shadowed.labels(fate).inc()
        self._shadow_cost.inc(float(cost_usd))

    def dropped_record(self, reason: str) -> None:
        """See traffic.writer.Hook."""
        self._dropped.labels(reason).inc()

    def lost_write(self, count: int) -> None:
        """See keeper.Hook."""
        self._lost.inc(count)

    def read_disk(self, outcome: str) -> None:
        """See persistence.Hook."""
        self._disk_reads.labels(outcome).inc()

    def built_index(self, outcome: str) -> None:
        """See builder.Hook."""
        self._index_builds.labels(outcome).inc()

    def fronted(self, outcome: str, count: int) -> None:
        """See front.owner.Meter."""
        self._fronted.labels(outcome).inc(count)

    def restarted(self) -> None:
        """See front.owner.Meter."""
        self._restarts.inc()

    def refreshed(self, outcome: str) -> None:
        """See refresh.Hook."""
        self._refreshes.labels(outcome).inc()

    def on_batch(self, report: BatchReport) -> None:
        """See BatcherHook."""
        self._batches.observe(report.texts)

    def on_full(self) -> None:
        """See BatcherHook."""
        self._encoder_faults.labels("full").inc()

    def on_skipped(self) -> None:
        """See BatcherHook."""
        self._encoder_faults.labels("caller_left").inc()

    def on_post_fault(self, fault: Exception) -> None:  # noqa: ARG002 - the protocol's shape
        """See BatcherHook."""
        self._encoder_faults.labels("fault").inc()
        self._lost.inc()


def _sense(score: float | None) -> str:
    half = 0.5
    return "unscored" if score is None else "good" if score >= half else "bad"
