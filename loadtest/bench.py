"""The verb `bench`: each path beside the barest server that does the same, and other gateways.

Servers are processes of their own and are asked in turns, so that what the machine does besides
falls on all alike. The figure to read is CPU a request: two cores hold a server, its upstream and
the generator, and a rate tells of all three. Ratios are medians over rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final

import uvloop

from loadtest import benchplot
from loadtest.benchtables import AT_ONCE, BASELINE, NOTES, QUANTILES, all_tables, grown
from loadtest.cost import cpu_s, rss_mib
from loadtest.flood import Flooded, closed, opened
from loadtest.gateways import Gateway, litellm, portkey, sidecar
from loadtest.hops import fresh_questions
from loadtest.intervals import percentile
from loadtest.peerinstall import installed
from loadtest.processes import Server, free_port, python, running, start
from loadtest.rawhttp import hit_body, request
from loadtest.report import Report

OPEN_AT_ONCE: Final = 16
"""Chosen: the closed run whose rate the open ones are shares of."""
OPEN_SHARES: Final = (0.25, 0.5)
"""Chosen: of the rate that the slower of the pair reached; beyond a half the machine's other work
shows more than the servers do."""

_HIT: Final = "How do I measure a hit?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """What is asked of a server.

    Attributes:
        name: Of the row.
        body: Of each request, but for its question.
        headers: By whom it is asked of.
        fresh: Each question is a new one.
        bare: Where on the baseline the same is to be had; empty if nowhere.
        status: What the sidecar must say it was; empty if that is not looked at.
    """

    name: str
    body: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    fresh: bool = False
    bare: str = ""
    peers: bool = True


PATHS: Final = (
    Route(name="exact hit", bare="/handler"),
    Route(name="exact hit, stream", body={"stream": True}, bare="/handler"),
    Route(name="pass-through", headers={"x-sidecar-bypass": "1"}, fresh=True, bare="/proxy"),
    Route(
        name="pass-through, stream",
        body={"stream": True},
        headers={"x-sidecar-bypass": "1"},
        fresh=True,
        bare="/relay",
    ),
    Route(name="miss with routing", body={"model": "auto"}, fresh=True, bare="/proxy", peers=False),
    Route(name="semantic hit", peers=False),
)


@dataclass(frozen=True, slots=True, eq=False)
class Contender:
    """A server that is asked, and what starting it took."""

    name: str
    server: Server
    headers: Mapping[str, str]
    started_s: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own flags."""
    parser.add_argument("--rounds", type=int, default=3, help="in turns; medians (default 3)")
    parser.add_argument("--seconds", type=float, default=0.7, help="of each run (default 0.7)")
    told = f"connections (default {' '.join(map(str, AT_ONCE))})"
    parser.add_argument("--at-once", type=int, nargs="+", default=AT_ONCE, metavar="N", help=told)
    parser.add_argument(
        "--peers", action="store_true", help="LiteLLM and Portkey too; installs them"
    )
    parser.add_argument(
        "--only", nargs="*", metavar="PATH", help="paths by the start of their names"
    )
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the figures there")
    told = "an earlier --json: say which ratios grew"
    parser.add_argument("--against", type=Path, metavar="JSON", help=told)


async def report(args: argparse.Namespace) -> Report:
    """All paths, all contenders."""
    # The generator is to cost as little as can be: it runs on the sidecar's own kind of loop.
    figures = await asyncio.to_thread(lambda: uvloop.run(_measured(args)))
    has_earlier = args.against is not None and args.against.exists()
    worse = grown(figures, args.against) if has_earlier else []
    if args.plot:
        benchplot.draw(figures, args.plot)
    return Report(
        title="Bench",
        tables=all_tables(figures),
        figures=figures,
        notes=[*NOTES, *(f"worse than before: {told}" for told in worse)],
    )


async def _measured(args: argparse.Namespace) -> dict[str, Any]:
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="sidecar-loadtest-")))
        vendor = await _vendor(folder, stack)
        contenders = await _contenders(args, folder, vendor, stack)
        await _warmed(contenders)
        figures: dict[str, Any] = {"paths": {}}
        for path in PATHS:
            if not args.only or any(path.name.startswith(each) for each in args.only):
                told = figures["paths"][path.name] = await _path(args, path, contenders, vendor)
                print(f"{path.name}: {_progress(told)}", flush=True)
        if not args.only or "busy" in args.only:
            figures["busy"] = await _busy(contenders[0], 5 * args.seconds)
        figures["servers"] = {
            each.name: {"start_s": each.started_s, "rss_mib": rss_mib(each.server.process.pid)}
            for each in contenders
        }
        return figures


