"""Requests and feedback as they pass in; hits drawn for a check, and bad ones taken back, out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import orjson

from cache.entry import Entry, EntryId, Hit, MissReason
from cache.rejections import Question
from cache.shelf import Shelf
from cache.standing import Owner, State
from cache.summary import TrustReport
from cache.trust import Trust
from sidecar import answer
from sidecar.ledger import Ledger
from sidecar.outcome import Outcome
from sidecar.oversight.asking import Asking
from sidecar.oversight.checks import Check, Checks
from sidecar.oversight.findings import Findings
from sidecar.oversight.sameness import contradicts
from sidecar.traffic.record import FeedbackRecord

MAX_SEEN: Final = 5_000
"""Chosen: requests that feedback finds again, the oldest of the busiest tenant leaving; 400 bytes
each, and two vectors where it was a semantic hit: some 17 MB at most."""

WATCHED_SHARE: Final = 0.2
"""Chosen: of the hits of a tight partition. At a hundredth, the two checks more that may shut it
would take two hundred hits; at a fifth they take ten, and the budget still has the last word."""

WITHHELD_SHARE: Final = 0.2
"""Chosen: of hits that were not served. The caller has an answer of his own, which settles most of
these checks for nothing, and what is off or on trial should not wait long for its evidence."""

NEAR_RATIO: Final = 0.5
"""Chosen: of `verify_share`: near misses teach less than hits that are served."""

_BAD_BELOW: Final = 0.5
"""Chosen: as the feedback's metric and training read a score."""


class _Pair(NamedTuple):
    """The question asked, and the one whose answer was found for it."""

    asked: Question
    kept: Question


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """A request that feedback may speak of; with its pair if it was a hit by meaning."""

    tenant: str
    entry_id: EntryId
    partition: bytes = b""
    pair: _Pair | None = None


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
        self._seen: Shelf[str, _Seen] = Shelf(MAX_SEEN)

    def served(self, ledger: Ledger, asking: Asking) -> None:
        """A hit is about to go out."""
        hit, aim = ledger.hit, ledger.aim
        assert hit is not None  # noqa: S101 - told of hits only
        assert aim is not None  # noqa: S101 - nothing is found without an aim
        tenant, entry_id = ledger.inquiry.caller.tenant, hit.entry.entry_id
        partition, pair = aim.keys.partition, _pair(ledger, hit)
        if partition is None or pair is None:
            self._see(ledger, _Seen(tenant, entry_id))
            return
        self._see(ledger, _Seen(tenant, entry_id, partition, pair))
        self._findings.served(partition, hit.risk, Owner(tenant, hit.entry.namespace))
        draw = self._dice()
        if draw < self._verify_share:
            self._checks.offer(_check(ledger, hit.entry, partition, pair, asking))
        elif draw < self._watched_share(partition):
            check = _check(ledger, hit.entry, partition, pair, asking)
            self._checks.offer(replace(check, kind="watched"))

    def _watched_share(self, partition: bytes) -> float:
        is_watched = self._verify_share and self._trust.state(partition) is State.TIGHT
        return WATCHED_SHARE if is_watched else 0.0

    def answered(self, ledger: Ledger, outcome: Outcome, asking: Asking) -> None:
        """A climb that `ledger` led ended well, and its answer is kept if it may be."""
        if ledger.kept_id is not None:
            self._see(ledger, _Seen(ledger.inquiry.caller.tenant, ledger.kept_id))
        if ledger.miss is None or ledger.miss.withheld is None or ledger.aim is None:
            return
        hit, partition = ledger.miss.withheld, ledger.aim.keys.partition
        pair = _pair(ledger, hit)
        is_near = ledger.miss.reason is MissReason.RISKY
        if partition is None or pair is None or self._dice() >= self._share(is_near=is_near):
            return
        check = _check(ledger, hit.entry, partition, pair, asking)
        fresh = _fresh(outcome, asking, hit.entry.tier)
        self._checks.offer(replace(check, kind="near" if is_near else "withheld", fresh=fresh))

    def _share(self, *, is_near: bool) -> float:
        """Of hits that were not served, how many are checked."""
        if is_near or not self._verify_share:
            return self._verify_share * NEAR_RATIO
        return max(self._verify_share, WITHHELD_SHARE)

    def _see(self, ledger: Ledger, seen: _Seen) -> None:
        self._seen.put(ledger.inquiry.request_id, seen, seen.tenant)

    def feedback(self, record: FeedbackRecord) -> None:
        """Somebody said what he thought of an answer; only its own tenant is believed, and once."""
        seen = self._seen.get(record.request_id)
        if seen is None or seen.tenant != record.tenant or not self._is_bad(record, seen):
            return
        self._seen.pop(record.request_id)
        if seen.pair is not None:
            self._findings.bad(seen.partition, seen.entry_id, *seen.pair, seen.tenant)
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


def _pair(ledger: Ledger, hit: Hit) -> _Pair | None:
    """Both questions of a hit by meaning; None of an exact one."""
    entry = hit.entry
    if hit.vector is None or entry.vector is None:
        return None
    asked = Question(ledger.inquiry.request.question or "", hit.vector)
    return _Pair(asked, Question(entry.question, entry.vector))


def _check(ledger: Ledger, entry: Entry, partition: bytes, pair: _Pair, asking: Asking) -> Check:
    """Of a hit that is served; nothing of it has been asked anew yet."""
    return Check(
        kind="served",
        entry=entry,
        partition=partition,
        asked=pair.asked,
        kept=pair.kept,
        raw=orjson.dumps(ledger.inquiry.request.body),
        headers=ledger.inquiry.options.upstream_headers,
        fresh=None,
        asking=asking,
    )
