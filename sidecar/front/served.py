"""What a front gave away, for the owner to account for: in batches, there and back in bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import orjson

from sidecar.stopwatch import Stopwatch


class Served(NamedTuple):
    """One reply.

    Attributes:
        number: Of the record that it was made of.
        request_id: The caller was told.
        received_at: Seconds since the epoch, UTC.
        took_ms: First byte read to last byte written.
    """

    number: int
    request_id: str
    received_at: float
    took_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one front did since its last batch.

    Attributes:
        served: By itself.
        relayed: Requests that went to the owner.
        lost: Replies that it could not tell of, for too many waited.
    """

    served: Sequence[Served]
    relayed: int = 0
    lost: int = 0

    def packed(self) -> bytes:
        """It in bytes."""
        served = [list(each) for each in self.served]  # orjson knows no named tuples
        return orjson.dumps([served, self.relayed, self.lost])

    @classmethod
    def unpacked(cls, raw: bytes) -> Batch:
        """What `packed` made bytes of."""
        served, relayed, lost = orjson.loads(raw)
        return cls(served=[Served(*each) for each in served], relayed=relayed, lost=lost)


class Stopped(Stopwatch):
    """The times of a request that is over, as another process measured them."""

    def __init__(self, total_ms: float) -> None:
        super().__init__()
        self._total_ms = total_ms

    def total_ms(self) -> float:
        """See Stopwatch."""
        return self._total_ms
