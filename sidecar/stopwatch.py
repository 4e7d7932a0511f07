"""How long each hop of one request took, told in the standard `server-timing` header."""

from __future__ import annotations

import time
from types import TracebackType


class _Hop:
    """Adds the time that a block takes. A class, for a generator costs five times as much."""

    __slots__ = ("_begun_s", "_name", "_watch")

    def __init__(self, watch: Stopwatch, name: str) -> None:
        self._watch = watch
        self._name = name

    def __enter__(self) -> None:
        self._begun_s = time.perf_counter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        hops_ms, spent_ms = self._watch.hops_ms, (time.perf_counter() - self._begun_s) * 1e3
        hops_ms[self._name] = hops_ms.get(self._name, 0.0) + spent_ms


class Stopwatch:
    """One request's times, in milliseconds. Owned by the request's own coroutine."""

    def __init__(self) -> None:
        self._begun_s = time.perf_counter()
        self.hops_ms: dict[str, float] = {}

    def hop(self, name: str) -> _Hop:
        """Add the time that the block takes to the hop called `name`."""
        return _Hop(self, name)

    def add(self, name: str, spent_ms: float) -> None:
        """Add time that was measured elsewhere."""
        self.hops_ms[name] = self.hops_ms.get(name, 0.0) + spent_ms

    def total_ms(self) -> float:
        """Time since the request came in."""
        return (time.perf_counter() - self._begun_s) * 1e3

    def overhead_ms(self) -> float:
        """Our own share of it: all but the waiting for upstreams."""
        return max(0.0, self.total_ms() - self.hops_ms.get("upstream", 0.0))

    def server_timing(self) -> str:
        """The header's value: `lookup;dur=0.12, upstream;dur=310.55`.

        Source: W3C Server Timing, section 2.
        """
        hops = [*self.hops_ms.items(), ("total", self.total_ms())]
        return ", ".join(f"{name};dur={spent_ms:.3f}" for name, spent_ms in hops)
