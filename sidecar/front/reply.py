"""What a front needs to give one answer again, and the key that the same request has.

The key is of the request as it came, bytes and headers: what has the same bytes has the same
canonical request, the same tenant, the same options, whatever the config makes of them. Headers
that decide nothing are left out; one that nobody has thought of is in it, and costs a hit at most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from sidecar import answer, streams

KEY_HEADER: Final = "sidecar-front"
"""In which a front tells the owner the request's key; it lets none of a caller's through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One answer that may be given again.

    Attributes:
        body: As the entry keeps it, see `sidecar.answer`.
        created_at: Of the entry, seconds since the epoch; its age follows from it.
        headers: That are the same each time.
        summary: The `sidecar` object of a stream's last chunk, less what is new each time; None
            if the caller wants no stream.
        include_usage: He wants its usage chunk.
    """

    body: bytes
    created_at: float
    headers: Mapping[str, str]
    summary: Mapping[str, Any] | None = None
    include_usage: bool = False

    def packed(self) -> bytes:
        """It in bytes; the body last, as it stands."""
        head = orjson.dumps([self.created_at, self.headers, self.summary, self.include_usage])
        return len(head).to_bytes(4, "big") + head + self.body

    @classmethod
    def unpacked(cls, raw: bytes) -> Kept:
        """What `packed` made bytes of."""
        end = 4 + int.from_bytes(raw[:4], "big")
        created_at, headers, summary, include_usage = orjson.loads(raw[4:end])
        return cls(
            body=raw[end:],
            created_at=created_at,
            headers=headers,
            summary=summary,
            include_usage=include_usage,
        )

    def told_headers(self, request_id: str, now_at: float, overhead_ms: float) -> dict[str, str]:
        """Of one reply."""
        return {
            **self.headers,
            "x-sidecar-request-id": request_id,
            "x-sidecar-overhead-ms": f"{overhead_ms:.3f}",
            "age": str(max(0, int(now_at - self.created_at))),
        }

    def told_body(self, now_at: float) -> bytes:
        """Of one reply that is no stream."""
        return answer.replayed_body(self.body, answer.fresh_id(), int(now_at))

    def told_events(
        self, request_id: str, now_at: float, overhead_ms: Callable[[], float]
    ) -> Iterator[bytes]:
        """The payloads of one reply that is a stream."""

        def summary() -> dict[str, Any]:
            told = {"request_id": request_id, "overhead_ms": round(overhead_ms(), 3)}
            return {**(self.summary or {}), **told}

        body = orjson.loads(self.told_body(now_at))
        return streams.replayed(body, include_usage=self.include_usage, summary=summary)
