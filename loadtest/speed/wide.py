"""The verb `wide`: exact hits a second by number of workers, beside a bare handler, in turns.

All servers are up all the while, and asked one after the other, round after round, by clients in
processes of their own; what the clients took of the processors is told, for on a small machine it
is most of it. Misses are asked too: with more than one worker they take a hop more.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import resource
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Final

from loadtest.callers.rawhttp import Connection, rate, request
from loadtest.measures.intervals import percentile
from loadtest.report import Report, Table
from loadtest.servers.processes import Server, free_port, own_sidecar, python, running, start
from loadtest.speed.hops import fresh_questions

QUESTION: Final = "What is 12 plus 7?"
BARE: Final = "bare handler, one process"
DEMO: Final = 'kind = "demo"\nspeed = 0.0\n'


@dataclass(frozen=True, slots=True)
class Target:
    """One server, and the request that it is hammered with."""

    name: str
    url: str
    raw: bytes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own flags."""
    parser.add_argument("--workers", default="1,2", help="numbers of them, by commas (default 1,2)")
    parser.add_argument("--requests", type=int, default=4_000, help="a burst (default 4000)")
    parser.add_argument("--at-once", type=int, default=32, help="connections (default 32)")
    parser.add_argument("--clients", type=int, default=2, help="processes that ask (default 2)")
    parser.add_argument("--rounds", type=int, default=5, help="of each (default 5)")


async def report(args: argparse.Namespace) -> Report:
    """Medians of the rates, and of the ratios to the bare handler in the same round."""
    numbers = [int(word) for word in args.workers.split(",")]
    async with _targets(numbers) as targets:
        with ProcessPoolExecutor(args.clients, mp_context=get_context("spawn")) as pool:
            rounds, share = await asyncio.to_thread(_rounds, args, targets, pool)
        misses = {each.name: await _miss_ms(each) for each in targets if each.name != BARE}
    rows = []
    for target in targets:
        rates = [told[target.name] for told in rounds]
        ratios = [told[target.name] / told[BARE] for told in rounds]
        miss_ms = misses.get(target.name)
        rows.append(
            (
                target.name,
                f"{percentile(rates, 0.5):.0f}",
                f"{percentile(ratios, 0.5):.2f}",
                "" if miss_ms is None else f"{miss_ms:.2f}",
            )
        )
    heads = ("what", "exact hits a second", "of the bare handler", "a miss, p50 ms")
    notes = [f"The clients took {share:.0%} of {os.cpu_count()} processors while they asked."]
    figures: dict[str, Any] = {"rounds": rounds, "client_share": share, "miss_ms": misses}
    table = Table(title="Medians over the rounds", headings=heads, rows=rows)
    return Report(title="Several processes", tables=[table], figures=figures, notes=notes)


@contextlib.asynccontextmanager
async def _targets(numbers: list[int]) -> AsyncIterator[list[Target]]:
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="sidecar-loadtest-")))
        sidecars: dict[int, Server] = {}
        for number in numbers:
            home = folder / str(number)
            home.mkdir()
            sidecars[number] = await stack.enter_async_context(
                own_sidecar(home, DEMO, server=f"workers = {number}\n")
            )
        targets = [
            await _warmed(f"workers = {number}", server.url) for number, server in sidecars.items()
        ]
        bare = await stack.enter_async_context(_bare(folder, targets[0]))
        yield [bare, *targets]


async def _warmed(name: str, url: str) -> Target:
    """Asked so often that every front has seen it answered."""
    raw = request(f"{url}/v1/chat/completions", _body(QUESTION), {})
    for _ in range(20):
        connection = await Connection.to(url)
        await connection.exchange(raw)
        await connection.close()
    return Target(name, url, raw)


def _body(question: str) -> dict[str, Any]:
    return {"model": "small", "messages": [{"role": "user", "content": question}]}


@contextlib.asynccontextmanager
async def _bare(folder: Path, like: Target) -> AsyncIterator[Target]:
    """A handler that returns the same bytes."""
    connection = await Connection.to(like.url)
    kept = folder / "body.json"
    kept.write_bytes((await connection.exchange(like.raw)).body)
    await connection.close()
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    words = ("--port", str(port), "--body", str(kept), "--upstream", like.url)
    command = python("loadtest.servers.baseline", *words)
    async with running(
        await start(command, url, "/ready", ready_s=60.0, log=folder / "baseline.log")
    ):
        yield Target(BARE, url, request(f"{url}/handler", _body(QUESTION), {}))


def _rounds(
    args: argparse.Namespace, targets: list[Target], pool: ProcessPoolExecutor
) -> tuple[list[dict[str, float]], float]:
    """The rates of each round, and the clients' share of all processors."""
    rounds: list[dict[str, float]] = []
    used_s = spent_s = 0.0
    for _ in range(args.rounds):
        told: defaultdict[str, float] = defaultdict(float)
        for target in targets:
            each = args.requests // args.clients, args.at_once // args.clients
            asked = [pool.submit(_hammered, target, *each) for _ in range(args.clients)]
            for rate_, cpu_s in (one.result() for one in asked):
                told[target.name] += rate_
                used_s += cpu_s
                spent_s += each[0] / rate_ / args.clients
        rounds.append(dict(told))
    return rounds, used_s / spent_s / (os.cpu_count() or 1)


def _hammered(target: Target, count: int, at_once: int) -> tuple[float, float]:
    """In a client: requests a second, and the seconds of processor that asking took."""
    before = _cpu_s()
    rate_ = asyncio.run(rate(target.url, [target.raw] * count, at_once=max(1, at_once)))
    return rate_, _cpu_s() - before


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def _miss_ms(target: Target, count: int = 100) -> float:
    """The median time of a miss that is answered at once."""
    connection, times = await Connection.to(target.url), list[float]()
    for question in _some(fresh_questions(Random().randrange(2**32)), count):
        raw = request(f"{target.url}/v1/chat/completions", _body(question), {})
        times.append((await connection.exchange(raw)).latency_ms)
    await connection.close()
    return percentile(times, 0.5)


def _some(questions: Iterator[str], count: int) -> Iterator[str]:
    return (next(questions) for _ in range(count))
