"""Whole answers that are given again, as bytes: what is the same each time, and what is new."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import SERVER_SOFTWARE

from sidecar.web.sse import STREAM_HEADERS

_NEW_EACH_TIME: Final = frozenset({"x-sidecar-request-id", "x-sidecar-overhead-ms", "age"})


def fixed_head(headers: Mapping[str, str], *, is_stream: bool) -> bytes:
    """The lines of an answer's head that are the same each time it is given."""
    told = {name: value for name, value in headers.items() if name not in _NEW_EACH_TIME}
    told |= STREAM_HEADERS if is_stream else {"content-type": "application/json"}
    told["server"] = SERVER_SOFTWARE
    lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    return f"HTTP/1.1 200 OK\r\n{lines}".encode()


def whole(fixed: bytes, body: bytes, *, request_id: str, overhead_ms: float, age_s: float) -> bytes:
    """An answer's bytes: its fixed lines, those that are new each time, and its body."""
    head = b"%sx-sidecar-request-id: %s\r\nx-sidecar-overhead-ms: %.3f\r\nage: %d\r\n" % (
        fixed,
        request_id.encode(),
        overhead_ms,
        max(0, int(age_s)),
    )
    return b"%sdate: %s\r\ncontent-length: %d\r\n\r\n%s" % (
        head,
        rfc822_formatted_time().encode(),
        len(body),
        body,
    )
