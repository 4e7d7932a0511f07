"""Chunks in, the payloads of server-sent events out, with the `sidecar` object in the last one.

What is known only at the end (cost, confidence) must ride in the last chunk. Which chunk is the
last is known only when the next one does not come, so from the first finish reason on one chunk is
held back; every word before it goes out at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
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


class Relayed:
    """A stream as it comes; the usage chunk only if the caller asked for it."""

    def __init__(self, *, include_usage: bool) -> None:
        self._include_usage = include_usage
        self._held: bytes | None = None  # whatever may be the last, from the first end on

    def passed(self, news: Iterable[Told]) -> list[bytes]:
        """What goes out now."""
        out = list[bytes]()
        for told in news:
            if told.kind == "usage" and not self._include_usage:
                continue
            if self._held is None and told.kind == "words":
                out += told.chunks
                continue
            held = [] if self._held is None else [self._held]
            *passed, self._held = [*held, *told.chunks]
            out += passed
        return out

    def last(self, summary: Summary) -> list[bytes]:
        """The last chunk, with what is known only now; nothing where none was held back."""
        if self._held is None:
            return []
        return [orjson.dumps({**orjson.loads(self._held), "sidecar": summary()})]
