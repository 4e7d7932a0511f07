"""The verb `storm`: a vendor that fails, and how many calls it sees for so many requests.

The upstream is the simulated vendor, which counts its calls. Every question is new and nothing is
kept, so that each request needs one call: what the vendor sees beyond that is retries, and calls
for further tiers, which all stand at the same vendor here.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Final

from loadtest.callers.answers import Reply
from loadtest.callers.client import ask, in_turns, session
from loadtest.measures.intervals import wilson
from loadtest.report import Report, Table
from loadtest.servers.processes import openai_upstream, own_sidecar, vendor

_FLOOR: Final = 10.0
_FLOOR_PER_S: Final = 0.1
"""Source: docs/reliability.md, the retry budget's floor."""

_RETRIES: Final = 3
_BREAKER_OFF: Final = "breaker = { enabled = false }\n"
_PAST_THE_CACHE: Final = {"cache-control": "no-store"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """One storm.

    Attributes:
        fault: The vendor's.
        share: Of its calls that fail.
        model: `small` is one tier; `auto` goes on to the others where it fails.
        ratio: The retry budget.
        has_breaker: The breaker is on.
    """

    fault: str
    share: float
    model: str = "small"
    ratio: float = 0.1
    has_breaker: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What came of it.

    Attributes:
        requests: That the sidecar was asked.
        calls: That the vendor saw.
        bound: That it may have seen: the budget's share and its floor.
        answered: Requests that got a whole answer.
        median_ms: Of all requests.
    """

    requests: int
    calls: int
    bound: float
    answered: int
    median_ms: float


STORMS: Final = (
    Weather(fault="status=500", share=0.3),
    Weather(fault="status=500", share=0.3, has_breaker=True),
    Weather(fault="status=500", share=0.3, ratio=1.0),
    Weather(fault="status=429", share=0.3),
    Weather(fault="reset", share=0.3),
    Weather(fault="status=500", share=1.0),
    Weather(fault="status=429", share=1.0),
    Weather(fault="status=500", share=1.0, model="auto"),
    Weather(fault="status=500", share=1.0, model="auto", ratio=1.0),
    Weather(fault="status=500", share=1.0, model="auto", has_breaker=True),
    Weather(fault="status=429", share=1.0, model="auto", has_breaker=True),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own flags."""
    parser.add_argument("--requests", type=int, default=1_000, help="a storm (default 1000)")
    parser.add_argument("--at-once", type=int, default=16, help="requests in flight (default 16)")


async def report(args: argparse.Namespace) -> Report:
    """All storms, each with a sidecar and a vendor of its own; good if every bound holds."""
    seen = [(weather, await endure(args, weather)) for weather in STORMS]
    headings = (
        *("fault", "of calls", "model", "budget", "breaker", "requests", "calls seen"),
        *("a request", "at most", "answered", "median ms"),
    )
    rows = [
        (
            *(weather.fault, f"{weather.share:.0%}", weather.model, f"{weather.ratio:.0%}"),
            *("on" if weather.has_breaker else "off", str(told.requests), str(told.calls)),
            *(f"{told.calls / told.requests:.3f}", f"{told.bound / told.requests:.3f}"),
            *(str(wilson(told.answered, told.requests)), f"{told.median_ms:.0f}"),
        )
        for weather, told in seen
    ]
    return Report(
        title=f"A vendor that fails, and {_RETRIES} retries for each request",
        tables=[Table(title="Storms", headings=headings, rows=rows)],
        figures={"storms": [asdict(weather) | asdict(told) for weather, told in seen]},
        notes=[
            "At most: 1 + budget, and the floor of ten calls and one more in ten seconds.",
            "Without a budget an outage would be 4 calls a request on one tier, 12 on all three.",
        ],
        is_good=all(told.calls <= told.bound for _, told in seen),
    )


async def endure(args: argparse.Namespace, weather: Weather) -> Seen:
    """One storm, with a sidecar and a vendor of its own."""
    words = ("--fault", weather.fault, "--fault-share", str(weather.share))
    with TemporaryDirectory(prefix="sidecar-loadtest-") as name:
        async with vendor(Path(name), *words, "--seed", str(args.seed)) as upstream:
            lines = openai_upstream(f"{upstream.url}/v1") + (
                f"retries = {_RETRIES}\nretry_budget_ratio = {weather.ratio}\n"
                + ("" if weather.has_breaker else _BREAKER_OFF)
            )
            async with own_sidecar(Path(name), lines) as sidecar, session(120.0) as http:
                replies, spent_s = await _asked(args, weather, http, f"{sidecar.url}/v1")
                async with http.get(f"{upstream.url}/stats") as response:
                    stats: dict[str, Any] = await response.json()
    requests = len(replies)
    return Seen(
        requests=requests,
        calls=stats["calls"],
        bound=requests * (1 + weather.ratio) + _FLOOR + spent_s * _FLOOR_PER_S,
        answered=sum(reply.is_whole for reply in replies),
        median_ms=sorted(reply.latency_ms for reply in replies)[requests // 2],
    )


async def _asked(
    args: argparse.Namespace, weather: Weather, http: Any, base_url: str
) -> tuple[list[Reply], float]:
    """What came back, and the seconds that it took."""
    nonce = f"{Random(args.seed).randrange(2**40):010x}"

    async def one(number: int) -> Reply:
        question = f"What is number {number} in book {nonce}?"
        return await ask(http, base_url, question, model=weather.model, headers=_PAST_THE_CACHE)

    started = time.perf_counter()
    replies = await in_turns(range(args.requests), one, at_once=args.at_once)
    return replies, time.perf_counter() - started
