"""The verb `hops`: how long each hop takes, by kind of answer, beside servers that do nothing.

All is measured in one run and in turns, so that what the machine does besides falls on all alike;
only the ratios mean anything on a shared machine.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Final

from loadtest.callers.answers import Reply
from loadtest.callers.rawhttp import Connection, hit_body, rate, request
from loadtest.measures.intervals import percentile
from loadtest.report import Report, Table
from loadtest.servers.processes import (
    NotReady,
    Stand,
    find_or_start,
    free_port,
    python,
    running,
    start,
)
from loadtest.tally import quantiles

_WORDS: Final = (
    "harbour lantern violin meadow copper ladder pepper glacier saddle orchard mirror tunnel "
    "falcon blanket marble ribbon engine cellar hammer island candle desert velvet anchor"
)
_NOTE: Final = (
    "Latencies are from outside, one request at a time, all kinds in turns; overhead is what "
    "x-sidecar-overhead-ms says. The ratios are the figures; the times are this machine's."
)
_NO_VENDOR_NOTE: Final = (
    "The sidecar was running already, and which upstream it has is not known here: nothing is "
    "compared with the bare proxy. Ask an address where nobody answers, and one is started."
)
_TOPICS: Final = (
    *("reset my password", "cancel my subscription", "change my email address"),
    *("track my parcel", "return a damaged item", "update my credit card"),
    *("delete my account", "download my invoice", "book a table for two"),
    *("learn to play the piano", "bake sourdough bread", "train for a marathon"),
)
_FRAMES: Final = (
    *("How do I {}?", "How can I {}?", "how do i {}", "How could I {}?"),
    *("What should I do to {}?", "What is the way to {}?"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What is measured against what.

    Attributes:
        stand: The sidecar.
        baseline_url: Root of the bare servers.
        namespace: A fresh one, so that the cache begins cold.
    """

    stand: Stand
    baseline_url: str
    namespace: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own flags."""
    parser.add_argument("--requests", type=int, default=300, help="of each kind (default 300)")
    parser.add_argument("--model", default="auto", help="of the misses (default auto)")
    parser.add_argument("--at-once", type=int, default=8, help="connections (default 8)")
    parser.add_argument("--burst", type=int, default=400, help="requests a burst (default 400)")


async def report(args: argparse.Namespace) -> Report:
    """Percentiles by hop and by kind, and the ratios to the bare servers."""
    async with _bench(args) as bench:
        replies = await _in_turns(args, bench)
        rates = await _bursts(args, bench)
    by_kind = _by_kind(replies)
    if not by_kind.get("hit-exact"):
        raise NotReady(f"no exact hit was served; seen were {', '.join(by_kind)}")
    totals = {
        kind: {
            "latency": quantiles([reply.latency_ms for reply in some]),
            "overhead": quantiles([reply.number("overhead-ms") for reply in some]),
        }
        for kind, some in by_kind.items()
    }
    hops = {
        kind: {hop: quantiles(times) for hop, times in hop_times(some).items()}
        for kind, some in by_kind.items()
    }
    ratios = _ratios(totals, rates, knows_vendor=bench.stand.vendor_url is not None)
    notes = [_NOTE] if bench.stand.vendor_url else [_NOTE, _NO_VENDOR_NOTE]
    return Report(
        title="Hops",
        tables=[_total_table(totals), _hop_table(hops), _ratio_table(ratios, rates)],
        figures={"kinds": totals, "hops": hops, "rates_per_s": rates, "ratios": ratios},
        notes=notes,
    )


@contextlib.asynccontextmanager
async def _bench(args: argparse.Namespace) -> AsyncIterator[Bench]:
    namespace = f"hops-{Random().randrange(2**32):08x}"
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="sidecar-loadtest-")))
        stand = await stack.enter_async_context(find_or_start(args.base_url))
        kept = folder / "body.json"
        kept.write_bytes(await _hit_body(stand, namespace))
        port = free_port()
        upstream = f"{stand.vendor_url or stand.base_url}/chat/completions"
        words = ("--port", str(port), "--body", str(kept), "--upstream", upstream)
        url = f"http://127.0.0.1:{port}"
        command = python("loadtest.servers.baseline", *words)
        log = folder / "baseline.log"
        await stack.enter_async_context(
            running(await start(command, url, "/ready", ready_s=30.0, log=log))
        )
        yield Bench(stand=stand, baseline_url=url, namespace=namespace)


def _chat(question: str, model: str) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": question}]}


def _url(stand: Stand) -> str:
    return f"{stand.base_url}/chat/completions"


async def _hit_body(stand: Stand, namespace: str) -> bytes:
    """The bytes of an exact hit, which the bare handler is to return too."""
    headers = {"x-sidecar-namespace": namespace}
    raw = request(_url(stand), _chat("How do I measure a hit?", "small"), headers)
    return await hit_body(stand.base_url, raw)


def fresh_questions(seed: int) -> Iterator[str]:
    """Questions that have little to do with each other, without end."""
    rng = Random(seed)
    for number in itertools.count():
        words = ", ".join(rng.sample(_WORDS.split(), 5))
        yield f"Tell a story about {words} and the number {number}"


async def _in_turns(args: argparse.Namespace, bench: Bench) -> dict[str, list[Reply]]:
    """Each kind of request in turn, `args.requests` times; by what was sent."""
    url = _url(bench.stand)
    usual = {"x-sidecar-namespace": bench.namespace, "x-sidecar-debug": "1"}
    exact_only = usual | {"x-sidecar-similarity": "1.0"}
    sidecar = await Connection.to(bench.stand.base_url)
    bare = await Connection.to(bench.baseline_url)
    replies: defaultdict[str, list[Reply]] = defaultdict(list)
    try:
        for topic in _TOPICS:
            await sidecar.exchange(request(url, _chat(_FRAMES[0].format(topic), "small"), usual))
        fresh = fresh_questions(args.seed)
        variants = itertools.cycle(itertools.product(_FRAMES[1:], _TOPICS))
        for _ in range(args.requests):
            question = next(fresh)
            frame, topic = next(variants)
            miss = request(url, _chat(question, args.model), exact_only)
            again = request(url, _chat("How do I measure a hit?", "small"), usual)
            meant = request(url, _chat(frame.format(topic), "small"), usual)
            past = request(url, _chat(question, "small"), usual | {"x-sidecar-bypass": "1"})
            for kind, raw in (
                ("miss", miss),
                ("exact", again),
                ("semantic", meant),
                ("past", past),
            ):
                replies[kind].append((await sidecar.exchange(raw)).reply())
            for path in ("handler", "proxy"):
                raw = request(f"{bench.baseline_url}/{path}", _chat(question, "small"), {})
                replies[path].append((await bare.exchange(raw)).reply())
    finally:
        await sidecar.close()
        await bare.close()
    return replies


def _by_kind(replies: Mapping[str, Sequence[Reply]]) -> dict[str, list[Reply]]:
    """By what was served, which the sidecar decides, not by what was hoped for."""
    kinds: defaultdict[str, list[Reply]] = defaultdict(list)
    for sent, some in replies.items():
        for reply in some:
            kinds[f"bare {sent}" if sent in {"handler", "proxy"} else reply.cache].append(reply)
    return dict(kinds)


def hop_times(replies: Sequence[Reply]) -> dict[str, list[float]]:
    """Milliseconds by hop, of the standard `server-timing` header (`hop;dur=1.5, ...`)."""
    times: defaultdict[str, list[float]] = defaultdict(list)
    for reply in replies:
        for entry in reply.headers.get("server-timing", "").split(","):
            name, *params = (part.strip() for part in entry.split(";"))
            for param in params:
                if param.startswith("dur="):
                    times[name].append(float(param.removeprefix("dur=")))
    return dict(times)


async def _bursts(args: argparse.Namespace, bench: Bench) -> dict[str, float]:
    """Requests a second of the pairs that are compared: the median of five bursts in turns."""
    usual = {"x-sidecar-namespace": bench.namespace}
    url = _url(bench.stand)
    hit = request(url, _chat("How do I measure a hit?", "small"), usual)
    past = request(url, _chat("Past the cache.", "small"), usual | {"x-sidecar-bypass": "1"})
    bare = _chat("How do I measure a hit?", "small")
    sent = {
        "hit-exact": (url, hit),
        "bare handler": (bench.baseline_url, request(f"{bench.baseline_url}/handler", bare, {})),
        "bypass": (url, past),
        "bare proxy": (bench.baseline_url, request(f"{bench.baseline_url}/proxy", bare, {})),
    }
    rates: defaultdict[str, list[float]] = defaultdict(list)
    for _ in range(5):
        for kind, (to, raw) in sent.items():
            rates[kind].append(await rate(to, [raw] * args.burst, at_once=args.at_once))
    return {kind: percentile(some, 0.5) for kind, some in rates.items()}


def _ratios(
    totals: Mapping[str, Mapping[str, Mapping[str, float]]],
    rates: Mapping[str, float],
    *,
    knows_vendor: bool,
) -> dict[str, float]:
    """Bare time over the sidecar's, the sidecar's rate over the bare one: 1 is as good as bare."""
    pairs = (
        *(("hit-exact", "bare handler"), ("hit-semantic", "bare handler")),
        # A miss may escalate and so ask twice; a bypassed request asks once, as the proxy does.
        *([("bypass", "bare proxy")] if knows_vendor else []),
    )
    ratios = {}
    for kind, bare in pairs:
        if kind in totals and bare in totals:
            slow, fast = totals[kind]["latency"]["p50"], totals[bare]["latency"]["p50"]
            ratios[f"{kind}, p50 of {bare} over it"] = fast / slow
        if kind in rates:
            ratios[f"{kind}, rate over {bare}"] = rates[kind] / rates[bare]
    return ratios


def _total_table(totals: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Table:
    rows = [
        (kind, what, str(told["count"]), *(f"{told[name]:.2f}" for name in ("p50", "p95", "p99")))
        for kind, both in sorted(totals.items())
        for what, told in both.items()
        if what == "latency" or not kind.startswith("bare")
    ]
    headings = ("kind", "what", "count", "p50", "p95", "p99")
    return Table(title="By kind, ms", headings=headings, rows=rows)


def _hop_table(hops: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Table:
    rows = [
        (kind, hop, str(told["count"]), *(f"{told[name]:.3f}" for name in ("p50", "p95", "p99")))
        for kind, times in sorted(hops.items())
        for hop, told in times.items()
    ]
    headings = ("kind", "hop", "count", "p50", "p95", "p99")
    return Table(title="By hop, ms", headings=headings, rows=rows)


def _ratio_table(ratios: Mapping[str, float], rates: Mapping[str, float]) -> Table:
    rows = [(what, f"{value:.2f}") for what, value in ratios.items()]
    rows += [(f"{kind}, requests a second", f"{value:.0f}") for kind, value in rates.items()]
    return Table(title="Beside the bare servers", headings=("what", "figure"), rows=rows)
