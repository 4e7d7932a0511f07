"""The verb `bench`: each path beside the barest server that does the same, and other gateways.

Servers are processes of their own and are asked in turns, so that what the machine does besides
falls on all alike. The figure to read is CPU a request: two cores hold a server, its upstream and
the generator, and a rate tells of all three. Ratios are medians over rounds. Who does not start, or
does not keep up, is told of in its row, and the run goes on.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final

import uvloop

from loadtest.callers.flood import opened
from loadtest.callers.rawhttp import hit_body
from loadtest.report import Report
from loadtest.servers.contenders import (
    BASELINE,
    Contender,
    baseline,
    calmed,
    closed_run,
    quick_vendor,
    started,
    told,
)
from loadtest.servers.gateways import Gateway, gptcache, litellm, portkey, sidecar
from loadtest.servers.peerinstall import installed
from loadtest.servers.processes import NotReady, Server
from loadtest.speed import busy, meaning, plot, tables
from loadtest.speed.routes import EXACT_HIT, PATHS, SEMANTIC_HIT, STREAMED_HIT, Route, questions
from loadtest.speed.tables import AT_ONCE, NOTES, all_tables, grown

OPEN_AT_ONCE: Final = 16
"""Chosen: the closed run whose rate the open ones are shares of."""
OPEN_SHARES: Final = (0.25, 0.5)
"""Chosen: of the rate that the slower of the pair reached; beyond a half the machine's other work
shows more than the servers do."""

MEANT_TEXTS: Final = 1_100
"""Chosen: more than the sidecar remembers the vectors of, so that each is encoded each time."""

CHEAP: Final = "without its verifier, bound 5 %"
_CHEAP_LINES: Final = '[cache.semantic]\nverifier = "off"\nmax_false_hit_rate = 0.05\n\n'


@dataclass(slots=True, kw_only=True)
class Bench:
    """Who is asked, and what is known by now.

    Attributes:
        contenders: The sidecar first, then the bare servers, then the others.
        hits: Texts that the sidecar serves by meaning.
    """

    args: argparse.Namespace
    vendor: Server
    contenders: Sequence[Contender]
    hits: Sequence[str] = field(default_factory=tuple)

    @property
    def ours(self) -> Contender:
        """The sidecar."""
        return self.contenders[0]

    @property
    def bare(self) -> Contender:
        """The bare servers."""
        return self.contenders[1]

    def wants(self, name: str) -> bool:
        """`--only` asks for it, or nothing is left out."""
        only = self.args.only
        return not only or any(name.startswith(each) for each in only)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own flags."""
    parser.add_argument("--rounds", type=int, default=3, help="in turns; medians (default 3)")
    parser.add_argument("--seconds", type=float, default=0.7, help="of each run (default 0.7)")
    told = f"connections (default {' '.join(map(str, AT_ONCE))})"
    parser.add_argument("--at-once", type=int, nargs="+", default=AT_ONCE, metavar="N", help=told)
    told = "LiteLLM, Portkey and GPTCache too; installs them"
    parser.add_argument("--peers", action="store_true", help=told)
    told = "paths by the start of their names; also `meaning`, `busy`"
    parser.add_argument("--only", nargs="*", metavar="PATH", help=told)
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
        plot.draw(figures, args.plot)
    return Report(
        title="Bench",
        tables=all_tables(figures),
        figures=figures,
        notes=[*NOTES, *(f"worse than before: {each}" for each in worse)],
    )


async def _measured(args: argparse.Namespace) -> dict[str, Any]:
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="sidecar-loadtest-")))
        vendor = await quick_vendor(folder, stack)
        contenders = await _contenders(args, folder, vendor, stack)
        bench = Bench(args=args, vendor=vendor, contenders=contenders)
        started = {each.name: each.vitals() for each in contenders}
        figures: dict[str, Any] = {"paths": {}, "started": started}
        if bench.wants("meaning") or bench.wants(SEMANTIC_HIT.name):
            figures |= await _by_meaning(bench, folder)
        for route in PATHS:
            if bench.wants(route.name) and (route is not SEMANTIC_HIT or bench.hits):
                found = figures["paths"][route.name] = await _path(bench, route)
                print(f"{route.name}: {tables.progress(found)}", flush=True)
        if bench.wants("busy"):
            rounds, seconds = args.rounds, 4 * args.seconds
            figures["busy"] = await busy.measured(bench.ours, bench.bare, rounds, seconds)
        figures["servers"] = {each.name: each.vitals() for each in contenders}
        return figures


