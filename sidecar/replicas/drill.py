"""A fault on purpose: the `x-sidecar-drill` header in, an upstream that has that fault out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

from sidecar.errors import MalformedRequest
from sidecar.providers.errors import UpstreamBusy, UpstreamTooSlow, UpstreamUnreachable
from sidecar.providers.wire import Call, Completion, Hear, Tell, Upstream

Kind = Literal["upstream-down", "slow", "rate-limited", "broken-stream"]

SLOW_S: Final = 5.0
"""Chosen: longer than a hedge waits and than most first tokens take, and nobody's deadline yet."""

_CHUNKS: Final = 2
"""Chosen: the role, which vendors open with, and the first words."""

_RETRY_AFTER_S: Final = 1.0
_TOO_MANY: Final = 429


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """What fails, and where.

    Attributes:
        kind: The fault.
        upstream: Name of the one upstream that has it; empty for all of them.
    """

    kind: Kind
    upstream: str = ""

    @classmethod
    def parse(cls, header: str) -> Drill:
        """`Drill.parse("slow@vendor") == Drill(kind="slow", upstream="vendor")`.

        Raises:
            MalformedRequest: There is no such fault.
        """
        told, _, upstream = header.strip().partition("@")
        for kind in get_args(Kind):
            if told == kind:
                return cls(kind=kind, upstream=upstream)
        raise MalformedRequest("x-sidecar-drill", f"must be one of {', '.join(get_args(Kind))}")

    def applied(self, upstream: Upstream) -> Upstream:
        """The upstream with its fault, or as it is."""
        is_meant = self.upstream in {"", upstream.name}
        return DrilledUpstream(upstream, self.kind) if is_meant else upstream


class DrilledUpstream:
    """An upstream that fails as it was told; where it does not, the real one answers."""

    def __init__(self, upstream: Upstream, kind: Kind) -> None:
        self.name: Final = upstream.name
        self._upstream = upstream
        self._kind = kind

    async def ask(self, call: Call) -> Completion:
        """See `wire.Upstream`."""
        await self._fail(call)
        if self._kind == "broken-stream":
            raise UpstreamUnreachable(f"upstream {self.name} broke off: a drill")
        return await self._upstream.ask(call)

    async def stream(self, call: Call, hear: Hear, tell: Tell) -> None:
        """See `wire.Upstream`."""
        await self._fail(call)
        left = _CHUNKS

        def told_some(chunks: Sequence[bytes]) -> None:
            nonlocal left
            tell(chunks[:left])
            left -= len(chunks)
            if left <= 0:
                raise UpstreamUnreachable(f"upstream {self.name} broke off: a drill")

        breaks = self._kind == "broken-stream"
        await self._upstream.stream(call, hear, told_some if breaks else tell)

    async def _fail(self, call: Call) -> None:
        match self._kind:
            case "upstream-down":
                raise UpstreamUnreachable(f"upstream {self.name} is down: a drill")
            case "rate-limited":
                raise UpstreamBusy(
                    self.name,
                    _TOO_MANY,
                    None,
                    {"retry-after": f"{_RETRY_AFTER_S:.0f}"},
                    _RETRY_AFTER_S,
                )
            case "slow":
                left_s = call.deadline.remaining_s()
                await asyncio.sleep(min(SLOW_S, left_s))
                if left_s < SLOW_S:
                    raise UpstreamTooSlow(f"upstream {self.name} was not done in time: a drill")
            case "broken-stream":
                pass
