"""An answer of an upstream's, read as it comes: unpacked, bounded, with a time for each arrival.

A `Body` is kept until it is whole. `Events` are told on one by one, in the very call that brought
their bytes; what is no stream of events (a refusal) is kept as a body is.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Final

from sidecar.errors import UpstreamGarbled
from sidecar.providers.openai import EventSplitter
from sidecar.providers.wire import Hear, Tell

MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
"""Chosen: no real answer comes near it, and a vendor gone mad does not fill memory."""

_PIECE_BYTES: Final = 256 * 1024
"""Chosen: unpacked at a time; a packed megabyte may hold a gigabyte."""

OK: Final = int(HTTPStatus.OK)
"""As a plain number: to look the member up takes Python 3.11 as long as five calls do."""

DONE: Final = b"[DONE]"
"""Source: OpenAI's API reference, "Streaming": the data of the event after the last."""

_GZIP: Final = 16 + zlib.MAX_WBITS
"""Source: zlib's manual, `inflateInit2`: 16 more has it read gzip's own frame."""


class Body:
    """An answer that is wanted whole; see `connection.Reader`.

    Attributes:
        status: Of the answer; 0 before there is one.
        headers: The answer's, names in lower case.
        due_s: The loop's instant by which something has to come.
        has_enough: Nothing more of it is wanted.
    """

    def __init__(self, upstream: str, read_s: float, until_s: float) -> None:
        """Set up.

        Args:
            upstream: Whose answer it is.
            read_s: Seconds that may pass between two arrivals.
            until_s: The loop's instant by which all of it has to be there.
        """
        self._upstream = upstream
        self._clock = asyncio.get_running_loop().time
        self._read_s = read_s
        self._until_s = until_s
        self._parts: list[bytes] = []
        self._size = 0
        self._packed: _Packed | None = None
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.has_enough = False
        self.due_s = 0.0
        self._moved()

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """The head is here."""
        self.status, self.headers = status, headers
        if headers.get("content-encoding", "").strip().lower() in {"gzip", "x-gzip"}:
            self._packed = _Packed()
        self._moved()

    def feed(self, data: bytes) -> None:
        """More of it is here.

        Raises:
            UpstreamGarbled: It is longer than any answer, or cannot be unpacked.
        """
        try:
            for piece in (data,) if self._packed is None else self._packed.pieces(data):
                self._size += len(piece)
                if self._size > MAX_ANSWER_BYTES:
                    told = f"sent more than {MAX_ANSWER_BYTES} bytes"
                    raise UpstreamGarbled(f"upstream {self._upstream} {told}")
                self._take(piece)
        except zlib.error as fault:
            raise UpstreamGarbled(f"upstream {self._upstream} packed its answer badly") from fault

    def whole(self) -> bytes:
        """All of it."""
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    def _take(self, piece: bytes) -> None:
        self._parts.append(piece)
        self._moved()

    def _moved(self) -> None:
        """Something came: the next may take its time, too."""
        self.due_s = min(self._clock() + self._read_s, self._until_s)


class Events(Body):
    """An answer that is wanted as it comes."""

    def __init__(
        self,
        upstream: str,
        read_s: float,
        until_s: float,
        *,
        first_by_s: float,
        hear: Hear,
        tell: Tell,
    ) -> None:
        """Set up.

        Args:
            upstream: Whose answer it is.
            read_s: Seconds that may pass between two events; what is none, a ping, counts nothing.
            until_s: The loop's instant by which the last has to be there.
            first_by_s: The same of the first.
            hear: Told the answer's headers, before the first event.
            tell: Told the events' data, all of one arrival together.
        """
        super().__init__(upstream, read_s, until_s)
        self._splitter = EventSplitter(upstream)
        self._hear = hear
        self._tell = tell
        self.due_s = min(first_by_s, until_s)

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """See Body.

        Raises:
            UpstreamGarbled: It is no stream.
        """
        due_s = self.due_s
        super().begin(status, headers)
        if status != OK:
            return
        self.due_s = due_s  # a head is no event
        kind = headers.get("content-type", "nothing").partition(";")[0].strip().lower()
        if kind != "text/event-stream":
            raise UpstreamGarbled(f"upstream {self._upstream} sent {kind}, no stream")
        self._hear(headers)

    def finish(self) -> None:
        """Tell the last event, if the upstream closed without the mark that should end it."""
        if not self.has_enough:
            self._pass_on([*self._splitter.finish()])

    def _take(self, piece: bytes) -> None:
        if self.status != OK:
            super()._take(piece)
            return
        self._pass_on(self._splitter.feed(piece))

    def _pass_on(self, events: list[bytes]) -> None:
        if DONE in events:
            self.has_enough = True
            del events[events.index(DONE) :]
        if events:
            self._moved()
            self._tell(events)


class _Packed:
    """Unpacks gzip, piece by piece."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(_GZIP)

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """What `data` holds; raises zlib.error. Whatever follows the end is nothing.

        zlib would keep all of that, and copy all that it has kept for every arrival.
        """
        is_full = False
        while (data or is_full) and not self._inflate.eof:
            piece = self._inflate.decompress(data, _PIECE_BYTES)
            is_full = len(piece) == _PIECE_BYTES
            data = self._inflate.unconsumed_tail
            if piece:
                yield piece
