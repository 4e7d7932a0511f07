"""Gateways in, running servers that a bench asks out, and what each of them took.

A contender that does not start, or ends, is told of and passed over: no row ends the run.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from loadtest.callers.flood import Flooded, closed
from loadtest.callers.rawhttp import request
from loadtest.measures.cost import cpu_s, rss_mib
from loadtest.measures.intervals import percentile
from loadtest.servers.gateways import Gateway
from loadtest.servers.processes import NotReady, Server, free_port, python, running, start

BASELINE: Final = "bare aiohttp"
QUANTILES: Final = ((0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9"))

_NOTHING: Final[Mapping[str, Any]] = {}

_CALM_SHARE: Final = 0.1
_CALM_S: Final = 10.0
"""Chosen: a server that was asked more than it could do is waited for so long, until it takes a
tenth of a core: what it still does for those who left would count against the next one."""


@dataclass(frozen=True, slots=True, eq=False)
class Contender:
    """A server that is asked, and what starting it took."""

    gateway: Gateway
    server: Server
    headers: Mapping[str, str]
    started_s: float

    @property
    def name(self) -> str:
        """Of its rows."""
        return self.gateway.name

    @property
    def pid(self) -> int:
        """Of its process."""
        return self.server.process.pid

    def vitals(self) -> dict[str, float]:
        """What starting took, and its memory now."""
        return {"start_s": self.started_s, "rss_mib": rss_mib(self.pid)}

    def raw(
        self,
        question: str,
        *,
        path: str = "",
        headers: Mapping[str, str] = _NOTHING,
        more: Mapping[str, Any] = _NOTHING,
    ) -> bytes:
        """The request that puts `question` to it; elsewhere, with further fields, if it is told."""
        usual, body = self.gateway.asks(question)
        url = f"{self.server.url}{path or usual}"
        return request(url, {**body, **more}, {**self.headers, **headers})

    async def taught(self, question: str, headers: Mapping[str, str] = _NOTHING) -> None:
        """Have it keep an answer to `question`."""
        raw = self.raw(question, headers=headers)
        if self.gateway.teaches is not None:
            path, body = self.gateway.teaches(question)
            raw = request(f"{self.server.url}{path}", body, self.headers)
        await closed(self.server.url, itertools.repeat(raw), at_once=1, seconds=0.0)


async def started(
    gateway: Gateway, folder: Path, vendor: Server, stack: contextlib.AsyncExitStack
) -> Contender | None:
    """The gateway in front of `vendor`; None, and a word about it, if it does not start."""
    begun_s = time.perf_counter()
    url = f"{vendor.url}/v1"
    own = folder / gateway.name.replace(" ", "-").replace(",", "")
    own.mkdir()
    try:
        server = await stack.enter_async_context(gateway.run(own, url))
    except (NotReady, OSError) as fault:
        print(f"{gateway.name} does not start: {fault}", flush=True)
        return None
    return Contender(gateway, server, gateway.headers(url), time.perf_counter() - begun_s)


@contextlib.asynccontextmanager
async def baseline(folder: Path, body: Path, vendor_url: str) -> AsyncIterator[Server]:
    """The bare servers, which return the bytes of `body`."""
    port = free_port()
    upstream = f"{vendor_url}/chat/completions"
    words = ("--port", str(port), "--body", str(body), "--upstream", upstream)
    url, log = f"http://127.0.0.1:{port}", folder / "baseline.log"
    server = await start(
        python("loadtest.servers.baseline", *words), url, "/ready", ready_s=30.0, log=log
    )
    async with running(server):
        yield server


async def quick_vendor(folder: Path, stack: contextlib.AsyncExitStack) -> Server:
    """The upstream of all of them."""
    port = free_port()
    command = python("loadtest.vendors.quickvendor", "--port", str(port))
    log, url = folder / "vendor.log", f"http://127.0.0.1:{port}"
    server = await start(command, url, "/ready", ready_s=30.0, log=log)
    return await stack.enter_async_context(running(server))


async def closed_run(
    each: Contender,
    raws: Iterator[bytes],
    vendor: Server,
    *,
    at_once: int,
    seconds: float,
    expects: bytes = b"",
) -> dict[str, float]:
    """What came of asking it as fast as it answers, and what that took of whom."""
    before, vendors = _cpu_s(each.pid), cpu_s(vendor.process.pid)
    flooded = await closed(each.server.url, raws, at_once=at_once, seconds=seconds, expects=expects)
    count = max(1, flooded.answered)
    await calmed(each, flooded)
    spent = (_cpu_s(each.pid) - before, cpu_s(vendor.process.pid) - vendors)
    cpu_us, vendor_us, generator_us = (
        1e6 * each_s / count for each_s in (*spent, flooded.generator_cpu_s)
    )
    return {
        "rate": flooded.rate,
        "cpu_us": cpu_us,
        "vendor_us": vendor_us,
        "generator_us": generator_us,
        **told(flooded),
    }


async def calmed(each: Contender, flooded: Flooded) -> None:
    """Wait until it is at rest, if it did not answer all that was asked."""
    until_s = time.perf_counter() + _CALM_S
    while flooded.answered < flooded.asked and time.perf_counter() < until_s:
        before = _cpu_s(each.pid)
        await asyncio.sleep(0.5)
        if _cpu_s(each.pid) - before < _CALM_SHARE * 0.5:
            return


def _cpu_s(pid: int) -> float:
    with contextlib.suppress(OSError):
        return cpu_s(pid)
    return 0.0  # it has ended, which its rows tell


def told(flooded: Flooded) -> dict[str, float]:
    """Latencies in milliseconds, and how many there were of what was asked."""
    times = sorted(flooded.latencies_s) or [0.0]
    quantiles = {name: 1e3 * percentile(times, share) for share, name in QUANTILES}
    counts = {
        "asked": float(flooded.asked),
        "failed": float(flooded.failed),
        "unlike": float(flooded.unlike),
    }
    return {**quantiles, **counts, "spent_s": flooded.spent_s}
