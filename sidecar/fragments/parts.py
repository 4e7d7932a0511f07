"""What is asked for in; each fragment's answer, as it comes, out.

Each fragment is a request like any other: it passes the ordinary pipeline (cache, coalescing,
cascade), takes a place among those in flight, and leaves a record under an id of its own. Together
they have one deadline, and one budget that is split evenly between them: they run side by side, so
that none can wait to hear what another one left over.

What happens when one fails is its own `on_failure`: `fail` fails the whole, `omit` leaves its place
empty, `text` puts the caller's own words there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from decimal import ROUND_DOWN, Decimal
from types import TracebackType
from typing import Final, Literal, Self

import orjson

from sidecar import answer
from sidecar.errors import FragmentFailed, MalformedRequest, SidecarError, UpstreamGarbled
from sidecar.fragments.asked import Fragment, FragmentsRequest
from sidecar.fragments.template import Piece
from sidecar.ledger import Inquiry
from sidecar.replies import Reply
from sidecar.stopwatch import Stopwatch

MAX_AT_ONCE: Final = 8
"""Chosen: of one caller's fragments under way; the others' places are not all taken by his."""

MAX_CONTENT: Final = 4_000_000
"""Chosen: characters of the whole: an answer may stand in many places."""

_CENTS: Final = Decimal("0.00000001")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Resolved:
    """What became of one fragment.

    Attributes:
        status: `answered`, or what stands in for it.
        request_id: Under which it is logged, and feedback names it.
        content: What its place is filled with.
        headers: Of its reply; empty if there was none.
        usage: Tokens as told in it.
        fault: Why there was none.
    """

    status: Literal["answered", "omitted", "text"]
    request_id: str
    content: str
    headers: Mapping[str, str] = field(default_factory=dict)
    usage: Mapping[str, int] = field(default_factory=dict)
    fault: SidecarError | None = None

    def usd(self, header: str) -> Decimal:
        """Dollars that its reply told under `header`."""
        return Decimal(self.headers.get(header, "0"))


class Fragments:
    """The fragments of one request under way; `async with` it, and none outlives the block."""

    def __init__(
        self,
        asked: FragmentsRequest,
        inquiry: Inquiry,
        *,
        serve: Callable[[Inquiry], Awaitable[Reply]],
        place: Callable[[Inquiry], AbstractAsyncContextManager[object]],
    ) -> None:
        """`inquiry` is the whole's: each fragment's is the same but for its request and its id.

        `place` gives one among those in flight, or raises SidecarError.
        """
        self._asked = asked
        self._inquiry = inquiry
        self._serve = serve
        self._place = place
        self._free = asyncio.Semaphore(MAX_AT_ONCE)
        self._tasks: dict[str, asyncio.Task[Resolved]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """In the order in which the caller gave them."""
        return tuple(self._asked.fragments)

    async def __aenter__(self) -> Self:
        """Begin them all."""
        self._tasks = {
            name: asyncio.create_task(self._resolve(name, fragment))
            for name, fragment in self._asked.fragments.items()
        }
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End those that are still under way."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def all(self) -> dict[str, Resolved]:
        """What became of each, once all stand.

        Raises:
            FragmentFailed: One failed that must not; the others are not waited for.
        """
        done, _ = await asyncio.wait(self._tasks.values(), return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
        return {name: task.result() for name, task in self._tasks.items()}

    async def one(self, name: str) -> Resolved:
        """What became of one, once it stands; raises FragmentFailed."""
        return await self._tasks[name]

    async def _resolve(self, name: str, fragment: Fragment) -> Resolved:
        async with self._free:
            inquiry = self._part(name, fragment)
            try:
                async with self._place(inquiry):
                    return await self._answered(inquiry)
            except SidecarError as fault:
                if fragment.on_failure == "fail":
                    raise FragmentFailed(name, fault) from fault
                return Resolved(
                    status="text" if fragment.on_failure == "text" else "omitted",
                    request_id=inquiry.request_id,
                    content=fragment.text,
                    fault=fault,
                )

    def _part(self, name: str, fragment: Fragment) -> Inquiry:
        whole = self._inquiry
        return replace(
            whole,
            request_id=f"{whole.request_id}-{name}",
            received_at=time.time(),
            request=fragment.request,
            options=replace(whole.options, max_cost_usd=self._share_usd()),
            watch=Stopwatch(),
        )

    def _share_usd(self) -> Decimal | None:
        budget_usd = self._inquiry.options.max_cost_usd
        if budget_usd is None:
            return None
        share_usd = budget_usd / len(self._asked.fragments)
        # Written as a caller would write it: the budget is part of the key, to the letter.
        return Decimal(f"{share_usd.quantize(_CENTS, rounding=ROUND_DOWN).normalize():f}")

    async def _answered(self, inquiry: Inquiry) -> Resolved:
        reply = await self._serve(inquiry)
        try:
            assert reply.body is not None  # noqa: S101 - a fragment never asks for a stream
            body = orjson.loads(reply.body)
        finally:
            reply.close()
        content = answer.text(body)
        if not content:
            raise UpstreamGarbled("the answer holds no text that could fill a place")
        usage = body.get("usage") or {}
        return Resolved(
            status="answered",
            request_id=inquiry.request_id,
            content=content,
            headers=reply.headers,
            usage={name: count for name, count in usage.items() if isinstance(count, int)},
        )


def assembled(pieces: Iterable[Piece], contents: Mapping[str, str]) -> str:
    """The pieces with their places filled.

    Raises:
        MalformedRequest: That would be longer than any answer may be.
    """
    filled = [piece if isinstance(piece, str) else contents[piece.name] for piece in pieces]
    if sum(map(len, filled)) > MAX_CONTENT:
        raise MalformedRequest("template", f"makes more than {MAX_CONTENT} characters")
    return "".join(filled)
