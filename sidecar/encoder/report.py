"""What the encoder's thread did or did not do in, to whoever counts it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchReport:
    """One run, for whoever counts.

    Attributes:
        texts: Encoded in it.
        tokens: In them, padding not counted.
        queue_ms: The longest that one of them waited.
        encode_ms: Of the run, tokenising included.
    """

    texts: int
    tokens: int
    queue_ms: float
    encode_ms: float


class BatcherHook(Protocol):
    """Whoever wants to know what the batcher does; called on the event loop's thread."""

    def on_batch(self, report: BatchReport) -> None:
        """A run ended well."""

    def on_full(self) -> None:
        """A text or a work was refused, because too many waited."""

    def on_skipped(self) -> None:
        """A text or a work was not begun, because its caller had left."""

    def on_post_fault(self, fault: Exception) -> None:
        """A posted work raised; nobody awaits it, so this is where it is told."""


class Deaf:
    """A hook that listens to nothing."""

    def on_batch(self, report: BatchReport) -> None:
        """See BatcherHook."""

    def on_full(self) -> None:
        """See BatcherHook."""

    def on_skipped(self) -> None:
        """See BatcherHook."""

    def on_post_fault(self, fault: Exception) -> None:
        """See BatcherHook."""
