"""A generator that hardly costs anything: request bytes in, rates and latencies out.

One protocol object a connection, no task, no parsing beyond where an answer ends. Closed: each
connection asks again when it is answered. Open: requests come at their appointed times whatever
becomes of those before, and a latency counts from the appointed time, so that a server that stalls
cannot hide it by being asked less. Source: G. Tene, "How NOT to measure latency" (2013).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, cast
from urllib.parse import urlsplit

_HEAD_END: Final = b"\r\n\r\n"
_STREAM_END: Final = b"0\r\n\r\n"
_LENGTH: Final = b"content-length: "


GRACE_S: Final = 10.0
"""Chosen: an answer that takes longer, beyond the time for asking, is none."""

CONNECT_S: Final = 5.0
"""Chosen: for all connections of a run; a server that takes none for so long has no room for more,
and the run goes on with those that it took."""

_ACCEPTED_S: Final = 0.3
"""Chosen: the kernel says that a connection stands before the server has taken it, which a busy one
does one by one between its other works; that wait is not the first requests'."""


@dataclass(slots=True, eq=False)
class Flooded:
    """What came of it.

    Attributes:
        latencies_s: Of each answer, to its last byte.
        spent_s: From the first request to the last answer.
        asked: Requests that were sent, or could not be.
        failed: Of them, answers of another status than 200, broken connections, and no answer.
        unlike: Answers whose head did not say what was expected.
        generator_cpu_s: What asking took of this process.
    """

    latencies_s: list[float] = field(default_factory=list)
    spent_s: float = 0.0
    asked: int = 0
    failed: int = 0
    unlike: int = 0
    generator_cpu_s: float = 0.0

    @property
    def answered(self) -> int:
        """Requests that got their answer."""
        return self.asked - self.failed

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answered / self.spent_s if self.spent_s else 0.0


class _Asker(asyncio.Protocol):
    """One connection; one exchange at a time."""

    def __init__(self, flooded: Flooded, on_free: Callable[[_Asker], None], expects: bytes) -> None:
        self._flooded = flooded
        self._on_free = on_free
        self._expects = expects
        self._held = b""
        self._end = -1  # of the answer; 0 where its last bytes tell it
        self._begun_s = 0.0
        self.is_busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is a class of its own

    def ask(self, raw: bytes, begun_s: float) -> None:
        """Send `raw`, which was to be sent at the instant `begun_s`."""
        self.is_busy, self._begun_s = True, begun_s
        self._flooded.asked += 1
        self.transport.write(raw)

    def data_received(self, data: bytes) -> None:
        self._held = data = self._held + data if self._held else data
        if self._end < 0:
            self._end = _end_of(data)
            if self._end < 0:
                return
            self._flooded.failed += not data.startswith(b"HTTP/1.1 200")
            if self._expects:
                head = data[: data.find(_HEAD_END)].lower()
                self._flooded.unlike += self._expects not in head
        is_whole = len(data) >= self._end if self._end else data.endswith(_STREAM_END)
        if is_whole:
            self._flooded.latencies_s.append(time.perf_counter() - self._begun_s)
            self._held, self._end, self.is_busy = b"", -1, False
            self._on_free(self)

    def connection_lost(self, _exc: Exception | None) -> None:
        if self.is_busy:
            self._flooded.failed += 1
            self.is_busy = False
            self._on_free(self)


def _end_of(data: bytes) -> int:
    """Where the answer ends; 0 if it comes in chunks, -1 if its head is not whole."""
    head_end = data.find(_HEAD_END)
    if head_end < 0:
        return -1
    head = data[:head_end].lower()
    at = head.find(_LENGTH)
    return 0 if at < 0 else head_end + 4 + int(head[at + len(_LENGTH) :].split(b"\r", 1)[0])


async def _connected(
    url: str, count: int, flooded: Flooded, on_free: Callable[[_Asker], None], expects: bytes
) -> list[_Asker]:
    """As many as the server takes; each of the others is a request that failed."""
    parts, loop = urlsplit(url), asyncio.get_running_loop()
    askers: list[_Asker] = []
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(CONNECT_S):
            for _ in range(count):
                _, asker = await loop.create_connection(
                    lambda: _Asker(flooded, on_free, expects), parts.hostname or "", parts.port or 0
                )
                askers.append(asker)
    flooded.asked = flooded.failed = count - len(askers)
    return askers


def _leave(askers: list[_Asker]) -> None:
    for asker in askers:
        asker.is_busy = False  # whoever is not answered by now was counted
        asker.transport.abort()


async def closed(
    url: str, raws: Iterator[bytes], *, at_once: int, seconds: float, expects: bytes = b""
) -> Flooded:
    """Ask over `at_once` connections for so long, each again as soon as it is answered.

    What an answer's head does not say of `expects`, in lower case, is counted.
    """
    flooded, done = Flooded(), asyncio.get_running_loop().create_future()
    until_s, waiting = 0.0, 0

    def on_free(asker: _Asker) -> None:
        nonlocal waiting
        now_s = time.perf_counter()
        if now_s < until_s and not asker.transport.is_closing():
            asker.ask(next(raws), now_s)
            return
        waiting -= 1
        if not waiting and not done.done():
            done.set_result(None)

    askers = await _connected(url, at_once, flooded, on_free, expects)
    begun_s, cpu_s = time.perf_counter(), time.process_time()
    until_s, waiting = begun_s + seconds, len(askers)
    for asker in askers:
        asker.ask(next(raws), time.perf_counter())
    if askers:
        await asyncio.wait([done], timeout=seconds + GRACE_S)
    flooded.failed += waiting  # those who never heard
    flooded.spent_s = time.perf_counter() - begun_s
    flooded.generator_cpu_s = time.process_time() - cpu_s
    _leave(askers)
    return flooded


async def opened(
    url: str,
    raws: Iterator[bytes],
    *,
    per_second: float,
    seconds: float,
    at_most: int = 256,
    expects: bytes = b"",
) -> Flooded:
    """Ask at evenly spaced instants for so long; beyond `at_most` connections requests wait."""
    flooded, late, broken = Flooded(), deque[float](), 0

    def on_free(asker: _Asker) -> None:
        nonlocal broken
        if asker.transport.is_closing():
            broken += 1
        elif late:
            asker.ask(next(raws), late.popleft())
        else:
            free.append(asker)

    askers = await _connected(url, at_most, flooded, on_free, expects)
    flooded.asked = flooded.failed = 0  # who is not let in has the others' connections
    free = list(askers)
    await asyncio.sleep(_ACCEPTED_S)
    begun_s, cpu_s = time.perf_counter(), time.process_time()
    for number in range(int(per_second * seconds)):
        due_s = begun_s + number / per_second
        if (wait_s := due_s - time.perf_counter()) > 0.0:
            await asyncio.sleep(wait_s)
        while free and free[-1].transport.is_closing():  # it was closed while it waited
            free.pop()
            broken += 1
        if free:
            free.pop().ask(next(raws), due_s)
        else:
            late.append(due_s)
    until_s = time.perf_counter() + GRACE_S
    while len(free) + broken < len(askers) and time.perf_counter() < until_s:  # noqa: ASYNC110 - as it says
        await asyncio.sleep(0.005)
    flooded.asked += len(late)
    flooded.failed += len(askers) - broken - len(free) + len(late)
    flooded.spent_s = time.perf_counter() - begun_s
    flooded.generator_cpu_s = time.process_time() - cpu_s
    _leave(askers)
    return flooded
