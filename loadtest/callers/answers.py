"""What one answer over HTTP tells a caller: status, headers and body in, a `Reply` out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

UNANSWERED: Final = "unanswered"
"""Begins the outcome of a request that got no HTTP answer."""

UNREACHED: Final = 0
"""The status of a request that got no HTTP answer at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One request's outcome.

    Attributes:
        status: HTTP status, or UNREACHED.
        fault: Of a request without an HTTP answer: what ended it, and how far it had come.
        text: The first choice's content.
        is_whole: The body is a finished answer; of a stream, it ended with `[DONE]`.
        headers: Names in lower case; of a stream, with what its last chunk's `sidecar` told.
        latency_ms: Until the last byte.
        first_ms: Until the first bytes of the body.
    """

    status: int
    text: str = ""
    is_whole: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    latency_ms: float = 0.0
    first_ms: float = 0.0
    fault: str = ""

    @property
    def outcome(self) -> str:
        """Status and cache, or why there is none: `200 miss`, `unanswered: TimeoutError, head`."""
        return f"{self.status} {self.cache}" if self.status else f"{UNANSWERED}: {self.fault}"

    @property
    def cache(self) -> str:
        """`hit-exact`, `hit-semantic`, `miss` and so on; `none` where the header is missing."""
        return self.headers.get("x-sidecar-cache", "none")

    @property
    def is_hit(self) -> bool:
        """An answer that was kept was served."""
        return self.cache.startswith("hit-")

    def number(self, name: str) -> float:
        """The number in header `x-sidecar-<name>`, 0 where there is none."""
        try:
            return float(self.headers.get(f"x-sidecar-{name}", "0"))
        except ValueError:
            return 0.0


def read(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    latency_ms: float,
    first_ms: float | None = None,
) -> Reply:
    """The reply that these bytes are, whether JSON or a stream."""
    lowered = {name.lower(): value for name, value in headers.items()}
    is_stream = lowered.get("content-type", "").startswith("text/event-stream")
    text, is_whole, told = _read_stream(body) if is_stream else _read_json(body)
    return Reply(
        status=status,
        text=text,
        is_whole=is_whole and status == 200,  # noqa: PLR2004 - HTTP's own number
        headers=lowered | {_header_of(name): str(value) for name, value in told.items()},
        latency_ms=latency_ms,
        first_ms=latency_ms if first_ms is None else first_ms,
    )


def _header_of(name: str) -> str:
    """`_header_of("cost_usd") == "x-sidecar-cost-usd"`."""
    return f"x-sidecar-{name.replace('_', '-')}"


def _read_json(body: bytes) -> tuple[str, bool, dict[str, Any]]:
    try:
        choice = json.loads(body)["choices"][0]
        return str(choice["message"]["content"] or ""), True, {}
    except (ValueError, KeyError, IndexError, TypeError):
        return "", False, {}


def _read_stream(body: bytes) -> tuple[str, bool, dict[str, Any]]:
    pieces: list[str] = []
    told: dict[str, Any] = {}
    is_done = False
    for data in events(body):
        if data == b"[DONE]":
            is_done = True
            continue
        try:
            chunk = json.loads(data)
        except ValueError:
            return "".join(pieces), False, told
        told |= _scalars(chunk.get("sidecar"))
        pieces.extend(
            (choice.get("delta") or {}).get("content") or ""
            for choice in chunk.get("choices") or ()
            if choice.get("index", 0) == 0
        )
    return "".join(pieces), is_done, told


def _scalars(told: object) -> dict[str, Any]:
    if not isinstance(told, dict):
        return {}
    return {name: value for name, value in told.items() if isinstance(value, str | int | float)}


def events(body: bytes) -> Iterator[bytes]:
    """The data of each server-sent event: `list(events(b"data: 1")) == [b"1"]`."""
    for line in body.splitlines():
        if line.startswith(b"data:"):
            yield line[5:].strip()
