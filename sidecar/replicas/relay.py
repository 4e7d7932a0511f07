"""One upstream's stream in, its chunks published as they come and the whole answer out.

Until the first words a fault is like any other, and somebody else may be asked. After them nothing
may follow but the fault: words once sent cannot be taken back. The chunks before the first words
(vendors open with the role alone, at once) are held until those are there, so that an upstream that
takes a request and dies is one more that did not answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson

from sidecar import answer
from sidecar.answer import Kind
from sidecar.errors import ProviderError, UpstreamGarbled
from sidecar.outcome import Degraded
from sidecar.providers.errors import StreamBroken
from sidecar.providers.wire import Call, Completion, Upstream


class Voice(NamedTuple):
    """Who says a stream.

    Attributes:
        place: The tier.
        headers: The vendor's headers that pass through; there before the first chunk.
        degraded: Who stands in for whom was to answer; see `outcome.degraded_by`.
    """

    place: int
    headers: dict[str, str]
    degraded: Degraded = ""


class Told(NamedTuple):
    """Chunks of a stream, as they came: their JSON, not parsed a second time.

    Attributes:
        chunks: The JSON of each; never empty.
        kind: What they are for.
        voice: Who says them; the same for all chunks of a stream.
    """

    chunks: list[bytes]
    kind: Kind
    voice: Voice


Publish = Callable[[Sequence[Told]], None]
"""Takes what came at once."""

MAX_HELD: Final = 16
"""Chosen: vendors send one chunk without words, or two; more of them go out as they are."""


async def relay(
    upstream: Upstream, call: Call, voice: Voice, begun: Callable[[], None], publish: Publish
) -> Completion:
    """The stream's chunks into `publish`, and the whole answer once it stands.

    `begun` is called once, before the first words are told.

    Raises:
        StreamBroken: It ended, or failed, after words were sent and before it was whole.
        ProviderError: It failed before the first chunk.
    """
    relayed = _Relayed(upstream.name, voice, begun, publish)
    try:
        await upstream.stream(call, voice.headers.update, relayed.take)
        body = relayed.whole()
    except ProviderError as fault:
        raise relayed.broken(fault) from fault
    return Completion(body=body, headers=voice.headers)


class _Relayed:
    """How far one stream has come."""

    def __init__(
        self, upstream: str, voice: Voice, begun: Callable[[], None], publish: Publish
    ) -> None:
        self._upstream = upstream
        self._voice = voice
        self._begun = begun
        self._publish = publish
        self._assembler = answer.Assembler(upstream)
        self._held: list[Told] = []
        self._held_chunks = 0
        self._has_begun = False

    def take(self, chunks: Sequence[bytes]) -> None:
        """Take what came: add it to the answer, and tell it once the first words are there.

        Raises:
            UpstreamGarbled: One of them is no chunk; those before it are told.
        """
        news, told = self._held, self._held[-1] if self._held else None
        try:
            for data in chunks:
                chunk = orjson.loads(data)
                is_said = self._has_begun or _says(chunk)
                kind = self._assembler.add(chunk)
                if not self._has_begun and self._begins(kind, is_said=is_said):
                    self._has_begun = True
                    self._begun()
                if told is None or told.kind != kind:
                    told = Told([], kind, self._voice)
                    news.append(told)
                told.chunks.append(data)
        except orjson.JSONDecodeError as fault:
            what = f"upstream {self._upstream} sent a chunk that is no JSON"
            raise UpstreamGarbled(what) from fault
        except (AttributeError, TypeError, ValueError, RecursionError) as fault:
            # JSON from a stranger may hold anything anywhere; what trips over it is no chunk.
            what = f"upstream {self._upstream} sent a chunk of no known shape"
            raise UpstreamGarbled(what) from fault
        finally:
            if self._has_begun and news:
                self._held = []
                self._publish(news)

    def _begins(self, kind: Kind, *, is_said: bool) -> bool:
        """Whether something of the answer is in it, or its end; or too many were held without."""
        self._held_chunks += 1
        return is_said or kind == "end" or self._held_chunks >= MAX_HELD

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
    """Something of the answer is in it."""
    for choice in chunk.get("choices") or ():
        for name, value in (choice.get("delta") or {}).items():
            if value and name != "role":
                return True
    return False


def _whole(assembler: answer.Assembler, upstream: str) -> dict[str, Any]:
    if not assembler.is_finished:
        raise UpstreamGarbled(f"upstream {upstream} ended before its answer was whole")
    try:
        return answer.checked(assembler.body(), upstream)
    except (AttributeError, TypeError) as fault:
        raise UpstreamGarbled(f"upstream {upstream} sent an answer of no known shape") from fault