async def _vendor(folder: Path, stack: contextlib.AsyncExitStack) -> Server:
    port = free_port()
    command = python("loadtest.quickvendor", "--port", str(port))
    log, url = folder / "vendor.log", f"http://127.0.0.1:{port}"
    server = await start(command, url, "/ready", ready_s=30.0, log=log)
    return await stack.enter_async_context(running(server))


async def _contenders(
    args: argparse.Namespace, folder: Path, vendor: Server, stack: contextlib.AsyncExitStack
) -> list[Contender]:
    """The sidecar first; then the bare servers, which return the sidecar's own bytes."""
    ours = await _started(sidecar(), folder, vendor, stack)
    kept = folder / "body.json"
    kept.write_bytes(await hit_body(ours.server.url, _hit_request(ours)))
    bare = Gateway(name=BASELINE, run=lambda _, url: _baseline(folder, kept, url))
    peers = await asyncio.to_thread(_peers) if args.peers else []
    others = [await _started(each, folder, vendor, stack) for each in (bare, *peers)]
    return [ours, *others]


def _peers() -> list[Gateway]:
    programs = installed()
    return [litellm(programs.litellm), portkey(programs.portkey)]


async def _started(
    gateway: Gateway, folder: Path, vendor: Server, stack: contextlib.AsyncExitStack
) -> Contender:
    begun_s = time.perf_counter()
    url = f"{vendor.url}/v1"
    server = await stack.enter_async_context(gateway.run(folder, url))
    started_s = time.perf_counter() - begun_s
    return Contender(gateway.name, server, gateway.headers(url), started_s)


@contextlib.asynccontextmanager
async def _baseline(folder: Path, body: Path, vendor_url: str) -> AsyncIterator[Server]:
    port = free_port()
    upstream = f"{vendor_url}/chat/completions"
    words = ("--port", str(port), "--body", str(body), "--upstream", upstream)
    url, log = f"http://127.0.0.1:{port}", folder / "baseline.log"
    server = await start(python("loadtest.baseline", *words), url, "/ready", ready_s=30.0, log=log)
    async with running(server):
        yield server


def _chat(question: str, **more: Any) -> dict[str, Any]:
    return {"model": "small", "messages": [{"role": "user", "content": question}], **more}


def _hit_request(ours: Contender) -> bytes:
    return request(f"{ours.server.url}/v1/chat/completions", _chat(_HIT), {})


async def _warmed(contenders: Sequence[Contender]) -> None:
    """Have every one keep what is to be hit, and load what it loads late."""
    for each, path in itertools.product(contenders, PATHS[:2]):
        raws = _raws(each, path, seed=0)
        await closed(each.server.url, raws, at_once=1, seconds=0.3)


def _raws(contender: Contender, path: Route, *, seed: int) -> Iterator[bytes]:
    """What `contender` is sent, without end."""
    where = path.bare if contender.name == BASELINE else "/v1/chat/completions"
    url, headers = f"{contender.server.url}{where}", {**contender.headers, **path.headers}
    if contender.name == BASELINE:
        headers = {}
    questions = _questions(path, seed)
    if not path.fresh and path.name != "semantic hit":
        raw = request(url, _chat(next(questions), **path.body), headers)
        return itertools.repeat(raw)
    return (request(url, _chat(each, **path.body), headers) for each in questions)


_SAID: Final = "How {} I reset the password of my account {}?"


def _questions(path: Route, seed: int) -> Iterator[str]:
    if path.fresh:
        return fresh_questions(seed)
    if path.name == "semantic hit":
        # The same in other words: spelling and spaces make other bytes of one meaning.
        return (
            _SAID.format("can" if n % 2 else "do", "." * (n % 40)) for n in itertools.count(seed)
        )
    return itertools.repeat(_HIT)


