"""What an operator sees and does of the cache: plain JSON values out, all of it on the main loop.

Looking changes nothing: no use is counted, nothing is served, nothing is kept. Questions and
answers come through the traffic log's redaction, answers cut short. `explain` asks the very parts
that a request passes, so that it cannot tell another story; in doing so it counts one use of a hit,
and brings up what is kept on disk alone. A search looks at memory.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

import orjson

from cache.entry import Entry, EntryId, Hit, Judged
from cache.epochs import Selector
from cache.errors import CacheError
from cache.guard import NAMES
from cache.policy import CacheConfig, SemanticConfig
from cache.rejections import Question
from cache.semantic import SemanticCache
from cache.stores.memory import MemoryStore, entry_bytes
from cache.trust import Trust
from sidecar import answer
from sidecar.caching.keeper import Keeper
from sidecar.encoder.batcher import Batcher
from sidecar.encoder.encoding import Encoding
from sidecar.errors import EncoderError
from sidecar.ledger import Aim, Inquiry
from sidecar.pipeline import Pipeline
from sidecar.traffic.redaction import Redaction

HEAD_CHARACTERS: Final = 400
"""Chosen: enough of an answer to know it by."""

_FINGERPRINT: Final = re.compile("(?:[0-9a-f]{2})+")

SAMPLE: Final = 10
"""Chosen: entries shown of those that an invalidation names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which entries a search is for; an empty field asks for nothing."""

    tenant: str = ""
    tag: str = ""
    model: str = ""
    prompt: str = ""
    text: str = ""
    limit: int = 20

    def fits(self, entry: Entry) -> bool:
        """`entry` is one of them."""
        return (
            self.tenant in {"", entry.tenant}
            and (not self.tag or self.tag in entry.tags)
            and self.model in {"", entry.model, entry.tier}
            and self.prompt in {"", entry.prompt}
            and self.text.lower() in entry.question.lower()
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Inspection:
    """The cache, seen from outside. Its methods run on the main loop."""

    store: MemoryStore
    index: SemanticCache
    trust: Trust
    keeper: Keeper
    batcher: Batcher
    pipeline: Callable[[], Pipeline]
    cache_config: CacheConfig
    semantic_config: SemanticConfig
    redaction: Redaction
    logger: logging.Logger

    async def overview(self) -> dict[str, Any]:
        """Sizes, whose they are, and what the semantic tier may do."""
        statistics = await self.batcher.run(self.index.statistics)
        return {
            "entries": len(self.store),
            "bytes": self.store.bytes_held,
            "max_bytes": self.cache_config.max_bytes,
            "partitions": statistics.partitions,
            "by_meaning": statistics.entries,
            "tenants": self._tenants(),
            "epoch": self.keeper.epochs.now,
            "is_persisted": self.keeper.is_persisted,
            "semantic": {**self._semantic(), "learnt": self._learnt()},
        }

    def _tenants(self) -> dict[str, dict[str, int]]:
        told: dict[str, dict[str, int]] = {
            tenant: {"entries": 0, "bytes": 0, "quota_bytes": pool.max_bytes}
            for tenant, pool in self.store.pools().items()
            if tenant
        }
        for entry in self.store:
            one = told.setdefault(entry.tenant, {"entries": 0, "bytes": 0})
            one["entries"] += 1
            one["bytes"] += entry_bytes(entry)
        return told

    def _semantic(self) -> dict[str, Any]:
        config, off = self.semantic_config, self.index.why_off()
        return {
            "mode": config.mode,
            "max_false_hit_rate": config.max_false_hit_rate,
            "risk_limit": self.index.statistics().risk_limit,
            "told": f"nothing is served by meaning: {off}"
            if off
            else "hits by meaning are served"
            if config.mode == "on"
            else "hits by meaning are told and not served",
        }

    def _learnt(self) -> dict[str, Any]:
        report = asdict(self.trust.report())
        states = {state.value: count for state, count in report["partitions"].items()}
        told = {name: [_partition(one) for one in report[name]] for name in ("watched", "busiest")}
        return {**report, "partitions": states, **told}

    def _standing(self, partition: bytes | None) -> dict[str, Any] | None:
        report = self.trust.find_report(partition) if partition is not None else None
        return _partition(asdict(report)) if report is not None else None

    def search(self, wanted: Wanted) -> list[dict[str, Any]]:
        """The entries that fit, the newest first. Looks at every entry."""
        found: list[Entry] = []
        for entry in reversed(list(self.store)):
            if len(found) == wanted.limit:
                break
            if wanted.fits(entry):
                found.append(entry)
        return [self._told(entry) for entry in found]

    async def find_entry(self, entry_id: EntryId) -> dict[str, Any] | None:
        """One entry, with its answer's head; None if it is not kept."""
        entry = await self.keeper.entry(entry_id)
        return None if entry is None else {**self._told(entry), **self._more(entry)}

    def _told(self, entry: Entry) -> dict[str, Any]:
        now_at = time.time()
        return {
            "id": entry.entry_id,
            "question": self.redaction.text(entry.question),
            "tenant": entry.tenant,
            "namespace": entry.namespace,
            "prompt": entry.prompt,
            "tier": entry.tier,
            "model": entry.model,
            "tags": list(entry.tags),
            "bytes": entry_bytes(entry),
            "age_s": round(now_at - entry.created_at, 1),
            "expires_in_s": round(entry.expires_at - now_at, 1),
        }

    def _more(self, entry: Entry) -> dict[str, Any]:
        head = answer.text(orjson.loads(entry.body))[:HEAD_CHARACTERS]
        return {
            "answer_head": self.redaction.text(head),
            "fingerprint": entry.fingerprint.hex(),
            "partition": entry.partition.hex() if entry.partition is not None else None,
            "tokens_in": entry.tokens_in,
            "tokens_out": entry.tokens_out,
            "cost_usd": str(entry.cost_usd),
            "epoch": entry.epoch,
        }

    async def entry_selector(self, value: str) -> Selector | None:
        """The selector for an entry's id or its fingerprint as hex; None if it is not kept."""
        if value.isascii() and value.isdigit() and (entry := await self.keeper.entry(int(value))):
            return Selector("entry", entry.fingerprint.hex())
        if not _FINGERPRINT.fullmatch(value):
            return None
        selector = Selector("entry", value)
        return selector if (await self.keeper.tally(selector)).entries else None

    async def invalidate(self, selector: Selector, *, dry_run: bool) -> dict[str, Any]:
        """Forget what `selector` names; or only tell what that would be."""
        tally = await self.keeper.tally(selector)
        told: dict[str, Any] = {
            "dry_run": dry_run,
            "entries": tally.entries,
            "bytes": tally.size_bytes,
            "sample": [self._told(entry) for entry in tally.in_memory[:SAMPLE]],
        }
        if dry_run:
            return {**told, "told": "nothing was removed; ask again with dry_run false"}
        is_persisted = await self.keeper.invalidate(selector)
        self.trust.forget_named(selector, (entry.entry_id for entry in tally.in_memory))
        facts = {**asdict(selector), "entries": tally.entries, "is_persisted": is_persisted}
        self.logger.info("cache invalidated", extra={"facts": facts})
        return {
            **told,
            "is_persisted": is_persisted,
            "told": "removed, on disk too"
            if is_persisted
            else "removed; no disk has it in writing, so that it is known to this process alone",
        }

    async def explain(self, inquiry: Inquiry) -> dict[str, Any]:
        """What the cache would do with one request, and why. Raises SidecarError."""
        pipeline = self.pipeline()
        aim = pipeline.aim(inquiry, pipeline.rulings(inquiry.caller.tenant))
        # First, since what only the disk holds comes up with it, as it would for the caller.
        verdict = await self._verdict(pipeline, aim, inquiry)
        return {
            "permit": aim.permit._asdict(),
            "keys": {
                "fingerprint": aim.keys.fingerprint.hex(),
                "partition": aim.keys.partition.hex() if aim.keys.partition is not None else None,
                "epoch": self.keeper.epochs.of_tenant(inquiry.caller.tenant),
            },
            "tiers": [pipeline.ladder[place].name for place in aim.target.allowed],
            "exact": self._exact(aim),
            "semantic": {
                **self._semantic(),
                "standing": self._standing(aim.keys.partition),
                **await self._candidates(aim, inquiry),
            },
            "verdict": verdict,
        }

    def _exact(self, aim: Aim) -> dict[str, Any]:
        entry = self.store.peek_by_fingerprint(aim.keys.fingerprint)
        if entry is None:
            return {"state": "absent"}
        state = "fresh" if entry.expires_at > time.time() else "expired"
        return {"state": state, "entry": self._told(entry)}

    async def _candidates(self, aim: Aim, inquiry: Inquiry) -> dict[str, Any]:
        question, partition = inquiry.request.question, aim.keys.partition
        if question is None or partition is None:
            return {"candidates": [], "skipped": "no question in plain text"}

        def judged(encoding: Encoding) -> tuple[Encoding, tuple[Judged, ...]]:
            return encoding, self.index.judge(
                partition,
                question,
                encoding.vector,
                now_at=time.time(),
                min_similarity=inquiry.options.similarity,
            )

        try:
            encoding, near = await self.batcher.encode(question, judged)
        except (CacheError, EncoderError) as fault:
            return {"candidates": [], "skipped": type(fault).__name__}
        if encoding.truncated:
            return {"candidates": [], "skipped": "longer than the encoder's window"}
        asked = Question(question, encoding.vector)
        return {"candidates": [self._candidate(one, partition, asked) for one in near]}

    def _candidate(self, one: Judged, partition: bytes, asked: Question) -> dict[str, Any]:
        candidate = one.candidate
        entry = self.store.peek(candidate.entry_id) or candidate.below
        kept = None
        if entry is not None and entry.vector is not None:
            kept = Question(entry.question, entry.vector)
        refusal = self.trust.refusal(partition, candidate, asked, kept)
        return {
            "id": candidate.entry_id,
            "question": self.redaction.text(entry.question) if entry is not None else None,
            "similarity": round(candidate.similarity, 4),
            "risk": round(candidate.risk, 4),
            "risk_by_its_checks": round(self.trust.entry_risk(candidate), 4),
            "is_promoted": self.trust.is_promoted(candidate, asked.text),
            "veto": one.comparison.veto,
            "is_restated": one.comparison.is_restated,
            "verdict": None if one.verdict is None else round(one.verdict, 2),
            "facets": dict(zip(NAMES, map(_rounded, one.comparison.values), strict=True)),
            "refused": one.reason.value if one.reason is not None else "",
            "detail": one.detail,
            "learnt": refusal.detail if refusal is not None else "",
        }

    async def _verdict(self, pipeline: Pipeline, aim: Aim, inquiry: Inquiry) -> dict[str, Any]:
        lookup, now_at = pipeline.lookup, time.time()
        if (hit := lookup.exact(aim.keys, aim.permit, now_at)) is not None:
            return _served("hit-exact", hit)
        if (hit := await lookup.on_disk(aim.keys, aim.permit)) is not None:
            return _served("hit-exact", hit)
        if (hit := pipeline.find_stale(aim)) is not None:
            return _served("stale", hit)
        if inquiry.request.question is None or not aim.permit.semantic:
            return _unserved("not_cacheable", aim.permit.reason)
        looked = await lookup.by_meaning(
            aim.keys,
            inquiry.request.question,
            aim.permit,
            min_similarity=inquiry.options.similarity,
            deadline=inquiry.deadline,
            watch=inquiry.watch,
        )
        if isinstance(looked, Hit):
            return _served("hit-semantic", looked)
        return _unserved(looked.reason.value, looked.detail)


def _partition(report: dict[str, Any]) -> dict[str, Any]:
    """A partition's report as JSON."""
    tenant, namespace = report["owner"]
    told = {"tenant": tenant, "namespace": namespace, "state": report["state"].value}
    return {**{name: value for name, value in report.items() if name != "owner"}, **told}


def _served(cache: str, hit: Hit) -> dict[str, Any]:
    return {"cache": cache, "id": hit.entry.entry_id, "reason": "", "detail": ""}


def _unserved(reason: str, detail: str) -> dict[str, Any]:
    return {"cache": "miss", "id": None, "reason": reason, "detail": detail}


def _rounded(value: float) -> float:
    return round(value, 4)
