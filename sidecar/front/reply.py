"""What a front needs to give one answer again: the same bytes to whoever sends the same bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from struct import Struct
from typing import Any, Final

import orjson

from sidecar import answer, streams
from sidecar.web.sse import DONE, event
from sidecar.web.wire import whole

KEY_HEADER: Final = "sidecar-front"
"""In which a front tells the owner the request's key; it lets none of a caller's through."""

_SIZES: Final = Struct("<dII")  # created at, length of the head, length of the stream's facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One answer that may be given again.

    Attributes:
        body: As the entry keeps it, see `sidecar.answer`.
        created_at: Of the entry, seconds since the epoch; its age follows from it.
        head: The lines of its head that are the same each time.
        summary: The `sidecar` object of a stream's last chunk, less what is new each time; None
            if the caller wants no stream.
        include_usage: He wants its usage chunk.
    """

    body: bytes
    created_at: float
    head: bytes
    summary: Mapping[str, Any] | None = None
    include_usage: bool = False

    def packed(self) -> bytes:
        """It in bytes; head and body as they stand."""
        facts = b"" if self.summary is None else orjson.dumps([self.summary, self.include_usage])
        sizes = _SIZES.pack(self.created_at, len(self.head), len(facts))
        return sizes + self.head + facts + self.body

    @classmethod
    def unpacked(cls, raw: bytes) -> Kept:
        """What `packed` made bytes of."""
        created_at, head_bytes, facts_bytes = _SIZES.unpack_from(raw)
        begin = _SIZES.size + head_bytes
        end = begin + facts_bytes
        summary, include_usage = orjson.loads(raw[begin:end]) if facts_bytes else (None, False)
        return cls(
            body=raw[end:],
            created_at=created_at,
            head=raw[_SIZES.size : begin],
            summary=summary,
            include_usage=include_usage,
        )

    def told(self, request_id: str, now_at: float, overhead_ms: float) -> bytes:
        """One answer, whole: a stream, too, for it is all there."""
        body = answer.replayed_body(self.body, answer.fresh_id(), int(now_at))
        if self.summary is not None:
            body = self._events(body, request_id, overhead_ms)
        return whole(
            self.head,
            body,
            request_id=request_id,
            overhead_ms=overhead_ms,
            age_s=now_at - self.created_at,
        )

    def _events(self, body: bytes, request_id: str, overhead_ms: float) -> bytes:
        told = {"request_id": request_id, "overhead_ms": round(overhead_ms, 3)}
        payloads = streams.replayed(
            orjson.loads(body),
            include_usage=self.include_usage,
            summary=lambda: {**(self.summary or {}), **told},
        )
        return b"".join([*map(event, payloads), DONE])