async def _path(
    args: argparse.Namespace, path: Route, contenders: Sequence[Contender], vendor: Server
) -> dict[str, Any]:
    able = [
        each
        for position, each in enumerate(contenders)
        if position == 0 or (path.bare if each.name == BASELINE else path.peers)
    ]
    rounds: dict[tuple[str, int], list[dict[str, float]]] = defaultdict(list)
    for turn, at_once in itertools.product(range(args.rounds), args.at_once):
        for each in able:
            raws = _raws(each, path, seed=hash((turn, at_once)) % 10**6)
            rounds[each.name, at_once].append(
                await _closed(each, raws, at_once, args.seconds, vendor)
            )
    told: dict[str, Any] = {each.name: {"closed": {}, "open": {}} for each in able}
    for (name, at_once), runs in rounds.items():
        told[name]["closed"][str(at_once)] = _medians(runs)
    some = str(OPEN_AT_ONCE if OPEN_AT_ONCE in args.at_once else args.at_once[-1])
    rates = [each["closed"][some]["rate"] for each in told.values()]
    for share in OPEN_SHARES:
        per_second = max(2.0, share * min(rates[:2]))
        for each in able:
            raws = _raws(each, path, seed=int(share * 1e6))
            flooded = await opened(
                each.server.url, raws, per_second=per_second, seconds=3 * args.seconds
            )
            told[each.name]["open"][f"{per_second:.0f}"] = _latencies(flooded)
    return told


async def _closed(
    each: Contender, raws: Iterator[bytes], at_once: int, seconds: float, vendor: Server
) -> dict[str, float]:
    pid = each.server.process.pid
    before, vendors = cpu_s(pid), cpu_s(vendor.process.pid)
    flooded = await closed(each.server.url, raws, at_once=at_once, seconds=seconds)
    count = max(1, len(flooded.latencies_s))
    spent = (cpu_s(pid) - before, cpu_s(vendor.process.pid) - vendors, flooded.generator_cpu_s)
    cpu_us, vendor_us, generator_us = (each_s / count * 1e6 for each_s in spent)
    return {
        "rate": flooded.rate,
        "cpu_us": cpu_us,
        "vendor_us": vendor_us,
        "generator_us": generator_us,
        **_latencies(flooded),
    }


def _latencies(flooded: Flooded) -> dict[str, float]:
    times = sorted(flooded.latencies_s) or [0.0]
    told = {name: 1e3 * percentile(times, share) for share, name in QUANTILES}
    return {**told, "failed": float(flooded.failed)}


HITS_A_SECOND: Final = 200.0
PROBES_A_SECOND: Final = 20.0
MISSES_AT_ONCE: Final = 32
"""Chosen: hits and probes that take a core no more than a tenth of its time, beside as many new
questions as keep the encoder's queue from ever being empty."""


async def _busy(ours: Contender, seconds: float) -> dict[str, dict[str, dict[str, float]]]:
    """Exact hits and the operator plane, with the encoder at rest and with more than it can do."""
    url = f"{ours.server.url}/v1/chat/completions"
    hit = request(url, _chat(_HIT), {})
    probe = b"GET /healthz HTTP/1.1\r\nhost: here\r\n\r\n"
    fresh = (request(url, _chat(each, model="auto"), {}) for each in fresh_questions(7))

    async def seen() -> dict[str, dict[str, float]]:
        hits, probes = await asyncio.gather(
            opened(url, itertools.repeat(hit), per_second=HITS_A_SECOND, seconds=seconds),
            opened(
                ours.server.admin_url,
                itertools.repeat(probe),
                per_second=PROBES_A_SECOND,
                seconds=seconds,
                at_most=16,
            ),
        )
        return {"exact hit": _latencies(hits), "operator plane": _latencies(probes)}

    idle = await seen()
    flooding = asyncio.create_task(
        closed(ours.server.url, fresh, at_once=MISSES_AT_ONCE, seconds=seconds + 0.5)
    )
    await asyncio.sleep(0.25)
    busy = await seen()
    await flooding
    return {"idle": idle, "busy": busy}


def _progress(told: Mapping[str, Any]) -> str:
    costs = (
        (name, at_once, run["cpu_us"])
        for name, each in told.items()
        for at_once, run in each["closed"].items()
    )
    return ", ".join(f"{name} at {at_once}: {cpu_us:.0f} us" for name, at_once, cpu_us in costs)


def _medians(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: median(run[name] for run in runs) for name in runs[0]}
