"""Chunks in, the payloads of server-sent events out, with the `sidecar` object in the last one.

What is known only at the end (cost, confidence) must ride in the last chunk. Which chunk is the
last is known only when the next one does not come, so from the first finish reason on one chunk is
held back; every word before it goes out at once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

import orjson

from sidecar import answer
from sidecar.dispatch import Told

Summary = Callable[[], Mapping[str, Any]]


def replayed(body: Mapping[str, Any], *, include_usage: bool, summary: Summary) -> Iterator[bytes]:
    """A whole answer, told as a stream."""
    *earlier, last = answer.chunks(body, include_usage=include_usage)
    for chunk in earlier:
        yield orjson.dumps(chunk)
    yield orjson.dumps({**last, "sidecar": summary()})


async def relayed(
    told: AsyncIterator[Told], *, include_usage: bool, summary: Summary
) -> AsyncIterator[bytes]:
    """A stream as it comes; the usage chunk only if the caller asked for it."""
    held: Told | None = None
    async for latest in told:
        if _is_usage(latest.chunk) and not include_usage:
            continue
        if held is not None:
            yield held.data
            held = latest
        elif _finishes(latest.chunk):
            held = latest
        else:
            yield latest.data
    if held is not None:
        yield orjson.dumps({**held.chunk, "sidecar": summary()})


def _is_usage(chunk: Mapping[str, Any]) -> bool:
    return not chunk.get("choices") and chunk.get("usage") is not None


def _finishes(chunk: Mapping[str, Any]) -> bool:
    return any(choice.get("finish_reason") for choice in chunk.get("choices") or ())
