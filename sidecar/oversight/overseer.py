"""Requests and feedback as they pass in; hits drawn for a check, and bad ones taken back, out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal

import orjson

from cache.entry import Entry, EntryId, Hit, MissReason, Vector
from cache.trust import Trust, TrustReport
from sidecar import answer
from sidecar.ledger import Ledger
from sidecar.outcome import Outcome
from sidecar.oversight.asking import Asking
from sidecar.oversight.checks import Check, Checks
from sidecar.oversight.findings import Findings
from sidecar.oversight.sameness import contradicts
from sidecar.traffic.record import FeedbackRecord

MAX_SEEN: Final = 5_000
"""Chosen: requests that feedback finds again, the oldest leaving; 400 bytes each, and two vectors
where it was a semantic hit: some 17 MB at most."""

WITHHELD_SHARE: Final = 0.2
"""Chosen: of hits that were not served. The caller has an answer of his own, which settles most of
these checks for nothing, and what is off or on trial should not wait long for its evidence."""

NEAR_RATIO: Final = 0.5
"""Chosen: of `verify_share`: near misses teach less than hits that are served."""

_BAD_BELOW: Final = 0.5
"""Chosen: as the feedback's metric and training read a score."""


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """A request that feedback may speak of."""

    tenant: str
    kind: Literal["exact", "semantic", "kept"]
    entry_id: EntryId
    partition: bytes = b""
    asked: Vector | None = None
    kept: Vector | None = None


class Overseer:
    """Watches what the cache serves. Lives on the event loop's thread; its callers never wait."""

    def __init__(
        self,
        *,
        trust: Trust,
        findings: Findings,
        checks: Checks,
        find: Callable[[EntryId], Entry | None],
        verify_share: float,
        dice: Callable[[], float],
    ) -> None:
        """`find` gives an entry that is still kept; `dice` a uniform draw in [0, 1)."""
        self._trust = trust
        self._findings = findings
        self._checks = checks
        self._find = find
        self._verify_share = verify_share
        self._dice = dice
        self._seen: OrderedDict[str, _Seen] = OrderedDict()

    def served(self, ledger: Ledger, asking: Asking) -> None:
        """A hit is about to go out."""
        hit, aim = ledger.hit, ledger.aim
        assert hit is not None  # noqa: S101 - told of hits only
        assert aim is not None  # noqa: S101 - nothing is found without an aim
        tenant, entry = ledger.inquiry.caller.tenant, hit.entry
        partition = aim.keys.partition
        if hit.kind == "exact" or partition is None:
            self._see(ledger, _Seen(tenant, "exact", entry.entry_id))
            return
        seen = _Seen(tenant, "semantic", entry.entry_id, partition, hit.vector, entry.vector)
        self._see(ledger, seen)
        self._findings.served(partition, hit.risk)
        if self._dice() < self._verify_share:
            self._checks.offer(_check(ledger, hit, partition, asking, "served"))

    def answered(self, ledger: Ledger, outcome: Outcome, asking: Asking) -> None:
        """A climb that `ledger` led ended well, and its answer is kept if it may be."""
        if ledger.kept_id is not None:
            self._see(ledger, _Seen(ledger.inquiry.caller.tenant, "kept", ledger.kept_id))
        miss, aim = ledger.miss, ledger.aim
        if miss is None or miss.withheld is None or aim is None or aim.keys.partition is None:
            return
        is_near = miss.reason is MissReason.RISKY
        share = self._verify_share * NEAR_RATIO
        if not is_near and self._verify_share:
            share = max(self._verify_share, WITHHELD_SHARE)
        if self._dice() < share:
            kind: Literal["near", "withheld"] = "near" if is_near else "withheld"
            fresh = _fresh(outcome, asking, miss.withheld.entry.tier)
            check = _check(ledger, miss.withheld, aim.keys.partition, asking, kind)
            self._checks.offer(replace(check, fresh=fresh))

    def _see(self, ledger: Ledger, seen: _Seen) -> None:
        self._seen[ledger.inquiry.request_id] = seen
        if len(self._seen) > MAX_SEEN:
            self._seen.popitem(last=False)

    def feedback(self, record: FeedbackRecord) -> None:
        """Somebody said what he thought of an answer; only its own tenant is believed, and once."""
        seen = self._seen.get(record.request_id)
        if seen is None or seen.tenant != record.tenant or not self._is_bad(record, seen):
            return
        del self._seen[record.request_id]
        if seen.kind == "semantic" and seen.asked is not None and seen.kept is not None:
            self._findings.bad(seen.partition, seen.entry_id, seen.asked, seen.kept)
        else:
            self._findings.quarantine(seen.entry_id)

    def _is_bad(self, record: FeedbackRecord, seen: _Seen) -> bool:
        if record.score is not None:
            return record.score < _BAD_BELOW
        entry = self._find(seen.entry_id)
        return entry is not None and contradicts(_text(entry), record.correct_answer)

    async def settled(self) -> None:
        """Wait until every hit drawn so far is checked."""
        await self._checks.settled()

    def report(self) -> TrustReport:
        """What was learnt so far. To be called on the event loop's thread."""
        return self._trust.report()


def _text(entry: Entry) -> str:
    return answer.text(orjson.loads(entry.body))


def _fresh(outcome: Outcome, asking: Asking, tier: str) -> str | None:
    """What the caller got just now, if it was `tier` that said it."""
    body = outcome.served.body
    if body is None or asking.ladder[outcome.served.place].name != tier:
        return None
    return answer.text(body) or None


def _check(
    ledger: Ledger,
    hit: Hit,
    partition: bytes,
    asking: Asking,
    kind: Literal["served", "withheld", "near"],
) -> Check:
    request = ledger.inquiry.request
    return Check(
        kind=kind,
        hit=hit,
        partition=partition,
        question=request.question or "",
        raw=orjson.dumps(request.body),
        headers=ledger.inquiry.options.upstream_headers,
        fresh=None,
        asking=asking,
    )
