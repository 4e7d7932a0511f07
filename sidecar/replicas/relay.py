"""One upstream's stream in, its chunks published as they come and the whole answer out.

Until the first words a fault is like any other, and somebody else may be asked. After them nothing
may follow but the fault: words once sent cannot be taken back. The chunks before the first words
(vendors open with the role alone, at once) are held until those are there, so that an upstream that
takes a request and dies is one more that did not answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

import orjson

from sidecar import answer
from sidecar.errors import ProviderError, UpstreamGarbled
from sidecar.outcome import Degraded
from sidecar.providers.errors import StreamBroken, UpstreamTooSlow
from sidecar.providers.wire import Call, Completion, Upstream


class Told(NamedTuple):
    """One chunk of a stream, as it came.

    Attributes:
        data: Its JSON.
        chunk: The same, parsed.
        place: The tier that says it.
        headers: The vendor's headers that pass through, of the whole stream.
        degraded: Who stands in for whom was to answer; see `outcome.degraded_by`.
    """

    data: bytes
    chunk: Mapping[str, Any]
    place: int
    headers: Mapping[str, str]
    degraded: Degraded = ""


Publish = Callable[[Told], None]
Tell = Callable[[bytes, Mapping[str, Any], Mapping[str, str]], None]
"""Takes a chunk's JSON, the same parsed, and the stream's headers."""

MAX_HELD: Final = 16
"""Chosen: vendors send one chunk without words, or two; more of them go out as they are."""


async def relay(upstream: Upstream, call: Call, tell: Tell) -> Completion:
    """The stream's chunks into `tell`, and the whole answer once it stands.

    Raises:
        StreamBroken: It ended, or failed, after words were sent and before it was whole.
        ProviderError: It failed before the first chunk.
    """
    headers = dict[str, str]()
    relayed = _Relayed(upstream.name, headers, tell)
    try:
        async with asyncio.timeout(call.deadline.remaining_s()):
            await upstream.stream(replace(call, hear=headers.update), relayed.take)
        body = relayed.whole()
    except TimeoutError as fault:
        raise relayed.broken(UpstreamTooSlow("deadline passed")) from fault
    except ProviderError as fault:
        raise relayed.broken(fault) from fault
    return Completion(body=body, headers=headers)


class _Relayed:
    """How far one stream has come."""

    def __init__(self, upstream: str, headers: Mapping[str, str], tell: Tell) -> None:
        self._upstream = upstream
        self._headers = headers
        self._tell = tell
        self._assembler = answer.Assembler(upstream)
        self._held: list[tuple[bytes, dict[str, Any]]] = []
        self._has_begun = False

    def take(self, data: bytes) -> None:
        """Take one chunk: add it to the answer, and tell it once the first words are there."""
        chunk = _taken(self._assembler, data, self._upstream)
        if self._has_begun:
            self._tell(data, chunk, self._headers)
            return
        self._held.append((data, chunk))
        if _says(chunk) or len(self._held) >= MAX_HELD:
            self._has_begun = True
            for each in self._held:
                self._tell(*each, self._headers)
            self._held.clear()

    def whole(self) -> dict[str, Any]:
        """The answer.

        Raises:
            UpstreamGarbled: It ended before it was whole.
        """
        return _whole(self._assembler, self._upstream)

    def broken(self, fault: ProviderError) -> ProviderError:
        """What `fault` means: once words were sent, nothing may follow them."""
        if not self._has_begun:
            return fault
        return StreamBroken(f"upstream {self._upstream}: the stream broke: {fault}")


def _says(chunk: Mapping[str, Any]) -> bool:
    """Something of the answer is in it, or its end."""
    return any(
        choice.get("finish_reason")
        or any(value for name, value in (choice.get("delta") or {}).items() if name != "role")
        for choice in chunk.get("choices") or ()
    )


def _taken(assembler: answer.Assembler, data: bytes, upstream: str) -> dict[str, Any]:
    """The chunk, parsed, and added to the answer."""
    try:
        chunk = orjson.loads(data)
        if not isinstance(chunk, dict):
            raise UpstreamGarbled(f"upstream {upstream} sent a chunk that is no object")
        assembler.add(chunk)
        _says(chunk)
    except orjson.JSONDecodeError as fault:
        raise UpstreamGarbled(f"upstream {upstream} sent a chunk that is no JSON") from fault
    except (AttributeError, TypeError, ValueError) as fault:
        # JSON from a stranger may hold anything anywhere; what trips over it is no chunk.
        raise UpstreamGarbled(f"upstream {upstream} sent a chunk of no known shape") from fault
    return chunk


def _whole(assembler: answer.Assembler, upstream: str) -> dict[str, Any]:
    if not assembler.is_finished:
        raise UpstreamGarbled(f"upstream {upstream} ended before its answer was whole")
    try:
        return answer.checked(assembler.body(), upstream)
    except (AttributeError, TypeError) as fault:
        raise UpstreamGarbled(f"upstream {upstream} sent an answer of no known shape") from fault
