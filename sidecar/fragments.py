"""A template and named chat requests in; each one's answer, as it comes, out.

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
from typing import Any, Final, Literal, Self, get_args

import orjson

from sidecar import answer
from sidecar.chat import ChatRequest, parse
from sidecar.errors import FragmentFailed, MalformedRequest, SidecarError, UpstreamGarbled
from sidecar.ledger import Inquiry
from sidecar.replies import Reply
from sidecar.stopwatch import Stopwatch
from sidecar.template import NAME, Piece, Place, parse_template

MAX_FRAGMENTS: Final = 32
"""Chosen: each one is a request of its own; more are better asked by the caller, in turns."""

MAX_AT_ONCE: Final = 8
"""Chosen: of one caller's fragments under way; the others' places are not all taken by his."""

MAX_TEXT: Final = 20_000
"""Chosen: characters of a fragment's stand-in; as much as a long answer."""

MAX_CONTENT: Final = 4_000_000
"""Chosen: characters of the whole: an answer may stand in many places."""

_CENTS: Final = Decimal("0.00000001")

OnFailure = Literal["fail", "omit", "text"]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Fragment:
    """One part.

    Attributes:
        request: What is asked for it.
        on_failure: What its failure means.
        text: What stands in for its answer, if that is `text`.
    """

    request: ChatRequest
    on_failure: OnFailure = "fail"
    text: str = ""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FragmentsRequest:
    """What is to be put together.

    Attributes:
        pieces: The template's, in order.
        fragments: By name; each one stands somewhere among the pieces.
        stream: The caller wants it piece by piece.
    """

    pieces: tuple[Piece, ...]
    fragments: Mapping[str, Fragment]
    stream: bool


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


_FIELDS: Final = frozenset({"template", "fragments", "stream"})
_FRAGMENT_FIELDS: Final = frozenset({"request", "on_failure", "text"})


def parse_fragments(body: Mapping[str, Any]) -> FragmentsRequest:
    """What the JSON object `body` asks for.

    Raises:
        MalformedRequest: A field is missing, strange or out of bounds; it is named.
    """
    _check_known(body, _FIELDS, "")
    template, told, stream = body.get("template"), body.get("fragments"), body.get("stream", False)
    if not isinstance(template, str):
        raise MalformedRequest("template", "must be a string")
    if not isinstance(told, dict) or not 0 < len(told) <= MAX_FRAGMENTS:
        raise MalformedRequest("fragments", f"must be an object of 1 to {MAX_FRAGMENTS} fragments")
    if not isinstance(stream, bool):
        raise MalformedRequest("stream", "must be of type boolean")
    pieces = parse_template(template)
    placed = {piece.name for piece in pieces if isinstance(piece, Place)}
    for name in told:
        if not NAME.fullmatch(name):
            raise MalformedRequest("fragments", f"the name {name[:80]!r} is none: {NAME.pattern}")
        if name not in placed:
            raise MalformedRequest(f"fragments.{name}", "stands nowhere in the template")
    if strange := sorted(placed - told.keys()):
        raise MalformedRequest("template", f"{{{{{strange[0]}}}}} names no fragment")
    fragments = {name: _fragment(name, value) for name, value in told.items()}
    return FragmentsRequest(pieces=pieces, fragments=fragments, stream=stream)


def _check_known(body: Mapping[str, Any], known: Iterable[str], path: str) -> None:
    if strange := sorted(set(body) - set(known)):
        raise MalformedRequest(f"{path}{strange[0][:64]}", "is no field that is known here")


def _fragment(name: str, told: object) -> Fragment:
    path = f"fragments.{name}"
    if not isinstance(told, dict):
        raise MalformedRequest(path, "must be an object with a request")
    _check_known(told, _FRAGMENT_FIELDS, f"{path}.")
    on_failure, text = told.get("on_failure", "fail"), told.get("text")
    if on_failure not in get_args(OnFailure):
        raise MalformedRequest(f"{path}.on_failure", "must be fail, omit or text")
    if (text is not None) != (on_failure == "text"):
        raise MalformedRequest(f"{path}.text", "goes with on_failure text, and with nothing else")
    if text is not None and not (isinstance(text, str) and len(text) <= MAX_TEXT):
        raise MalformedRequest(f"{path}.text", f"must be a string of at most {MAX_TEXT} characters")
    request = _request(f"{path}.request", told.get("request"))
    return Fragment(request=request, on_failure=on_failure, text=text or "")


def _request(path: str, told: object) -> ChatRequest:
    if not isinstance(told, dict):
        raise MalformedRequest(path, "must be a chat request")
    try:
        request = parse(orjson.dumps(told))
    except orjson.JSONEncodeError as fault:
        raise MalformedRequest(path, "is nested too deeply") from fault
    except MalformedRequest as fault:
        said = str(fault).removeprefix(f"{fault.param}: ")
        raise MalformedRequest(f"{path}.{fault.param}", said) from fault
    if request.stream:
        raise MalformedRequest(f"{path}.stream", "the whole may be streamed, and not a part of it")
    if (request.body.get("n") or 1) != 1:
        raise MalformedRequest(f"{path}.n", "must be 1: a place is filled once")
    return request


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
