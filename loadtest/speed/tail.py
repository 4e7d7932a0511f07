"""The verb `tail`: two replicas, one of them slow, or both now and then; who waits how long.

Each way of asking has a sidecar of its own in front of the same two simulated vendors. Every
question is new and nothing is kept, so that each request is a call.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Final

import aiohttp

from loadtest.callers.answers import Reply
from loadtest.callers.client import ask, in_turns, session
from loadtest.report import Report, Table
from loadtest.servers.processes import Server, free_port, python, running, start, vendor

_PAST_THE_CACHE: Final = {"cache-control": "no-store"}
_DRIP_MS: Final = 30
"""Chosen: a dripping answer takes about a second then, fifty times a good one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How the two are asked.

    Attributes:
        title: In the table.
        tier: Lines of its `[[tiers]]`.
        latency_ms: Of each vendor.
        slow_share: Of both vendors' answers that drip.
    """

    title: str
    tier: str
    latency_ms: tuple[int, int]
    slow_share: float = 0.0


WAYS: Final = (
    Way(title="one in twenty drips", tier="", latency_ms=(20, 20), slow_share=0.05),
    Way(
        title="the same, hedged after p90",
        tier='hedge_after = "p90"',
        latency_ms=(20, 20),
        slow_share=0.05,
    ),
    Way(
        title="the same, hedged after 0.1 s",
        tier="hedge_after = 0.1",
        latency_ms=(20, 20),
        slow_share=0.05,
    ),
    Way(title="the first is slow, in order", tier='balance = "order"', latency_ms=(200, 20)),
    Way(title="the first is slow, weighted", tier='balance = "weighted"', latency_ms=(200, 20)),
    Way(title="the first is slow, by latency", tier='balance = "latency"', latency_ms=(200, 20)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What came of it.

    Attributes:
        answered: Requests that got a whole answer.
        calls: That each vendor saw.
        p50_ms: Of all requests.
        p95_ms: Of all requests.
        p99_ms: Of all requests.
        usd: By the response headers, hedges included.
    """

    answered: int
    calls: tuple[int, int]
    p50_ms: float
    p95_ms: float
    p99_ms: float
    usd: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own flags."""
    parser.add_argument("--requests", type=int, default=1_000, help="each way (default 1000)")
    parser.add_argument("--at-once", type=int, default=8, help="requests in flight (default 8)")


async def report(args: argparse.Namespace) -> Report:
    """Every way of asking; good if nobody was left without an answer."""
    found = [(way, await walk(args, way)) for way in WAYS]
    headings = ("way", "p50 ms", "p95 ms", "p99 ms", "calls: first", "second", "usd per 1k")
    rows = [
        (
            *(way.title, f"{told.p50_ms:.0f}", f"{told.p95_ms:.0f}", f"{told.p99_ms:.0f}"),
            *(str(told.calls[0]), str(told.calls[1]), f"{1e3 * told.usd / args.requests:.4f}"),
        )
        for way, told in found
    ]
    return Report(
        title=f"Two replicas, {args.requests} requests each way",
        tables=[Table(title="Who waits how long", headings=headings, rows=rows)],
        figures={"ways": [asdict(way) | asdict(told) for way, told in found]},
        notes=["A hedge that was cancelled is billed as its prompt, which is an estimate."],
        is_good=all(told.answered == args.requests for _, told in found),
    )


async def walk(args: argparse.Namespace, way: Way) -> Found:
    """One way of asking, with a sidecar and two vendors of its own."""
    words = ["--fault", "drip", "--fault-share", str(way.slow_share), "--drip-ms", str(_DRIP_MS)]
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="sidecar-loadtest-")))
        vendors = [
            await stack.enter_async_context(
                vendor(folder, "--latency-ms", str(ms), "--seed", str(args.seed + place), *words)
            )
            for place, ms in enumerate(way.latency_ms)
        ]
        sidecar = await stack.enter_async_context(_sidecar(folder, way, vendors))
        http = await stack.enter_async_context(session(60.0))
        replies = await _asked(args, http, f"{sidecar.url}/v1")
        calls = [(await _stats(http, each.url))["calls"] for each in vendors]
    ranked = sorted(reply.latency_ms for reply in replies)
    return Found(
        answered=sum(reply.is_whole for reply in replies),
        calls=(calls[0], calls[1]),
        p50_ms=ranked[len(ranked) // 2],
        p95_ms=ranked[len(ranked) * 95 // 100],
        p99_ms=ranked[len(ranked) * 99 // 100],
        usd=sum(reply.number("cost-usd") for reply in replies),
    )


@contextlib.asynccontextmanager
async def _sidecar(folder: Path, way: Way, vendors: list[Server]) -> AsyncIterator[Server]:
    port, config = free_port(), folder / "sidecar.toml"
    upstreams = "".join(
        f'[[upstreams]]\nname = "v{place}"\nkind = "openai"\nbase_url = "{each.url}/v1"\n\n'
        for place, each in enumerate(vendors)
    )
    config.write_text(
        f"[server]\nport = {port}\nadmin_port = {free_port()}\n\n"
        f'[cache.disk]\npath = ""\n\n[traffic]\ndir = ""\n\n{upstreams}'
        '[[tiers]]\nname = "only"\nmodel = "m"\nupstreams = ["v0", "v1"]\n'
        f"price_in_usd_per_mtok = 1.0\nprice_out_usd_per_mtok = 1.0\n{way.tier}\n"
    )
    command = python("sidecar", "serve", "--config", str(config))
    url, log = f"http://127.0.0.1:{port}", folder / "sidecar.log"
    async with running(await start(command, url, "/v1/models", ready_s=120.0, log=log)) as server:
        yield server


async def _stats(http: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    async with http.get(f"{url}/stats") as response:
        told: dict[str, Any] = await response.json()
        return told


async def _asked(
    args: argparse.Namespace, http: aiohttp.ClientSession, base_url: str
) -> list[Reply]:
    nonce = f"{Random(args.seed).randrange(2**40):010x}"

    async def one(number: int) -> Reply:
        question = f"What is number {number} in book {nonce}?"
        return await ask(http, base_url, question, model="only", headers=_PAST_THE_CACHE)

    return await in_turns(range(args.requests), one, at_once=args.at_once)
