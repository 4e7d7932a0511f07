"""Outcomes of a run on the demo stream in; one report of hits, mistakes, money and time out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from loadtest.callers.answers import Reply
from loadtest.measures.intervals import percentile, wilson
from loadtest.questions.streams import Asked, value_of
from loadtest.report import Report, Table

_OK: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One question and what came back."""

    asked: Asked
    reply: Reply

    @property
    def is_error(self) -> bool:
        """No whole answer came."""
        return self.reply.status != _OK or not self.reply.is_whole

    @property
    def is_right(self) -> bool:
        """The answer's value is the right one."""
        return value_of(self.reply.text) == self.asked.answer


def origins(outcomes: Sequence[Outcome]) -> Mapping[str, frozenset[str]]:
    """For each text that was answered afresh, the meanings that it was made for."""
    made: defaultdict[str, set[str]] = defaultdict(set)
    for outcome in outcomes:
        if not outcome.is_error and not outcome.reply.is_hit:
            made[outcome.reply.text].add(outcome.asked.meaning)
    return {text: frozenset(meanings) for text, meanings in made.items()}


def is_false_hit(outcome: Outcome, made_for: Mapping[str, frozenset[str]]) -> bool:
    """A kept answer was served that was made for another meaning, and never for this one.

    A kept answer that this run did not see being made is judged by its value alone: the demo's
    texts name their question, but only the sidecar knows what it kept before.
    """
    if outcome.is_error or not outcome.reply.is_hit:
        return False
    meanings = made_for.get(outcome.reply.text)
    return not outcome.is_right if meanings is None else outcome.asked.meaning not in meanings


def tabulate(outcomes: Sequence[Outcome], elapsed_s: float) -> Report:
    """The run's report."""
    made_for = origins(outcomes)
    answered = [outcome for outcome in outcomes if not outcome.is_error]
    hits = [outcome for outcome in answered if outcome.reply.is_hit]
    false_hits = [outcome for outcome in hits if is_false_hit(outcome, made_for)]
    strangers = sum(outcome.reply.text not in made_for for outcome in hits)
    total = len(outcomes)
    rates = {
        "hits": wilson(len(hits), len(answered)),
        "hits_exact": wilson(_kind_count(hits, "hit-exact"), len(answered)),
        "hits_semantic": wilson(_kind_count(hits, "hit-semantic"), len(answered)),
        "false_hits_of_hits": wilson(len(false_hits), len(hits)),
        "false_hits_of_semantic_hits": wilson(len(false_hits), _kind_count(hits, "hit-semantic")),
        "false_hits_of_requests": wilson(len(false_hits), len(answered)),
        "right_answers": wilson(sum(outcome.is_right for outcome in answered), len(answered)),
        "errors": wilson(total - len(answered), total),
    }
    money = {
        "cost_usd_per_1k": _per_1k(answered, "cost-usd"),
        "saved_usd_per_1k": _per_1k(answered, "saved-usd"),
        "escalations_per_1k": _per_1k(answered, "escalations"),
    }
    figures: dict[str, Any] = {
        "requests": total,
        "requests_per_s": total / elapsed_s if elapsed_s else 0.0,
        "rates": {name: asdict(rate) for name, rate in rates.items()},
        "false_hits_by_origin": dict(Counter(hit.asked.origin for hit in false_hits)),
        "hits_of_unseen_origin": strangers,
        **money,
        "tiers": _tier_shares(answered),
        "latency_ms": _latencies(answered),
        "statuses": dict(Counter(outcome.reply.status for outcome in outcomes)),
    }
    rows = [
        ("requests", str(total)),
        ("requests a second", f"{figures['requests_per_s']:.1f}"),
        *((name.replace("_", " "), str(rate)) for name, rate in rates.items()),
        ("cost, USD per 1,000", f"{money['cost_usd_per_1k']:.4f}"),
        ("saved, USD per 1,000", f"{money['saved_usd_per_1k']:.4f}"),
        ("escalations per 1,000", f"{money['escalations_per_1k']:.1f}"),
    ]
    tables = [
        Table(title="The run", headings=("what", "figure"), rows=rows),
        _tier_table(answered),
        _latency_table(figures["latency_ms"]),
    ]
    notes = ["The upstream is simulated: this shows plumbing, never a real model's quality."]
    if strangers:
        notes.append(
            f"{strangers} hits served answers kept before this run; those were judged by their "
            "value alone, so that a simulated model's own mistake counts as a false hit there."
        )
    return Report(title="Load test on the demo stream", tables=tables, figures=figures, notes=notes)


def _kind_count(outcomes: Sequence[Outcome], kind: str) -> int:
    return sum(outcome.reply.cache == kind for outcome in outcomes)


def _per_1k(outcomes: Sequence[Outcome], header: str) -> float:
    total = sum(outcome.reply.number(header) for outcome in outcomes)
    return 1_000 * total / len(outcomes) if outcomes else 0.0


def _tier_of(outcome: Outcome) -> str:
    return outcome.reply.headers.get("x-sidecar-tier", "none")


def _tier_shares(outcomes: Sequence[Outcome]) -> dict[str, dict[str, float]]:
    """Of the answers made afresh: each tier's share and how often it was right."""
    fresh = [outcome for outcome in outcomes if not outcome.reply.is_hit]
    counts = Counter(map(_tier_of, fresh))
    right = Counter(_tier_of(outcome) for outcome in fresh if outcome.is_right)
    return {
        tier: {"requests": count, "share": count / len(fresh), "right": right[tier] / count}
        for tier, count in sorted(counts.items())
    }


def _tier_table(outcomes: Sequence[Outcome]) -> Table:
    rows = [
        (
            tier,
            str(told["requests"]),
            f"{100 * told['share']:.1f} %",
            f"{100 * told['right']:.1f} %",
        )
        for tier, told in _tier_shares(outcomes).items()
    ]
    headings = ("tier", "requests", "share", "right")
    return Table(title="Tiers, of the answers made afresh", headings=headings, rows=rows)


def _latencies(outcomes: Sequence[Outcome]) -> dict[str, dict[str, float]]:
    """By kind, and by whether it was a stream; of streams also the first bytes."""
    samples: defaultdict[str, list[float]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.asked.is_stream:
            samples[f"{outcome.reply.cache}, stream, first"].append(outcome.reply.first_ms)
            samples[f"{outcome.reply.cache}, stream"].append(outcome.reply.latency_ms)
        else:
            samples[outcome.reply.cache].append(outcome.reply.latency_ms)
    return {kind: quantiles(values) for kind, values in sorted(samples.items())}


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """How many, and the three percentiles that every latency here is told by."""
    return {
        "count": len(values),
        "p50": percentile(values, 0.50),
        "p95": percentile(values, 0.95),
        "p99": percentile(values, 0.99),
    }


def _latency_table(latencies: Mapping[str, Mapping[str, float]]) -> Table:
    rows = [
        (kind, str(told["count"]), *(f"{told[name]:.1f}" for name in ("p50", "p95", "p99")))
        for kind, told in latencies.items()
    ]
    headings = ("kind", "count", "p50", "p95", "p99")
    return Table(title="Latency, ms", headings=headings, rows=rows)
