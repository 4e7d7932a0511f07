"""Answers, complaints and other tiers' words in; a queue for people, kept over a restart, out.

1. Memory is the truth. The file follows it some seconds later, replaced whole by a rename, on a
   thread of its own, and once more at the end; a `kill -9` costs the queue its last seconds.
2. Texts are redacted before they are kept, and the file is sealed where the log is.
3. What the caller forbade to keep is not kept here either. Nobody waits for any of it.
4. A file that cannot be read is put aside, and that is an error in the log.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Protocol

import orjson

from cache.shelf import Shelf
from sidecar import answer
from sidecar.disk.sealing import AesGcm
from sidecar.disk.statefile import StateFile
from sidecar.ledger import Ledger
from sidecar.outcome import Outcome
from sidecar.oversight.reviews import (
    MAX_CHARACTERS,
    MAX_ITEMS,
    Review,
    ReviewConfig,
    Reviews,
    Why,
)
from sidecar.process.works import done_on
from sidecar.traffic.record import FeedbackRecord

FILE: Final = "reviews.json"
SCHEMA: Final = 1
MAX_FILE_BYTES: Final = 256 * 1024 * 1024
"""Chosen: all that may be queued, every character of it escaped."""

MAX_RECENT: Final = 1_000
"""Chosen: answers of late that a complaint may still bring to the queue; some 8 MB at worst."""

_SAVE_S: Final = 5.0
"""Chosen: so much of the queue may be lost to a kill."""

_BAD: Final = 0.5
"""Chosen: a score under it is a complaint, as in the metrics."""

_BOUND: Final = b"reviews"


class Meter(Protocol):
    """Where counts go."""

    def noticed(self, why: str) -> None:
        """An answer waits for a verdict."""
        ...

    def reviewed(self, score: float | None) -> None:
        """A verdict was given."""
        ...


class Redactor(Protocol):
    """Covers what must not be kept."""

    def text(self, text: str) -> str:
        """One text, covered; empty if all texts are."""
        ...


class Reviewing:
    """The one owner of the queue. Lives on the event loop's thread."""

    def __init__(
        self,
        *,
        config: ReviewConfig,
        path: Path | None,
        cipher: AesGcm | None,
        redaction: Redactor,
        dice: Callable[[], float],
        clock: Callable[[], float],
        meter: Meter,
        logger: logging.Logger,
    ) -> None:
        """`path` is the file, None for memory alone; `clock` gives seconds since the epoch."""
        self._config = config
        self._file = StateFile(path, MAX_FILE_BYTES, "the review queue", logger) if path else None
        self._cipher = cipher
        self._redaction = redaction
        self._dice = dice
        self._clock = clock
        self._meter = meter
        self._reviews = Reviews(config)
        self._recent: Shelf[tuple[str, str], Review] = Shelf(MAX_RECENT)
        self._is_dirty = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reviews")
        self._saving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Restore what the file holds, and keep it up to date from now on. Never raises."""
        if self._file is None or not self._config.max_items:
            return
        held = await done_on(self._thread, self._file.read, self._parsed)
        self._reviews.restore(held or [])
        self._saving = asyncio.create_task(self._save_forever())

    async def close(self) -> None:
        """Save once more, and end."""
        if self._saving is not None:
            self._saving.cancel()
            await asyncio.gather(self._saving, return_exceptions=True)
            await self._save()
        self._thread.shutdown()

    def __len__(self) -> int:
        return len(self._reviews)

    # What is worth a look.

    def answered(self, ledger: Ledger, outcome: Outcome, tier: str) -> None:
        """A climb ended well; `tier` is whose answer was served."""
        if not self._config.max_items or not _may_be_kept(ledger):
            return
        review = self._review(ledger, outcome, tier)
        if review is None:
            return
        self._recent.put((review.tenant, review.request_id), review, review.tenant)
        confidence = review.confidence
        if confidence is not None and confidence < self._config.min_confidence:
            self._queue(review, "unsure")
        elif self._dice() < self._config.sample:
            self._queue(review, "sampled")

    def differs(self, request_id: str, tenant: str, score: float) -> None:
        """Another tier's word on an answer that was served: 1 if it said the same, 0 if not."""
        review = self._recent.get((tenant, request_id))
        if review is not None and score < _BAD:
            self._queue(review, "differs")

    def feedback(self, record: FeedbackRecord) -> None:
        """Somebody scored an answer; a reviewer's word ends its waiting."""
        if record.source == "review":
            self._is_dirty |= self._reviews.pop(record.tenant, record.request_id) is not None
            self._meter.reviewed(record.score)
            return
        review = self._recent.get((record.tenant, record.request_id))
        if review is not None and record.score is not None and record.score < _BAD:
            self._queue(review, "complaint", self._cut(record.comment))

    def waiting(self, *, tenant: str = "", why: str = "") -> list[Review]:
        """Those that wait, the weightiest first."""
        return self._reviews.waiting(self._clock(), tenant=tenant, why=why)

    def _queue(self, review: Review, why: Why, comment: str = "") -> None:
        kept = replace(review, why=why, comment=comment)
        if self._reviews.put(kept):
            self._meter.noticed(why)
        self._is_dirty = True

    def _review(self, ledger: Ledger, outcome: Outcome, tier: str) -> Review | None:
        """None where there is nothing to read: no words, or all of them are to be covered."""
        body, inquiry = outcome.served.body, ledger.inquiry
        question = self._cut(inquiry.request.question or "")
        said = self._cut(answer.text(body)) if body is not None else ""
        if not question or not said or body is None:
            return None
        return Review(
            request_id=inquiry.request_id,
            tenant=inquiry.caller.tenant,
            at=inquiry.received_at,
            why="sampled",
            question=question,
            answer=said,
            tier=tier,
            model=str(body.get("model", "")),
            router=outcome.decision.version,
            confidence=outcome.judgement.confidence if outcome.judgement is not None else None,
        )

    def _cut(self, text: str) -> str:
        return self._redaction.text(text[:MAX_CHARACTERS])

    # The file.

    async def _save_forever(self) -> None:
        while True:
            await asyncio.sleep(_SAVE_S)
            await self._save()

    async def _save(self) -> None:
        if self._file is None or not self._is_dirty:
            return
        self._is_dirty = False
        told = [review.to_map() for review in self._reviews.waiting(self._clock())]
        await done_on(self._thread, self._write, self._file, told)

    # On the thread.

    def _write(self, file: StateFile, told: list[dict[str, Any]]) -> None:
        packed = orjson.dumps({"schema": SCHEMA, "reviews": told})
        file.write(self._cipher.seal(packed, _BOUND) if self._cipher else packed)

    def _parsed(self, packed: bytes) -> list[Review]:
        """What the file holds; raises whatever a stranger's may."""
        opened = self._cipher.open(packed, _BOUND) if self._cipher else packed
        if opened is None:
            raise ValueError("it is sealed with another key")
        told = orjson.loads(opened)
        if not isinstance(told, dict) or told.get("schema") != SCHEMA:
            raise ValueError(f"it is none of schema {SCHEMA}")
        return [Review.from_map(values) for values in told.get("reviews", ())[:MAX_ITEMS]]


def _may_be_kept(ledger: Ledger) -> bool:
    """It is a caller's own, and neither he nor the operator forbids that it be written down."""
    inquiry = ledger.inquiry
    if inquiry.is_background or inquiry.drill is not None:
        return False
    return ledger.ruling.writes and not inquiry.options.cache_control.no_store
