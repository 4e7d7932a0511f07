"""Answers worth a person's look in, the ones to look at first out; nothing here does I/O.

1. The queue is bounded; of the tenant that holds the most, what can be spared leaves first.
2. An answer stands in it once, for the weightiest reason that was found.
3. What is too old is worth nobody's time, and leaves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final, Literal, get_args

from cache.shelf import Shelf
from sidecar.values import value

Why = Literal["complaint", "differs", "unsure", "sampled"]
"""Why an answer is worth a look, the weightiest first: somebody called it bad; another tier said
otherwise; the router hardly believed in it; it was drawn."""

WHYS: Final[tuple[Why, ...]] = get_args(Why)

MAX_CHARACTERS: Final = 4_000
"""Chosen: of a question and of an answer each; a reviewer who needs more has the log."""

_DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewConfig:
    """What is kept for review: `[review]`. Without a traffic log nothing is.

    Attributes:
        max_items: Answers that wait at most; 0 keeps none.
        sample: Share of the answered requests that is drawn, in [0, 1].
        min_confidence: Routed answers that were served with less are queued.
        keep_days: Days after which an answer that nobody looked at leaves.

    Raises:
        ValueError: A value lies outside its range.
    """

    max_items: int = 500
    sample: float = 0.005
    # Chosen: of the default router's answers one in twenty or so; what it believes in less than
    # this is more likely wrong than right by far.
    min_confidence: float = 0.25
    keep_days: float = 7.0

    def __post_init__(self) -> None:
        if not 0 <= self.max_items <= MAX_ITEMS:
            raise ValueError(f"max_items must lie between 0 and {MAX_ITEMS}")
        if not 0.0 <= self.sample <= 1.0:
            raise ValueError(f"sample must lie in [0, 1], is {self.sample}")
        if not 0.0 <= self.min_confidence <= 1.0:
            raise ValueError(f"min_confidence must lie in [0, 1], is {self.min_confidence}")
        if self.keep_days <= 0:
            raise ValueError("keep_days must be positive")


MAX_ITEMS: Final = 5_000
"""Chosen: with texts of MAX_CHARACTERS some 40 MB; nobody reads that many."""


@value(frozen=True, slots=True, kw_only=True)
class Review:
    """One answer that waits for a verdict.

    Attributes:
        request_id: Whose answer it is.
        tenant: Whose request.
        at: Seconds since the epoch, UTC, when it was answered.
        why: The weightiest reason.
        question: The last question, redacted as the log is, at most MAX_CHARACTERS.
        answer: What was served, likewise.
        tier: Who said it.
        model: The vendor's model.
        router: Version of the artifact that decided.
        confidence: With which it was served; None if it was not judged.
        comment: What a complaint said.
    """

    request_id: str
    tenant: str
    at: float
    why: Why
    question: str
    answer: str
    tier: str
    model: str
    router: str
    confidence: float | None = None
    comment: str = ""

    def because(self, why: Why) -> Review:
        """The same for the weightier of both reasons."""
        return replace(self, why=min(self.why, why, key=WHYS.index))

    def to_map(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def from_map(cls, values: Mapping[str, Any]) -> Review:
        """What `to_map` gave.

        Raises:
            ValueError: It is no such thing.
            TypeError: Likewise.
        """
        known = {field.name for field in fields(cls)}
        found = cls(**{name: value for name, value in values.items() if name in known})
        texts = (found.request_id, found.tenant, found.question, found.answer, found.comment)
        if found.why not in WHYS or not all(isinstance(text, str) for text in texts):
            raise ValueError("it is no review")
        return replace(found, at=float(found.at))


Key = tuple[str, str]
"""Tenant and request id: an id is a tenant's own."""


class Reviews:
    """The queue. One owner; nothing in here takes a lock."""

    def __init__(self, config: ReviewConfig) -> None:
        self._keep_s = config.keep_days * _DAY_S
        self._held: Shelf[Key, Review] = Shelf(config.max_items, can_spare=_can_spare)

    def __len__(self) -> int:
        return len(self._held)

    def put(self, review: Review) -> bool:
        """Queue it; whether it was not there before."""
        key = review.tenant, review.request_id
        before = self._held.get(key)
        kept = (
            review if before is None else replace(review, comment=review.comment or before.comment)
        )
        self._held.put(key, kept if before is None else kept.because(before.why), review.tenant)
        return before is None

    def pop(self, tenant: str, request_id: str) -> Review | None:
        """Let go of it; None if it does not wait."""
        return self._held.pop((tenant, request_id))

    def waiting(self, now_at: float, *, tenant: str = "", why: str = "") -> list[Review]:
        """Those that wait, the weightiest first, then the latest; what is too old is let go."""
        self._forget_old(now_at)
        found = [
            review
            for _, review in self._held
            if (not tenant or review.tenant == tenant) and (not why or review.why == why)
        ]
        return sorted(found, key=lambda review: (WHYS.index(review.why), -review.at))

    def restore(self, reviews: Iterable[Review]) -> None:
        """Take back what was kept."""
        for review in reviews:
            self.put(review)

    def _forget_old(self, now_at: float) -> None:
        gone = [key for key, review in self._held if now_at - review.at > self._keep_s]
        for key in gone:
            self._held.pop(key)


def _can_spare(review: Review) -> bool:
    return review.why in {"unsure", "sampled"}