async def _contenders(
    args: argparse.Namespace, folder: Path, vendor: Server, stack: contextlib.AsyncExitStack
) -> list[Contender]:
    """The bare servers return the sidecar's own bytes."""
    ours = await started(sidecar(), folder, vendor, stack)
    if ours is None:
        raise NotReady("the sidecar does not start")
    kept = folder / "body.json"
    kept.write_bytes(await hit_body(ours.server.url, next(_raws(EXACT_HIT, ours))))
    bare = Gateway(name=BASELINE, run=lambda own, url: baseline(own, kept, url))
    peers = await asyncio.to_thread(_peers) if args.peers else []
    others = [await started(each, folder, vendor, stack) for each in (bare, *peers)]
    there = [ours, *(each for each in others if each is not None)]
    for each, route in itertools.product(there, (EXACT_HIT, STREAMED_HIT)):
        # Have each keep what is to be hit, and load what it loads late.
        if _is_for(route, each, ours):
            question = next(questions(route, 0, ()))
            await each.taught(question)
            raws = _raws(route, each)
            await closed_run(each, raws, vendor, at_once=1, seconds=0.3)
    return there


def _is_for(route: Route, each: Contender, ours: Contender) -> bool:
    return route.is_for(each, is_ours=each is ours)


def _raws(route: Route, each: Contender, seed: int = 0, hits: Sequence[str] = ()) -> Any:
    return route.raws(each, questions(route, seed, hits))


def _peers() -> list[Gateway]:
    programs = installed()
    return [
        litellm(programs.litellm),
        portkey(programs.portkey),
        gptcache(programs.gptcache, meaning.BUNDLE),
    ]


async def _by_meaning(bench: Bench, folder: Path) -> dict[str, Any]:
    """Teach all that can be hit by meaning, and hold a hit against the bare session."""
    askable = [each for each in bench.contenders if _is_for(SEMANTIC_HIT, each, bench.ours)]
    for each in askable:
        await meaning.learn(each)
    bench.hits = await meaning.found_hits(bench.ours, MEANT_TEXTS)
    print(f"{len(bench.hits)} texts are hits by meaning", flush=True)
    if not bench.hits or not bench.wants("meaning"):
        return {}
    async with contextlib.AsyncExitStack() as stack:
        session = await stack.enter_async_context(meaning.bare_session(folder))
        cheap = await started(sidecar(CHEAP, _CHEAP_LINES), folder, bench.vendor, stack)
        if cheap is not None:
            await meaning.learn(cheap)
            askable.insert(1, cheap)
        requests = max(30, int(100 * bench.args.rounds * bench.args.seconds))
        found = await meaning.measured(session, askable, bench.hits, requests)
    return {"meaning": found}


async def _path(bench: Bench, route: Route) -> dict[str, Any]:
    args = bench.args
    able = [each for each in bench.contenders if _is_for(route, each, bench.ours)]
    rounds: dict[tuple[str, int], list[dict[str, float]]] = defaultdict(list)
    for turn, at_once in itertools.product(range(args.rounds), args.at_once):
        for each in able:
            raws = _raws(route, each, hash((turn, at_once)) % 10**6, bench.hits)
            expects = route.expects if each is bench.ours else b""
            run = await closed_run(
                each, raws, bench.vendor, at_once=at_once, seconds=args.seconds, expects=expects
            )
            rounds[each.name, at_once].append(run)
    found: dict[str, Any] = {each.name: {"closed": {}, "open": {}} for each in able}
    for (name, at_once), runs in rounds.items():
        found[name]["closed"][str(at_once)] = {
            key: median(run[key] for run in runs) for key in runs[0]
        }
    some = str(OPEN_AT_ONCE if OPEN_AT_ONCE in args.at_once else args.at_once[-1])
    rates = [each["closed"][some]["rate"] for each in found.values()]
    # Those that the rate is a share of come first, so that their rows name it for all.
    for share, each in itertools.product(OPEN_SHARES, able):
        per_second = max(2.0, share * min(rates[:2]))
        if found[each.name]["closed"][some]["rate"] < per_second:
            continue  # it cannot, and would be asked for a minute to show it
        raws = _raws(route, each, int(share * 1e6), bench.hits)
        flooded = await opened(
            each.server.url, raws, per_second=per_second, seconds=3 * args.seconds
        )
        await calmed(each, flooded)
        found[each.name]["open"][f"{per_second:.0f}"] = told(flooded)
    return found
