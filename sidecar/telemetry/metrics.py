"""What befalls the parts of one process in, counted; every label is from a closed set of words."""

from __future__ import annotations

from decimal import Decimal

from prometheus_client import Counter, Histogram

from sidecar.encoder.report import BatchReport
from sidecar.telemetry.exposition import Exposition
from sidecar.telemetry.requests import RequestMetrics
from sidecar.telemetry.tallies import SECONDS


class Metrics:
    """This process's counters.

    Attributes:
        exposition: Where all of them are shown.
        requests: Those of requests that are over.
    """

    def __init__(self) -> None:
        self.exposition = Exposition()
        registry = self.exposition.registry
        self.requests = RequestMetrics(registry)
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
            buckets=SECONDS,
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

    def feedback(self, score: float | None) -> None:
        """See web.feedback_api.Meter."""
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
        """See caching.persistence.Hook and caching.indexing.Hook."""
        self._lost.inc(count)

    def read_disk(self, outcome: str) -> None:
        """See caching.reads.Hook."""
        self._disk_reads.labels(outcome).inc()

    def built_index(self, outcome: str) -> None:
        """See caching.builder.Hook."""
        self._index_builds.labels(outcome).inc()

    def fronted(self, outcome: str, count: int) -> None:
        """See front.owner.Meter."""
        self._fronted.labels(outcome).inc(count)

    def restarted(self) -> None:
        """See front.owner.Meter."""
        self._restarts.inc()

    def refreshed(self, outcome: str) -> None:
        """See flights.refresh.Hook."""
        self._refreshes.labels(outcome).inc()

    def on_batch(self, report: BatchReport) -> None:
        """See encoder.report.BatcherHook."""
        self._batches.observe(report.texts)

    def on_full(self) -> None:
        """See encoder.report.BatcherHook."""
        self._encoder_faults.labels("full").inc()

    def on_skipped(self) -> None:
        """See encoder.report.BatcherHook."""
        self._encoder_faults.labels("caller_left").inc()

    def on_post_fault(self, fault: Exception) -> None:  # noqa: ARG002 - the protocol's shape
        """See encoder.report.BatcherHook."""
        self._encoder_faults.labels("fault").inc()
        self._lost.inc()


def _sense(score: float | None) -> str:
    half = 0.5
    return "unscored" if score is None else "good" if score >= half else "bad"
