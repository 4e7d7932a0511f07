"""Exact hits as they were given, found again by the bytes of the request; whole answers out.

What was given once is given again only if it is still what the pipeline would say: see
`Pipeline.again`, which looks at the entry, the config, the switches, the invalidations and the room
there is, each time anew. What is spared is reading the request and writing down the answer.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final

import orjson

from cache.stores.memory import entry_bytes
from sidecar import answer, streams
from sidecar.accounting.again import Again, weight_bytes
from sidecar.admission.admission import Admission
from sidecar.ledger import Ledger
from sidecar.pipeline import Pipeline
from sidecar.stopwatch import Stopwatch
from sidecar.web.connections import PIECE_BYTES
from sidecar.web.heads import MAX_ASKED_BYTES, Heads, fresh_request_id, request_key
from sidecar.web.quick import Asked
from sidecar.web.sse import DONE, event
from sidecar.web.wire import fixed_head, whole

MAX_WEIGHT_BYTES: Final = 32 * 2**20
"""Chosen: an eighth of what the cache itself may hold by default."""

_AT_A_TIME: Final = 4
"""Chosen: dead ones that are let go of for each new one: all of them soon, never many at once."""


@dataclass(frozen=True, slots=True, eq=False)
class _Given:
    """One answer that may be given again.

    Attributes:
        again: What the pipeline needs for it.
        head: The lines of its head that are the same each time.
        events: Of a stream, all that comes before its last chunk, cut where the id and the time
            belong (see `_cut`), and that last chunk; empty of a whole answer.
        weight: Bytes of memory, roughly.
    """

    again: Again
    head: bytes
    events: tuple[tuple[tuple[bytes, ...], ...], dict[str, object]] | None
    weight: int


class Givens:
    """Those given lately. Lives on the event loop's thread.

    Attributes:
        heads: What requests began with lately.
        is_shut: Nothing is given any more: while the door drains, each answer is to say so.
        straight: Who answers what was not given before; None leaves it to the application.
    """

    def __init__(self, pipeline: Callable[[], Pipeline], admission: Admission) -> None:
        """`pipeline` gives the one in force."""
        self._pipeline = pipeline
        self._admission = admission
        self.heads: Final = Heads(secrets.token_bytes(32))
        self.is_shut = False
        self.straight: Asked | None = None
        self._held: OrderedDict[bytes, _Given] = OrderedDict()
        self._weight = 0

    def __len__(self) -> int:
        return len(self._held)

    def keep(self, headers: Mapping[str, str], body: bytes, ledger: Ledger) -> None:
        """`ledger`'s hit is being given to the request with these headers and this body."""
        assert ledger.hit is not None  # noqa: S101 - it was a hit
        # A longer answer goes piece by piece, as it is taken: not all of it to whoever never reads.
        if len(body) > MAX_ASKED_BYTES or len(ledger.hit.entry.body) > PIECE_BYTES:
            return
        key = request_key(headers, body, self.heads.secret)
        self._drop(key)
        pipeline = self._pipeline()
        again = pipeline.again_of(ledger)
        is_stream = ledger.inquiry.request.stream
        head = fixed_head(pipeline.accounting.headers(ledger), is_stream=is_stream)
        events = _events(pipeline, ledger) if is_stream else None
        # The cache may let go of the entry before we do: it is reckoned in.
        entry = ledger.hit.entry
        weight = weight_bytes(len(body)) + len(head) + entry_bytes(entry)
        weight += 8 * len(entry.body) if is_stream else 0
        self._bury(again)
        self._held[key] = _Given(again, head, events, weight)
        self._weight += weight
        while self._weight > MAX_WEIGHT_BYTES:
            self._drop(next(iter(self._held)))

    def _bury(self, newest: Again) -> None:
        """Let go of some that will never be given again; those not given for longest come first."""
        for key, given in list(islice(self._held.items(), _AT_A_TIME)):
            if not given.again.may_follow(newest):
                self._drop(key)

    def find(self, key: bytes) -> bytes | None:
        """The whole answer to the request with this key; None: it is to be asked the long way."""
        given = None if self.is_shut else self._held.get(key)
        if given is None or not self._has_room(given.again.ledger):
            return None
        watch, received_at, request_id = Stopwatch(), time.time(), fresh_request_id()
        pipeline = self._pipeline()
        ledger = pipeline.again(given.again, request_id, received_at, watch)
        if ledger is None:
            self._drop(key)
            return None
        self._held.move_to_end(key)
        told = _told(given, pipeline, ledger)
        pipeline.accounting.close_again(ledger, given.again)
        return told

    def _has_room(self, ledger: Ledger) -> bool:
        caller, options = ledger.inquiry.caller, ledger.inquiry.options
        return self._admission.has_room(caller, options.priority)

    def _drop(self, key: bytes) -> None:
        gone = self._held.pop(key, None)
        self._weight -= gone.weight if gone is not None else 0


def _told(given: _Given, pipeline: Pipeline, ledger: Ledger) -> bytes:
    inquiry, hit = ledger.inquiry, ledger.hit
    assert hit is not None  # noqa: S101 - given again
    answer_id, now_at = answer.fresh_id(), int(inquiry.received_at)
    if given.events is None:
        body = answer.replayed_body(hit.entry.body, answer_id, now_at)
    else:
        body = _stream(given, pipeline, ledger, answer_id.encode(), b"%d" % now_at)
    return whole(
        given.head,
        body,
        request_id=inquiry.request_id,
        overhead_ms=inquiry.watch.overhead_ms(),
        age_s=inquiry.received_at - hit.entry.created_at,
    )


def _events(
    pipeline: Pipeline, ledger: Ledger
) -> tuple[tuple[tuple[bytes, ...], ...], dict[str, object]]:
    """The stream's events with holes for the id and the time, and its last chunk."""
    assert ledger.hit is not None  # noqa: S101 - told of hits alone
    answer_id, now_at = answer.fresh_id(), int(ledger.inquiry.received_at)
    body = orjson.loads(answer.replayed_body(ledger.hit.entry.body, answer_id, now_at))
    *earlier, last = streams.replayed(
        body,
        include_usage=ledger.inquiry.request.include_usage,
        summary=lambda: pipeline.accounting.summary(ledger),
    )
    whole = b"".join(map(event, earlier))
    cut = _cut(whole, answer_id.encode(), b'"created":%d,' % now_at)
    return cut, orjson.loads(last)


def _cut(whole: bytes, answer_id: bytes, created: bytes) -> tuple[tuple[bytes, ...], ...]:
    """`whole` without the id, which nothing else can contain, nor the time that follows each id."""
    first, *rest = whole.split(answer_id)
    return ((first,), *(tuple(part.split(created, 1)) for part in rest))


def _stream(
    given: _Given, pipeline: Pipeline, ledger: Ledger, answer_id: bytes, now_at: bytes
) -> bytes:
    assert given.events is not None  # noqa: S101 - of a stream
    (opening, *parts), last = given.events
    created = b'"created":' + now_at + b","
    filled = answer_id.join([opening[0], *(created.join(part) for part in parts)])
    told = {**last, "id": answer_id.decode(), "created": int(now_at)}
    told["sidecar"] = pipeline.accounting.summary(ledger)
    return filled + event(orjson.dumps(told)) + DONE
