"""`python -m loadtest VERB`: flags in, a report on the terminal and in the files asked for out."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loadtest import run
from loadtest.hits import qqp, trust
from loadtest.learning import loop, replay
from loadtest.report import Report, write
from loadtest.resilience import budget, faults, kill, peers, soak, storm
from loadtest.servers.processes import NotReady
from loadtest.speed import bench, coldstart, hops, memory, tail, wide
from loadtest.vendors import provider


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """One thing that the load test does: its help, its flags, and the doing.

    Attributes:
        asks_another: It can be pointed at a sidecar that runs already.
    """

    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    report: Callable[[argparse.Namespace], Coroutine[None, None, Report]]
    asks_another: bool = True


_VERBS: Final = {
    "run": Verb(
        help="users on the demo stream: hits, false hits, tiers, cost, latency",
        add_arguments=run.add_arguments,
        report=run.report,
    ),
    "replay": Verb(
        help="recorded answers of real models: quality and cost beside each single tier",
        add_arguments=replay.add_arguments,
        report=replay.report,
    ),
    "qqp": Verb(
        help="real questions from a cold cache: hits, and how many of them were wrong",
        add_arguments=qqp.add_arguments,
        report=qqp.report,
    ),
    "trust": Verb(
        help="hits and wrong hits of streams and traps, the live estimate, and other caches' rules",
        add_arguments=trust.add_arguments,
        report=trust.report,
        asks_another=False,
    ),
    "kill": Verb(
        help="kill -9 under load and start again: is what was kept still whole and right?",
        add_arguments=kill.add_arguments,
        report=kill.report,
    ),
    "loop": Verb(
        help="a poor router that learns from its log: retrain, gate, trial, shift, sabotage, live",
        add_arguments=loop.add_arguments,
        report=loop.report,
        asks_another=False,
    ),
    "storm": Verb(
        help="a vendor that fails: how many calls it sees for so many requests",
        add_arguments=storm.add_arguments,
        report=storm.report,
    ),
    "budget": Verb(
        help="two hundred callers at once and one budget: the vendor's bill beside it",
        add_arguments=budget.add_arguments,
        report=budget.report,
        asks_another=False,
    ),
    "peers": Verb(
        help="broken streams, callers who leave, storms, SIGTERM: beside LiteLLM and Portkey",
        add_arguments=peers.add_arguments,
        report=peers.report,
        asks_another=False,
    ),
    "faults": Verb(
        help="some fifty faults: what callers hear, what is lost, kept and billed, and recovery",
        add_arguments=faults.add_arguments,
        report=faults.report,
        asks_another=False,
    ),
    "memory": Verb(
        help="a sidecar that keeps so many answers: resident memory, and bytes an entry",
        add_arguments=memory.add_arguments,
        report=memory.report,
        asks_another=False,
    ),
    "soak": Verb(
        help="every kind of traffic for a long while: do memory, handles, tasks, threads grow?",
        add_arguments=soak.add_arguments,
        report=soak.report,
        asks_another=False,
    ),
    "start": Verb(
        help="from a process's begin to its first answer, over a full cache, beside a bare server",
        add_arguments=coldstart.add_arguments,
        report=coldstart.report,
        asks_another=False,
    ),
    "tail": Verb(
        help="two replicas, one of them slow: balancing and hedging beside neither",
        add_arguments=tail.add_arguments,
        report=tail.report,
    ),
    "bench": Verb(
        help="each path beside bare servers and other gateways: cost, rate, latency, memory",
        add_arguments=bench.add_arguments,
        report=bench.report,
        asks_another=False,
    ),
    "wide": Verb(
        help="exact hits a second by number of workers, beside a bare handler",
        add_arguments=wide.add_arguments,
        report=wide.report,
        asks_another=False,
    ),
    "hops": Verb(
        help="time of each hop of misses and hits, beside a bare handler and a bare proxy",
        add_arguments=hops.add_arguments,
        report=hops.report,
    ),
}


def main(argv: list[str] | None = None) -> int:
    """Exit status: 0 good, 1 what was checked does not hold, 2 it could not be checked."""
    args = _parser().parse_args(argv)
    if args.verb == "provider":
        provider.run(args)
        return 0
    try:
        found = asyncio.run(_VERBS[args.verb].report(args))
    except (NotReady, OSError, ExceptionGroup) as fault:
        told = fault.exceptions[0] if isinstance(fault, ExceptionGroup) else fault
        print(f"loadtest {args.verb}: {told}", file=sys.stderr)
        return 2
    write(found, json_to=args.json, html_to=getattr(args, "html", None))
    return 0 if found.is_good else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest", description="Asks a sidecar from outside, and doubts it."
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, verb in _VERBS.items():
        parsed = verbs.add_parser(name, help=verb.help, description=verb.help)
        if verb.asks_another:
            _add_base_url(parsed)
        verb.add_arguments(_with_common(parsed))
    simulated = "the simulated vendor: an OpenAI-compatible server that says what it was asked"
    provider.add_arguments(
        _with_common(verbs.add_parser("provider", help=simulated, description=simulated))
    )
    return parser


def _add_base_url(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--base-url",
        default="http://127.0.0.1:8080/v1",
        type=lambda url: url.rstrip("/"),
        help="the sidecar's base URL (default http://127.0.0.1:8080/v1)",
    )


def _with_common(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--seed", type=int, default=0, help="of all dice (default 0)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the figures there")
    return parser


if __name__ == "__main__":
    sys.exit(main())
