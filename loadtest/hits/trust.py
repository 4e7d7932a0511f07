"""The verb `trust`: streams of questions, the sidecar beside the rules of other caches.

The upstream is the simulated vendor, told what each question means: its answer names the meaning,
so that a wrong hit is known for one, and the sidecar's own checks in the background are real. The
rivals are simulated in this process, on the same questions in the same order, with the vectors of
the sidecar's own encoder. Each stream has a sidecar of its own, begun cold.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import aiohttp
import numpy as np

from loadtest.callers.client import ask, session
from loadtest.hits.rules import Asked, Done, rivals
from loadtest.measures.intervals import Rate, exact
from loadtest.questions.scenes import Scene, scenes
from loadtest.report import Report, Table
from loadtest.servers.processes import (
    ROOT,
    NotReady,
    Server,
    openai_upstream,
    own_sidecar,
    python,
    vendor,
)
from loadtest.vendors.provider import question_of

SIDECAR: Final = "the sidecar"

_SETTLED_S: Final = 2.0
"""Chosen: no check came to its end for so long: none is under way any more."""
_WAIT_S: Final = 120.0

_CHECKS: Final = "sidecar_semantic_verified_total"
_ESTIMATE: Final = "sidecar_semantic_false_hit_ratio"

_NOTES: Final = (
    """Wrong: the answer was made for another meaning. Intervals: 95 %, Clopper-Pearson, as if hits
were independent; popular questions make them less so.""",
    """Every rule but one stands behind an exact tier, whose hits are always right; vCache's, whose
paper has none, is shown both ways. Its bound is on requests, the sidecar's on hits.""",
    """The live estimate is what the sidecar says of itself, from the share of its semantic hits
that it asked again. The simulated vendor answers alike to what means the same, so that no check
errs; a real model's do now and then.""",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own flags."""
    told = "pairs with labels, or written groups; .gz too"
    parser.add_argument("--data", type=Path, nargs="+", default=[], help=told)
    parser.add_argument(
        "--traps",
        type=Path,
        nargs="*",
        help="look-alikes alone, each after the question that it resembles: written groups, pairs "
        "with labels, and always generated ones",
    )
    parser.add_argument("--requests", type=int, default=3_000, help="of each stream (default 3000)")
    parser.add_argument("--clusters", type=int, default=500, help="popular ones (default 500)")
    parser.add_argument("--distractors", type=float, default=0.5, help="share (default 0.5)")
    parser.add_argument("--exponent", type=float, default=1.0, help="Zipf's (default 1)")
    parser.add_argument("--streams", type=int, default=3, help="seeds, from --seed on (default 3)")
    parser.add_argument("--bound", type=float, default=0.02, help="max_false_hit_rate (0.02)")
    parser.add_argument("--verify-share", type=float, default=0.5, help="of hits (default 0.5)")


async def report(args: argparse.Namespace) -> Report:
    """Each scene: hits, wrong hits, the live estimate beside the truth, and the rivals."""
    tables: list[Table] = []
    figures: dict[str, Any] = {}
    for name, some in scenes(args):
        runs = [await _run(args, scene) for scene in some]
        tables += [_rules_table(name, runs), _live_table(name, runs)]
        figures[name] = _figures(runs)
    if not tables:
        raise NotReady("nothing to ask: give --data or --traps")
    return Report(
        title=f"Hits that may be trusted, bound {args.bound:g}",
        tables=tables,
        figures=figures,
        notes=_NOTES,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """What the sidecar said of itself at the end.

    Attributes:
        estimate: Its share of wrong hits among those that it drew and checked.
        sampled: How many those were.
        partition: The same for its partition, drawn toward the calibrated risk.
        checks: How many checks came to each end.
        states: How many partitions are open, tight, off.
        shut_after: Wrong hits by meaning until the partition was off; None if it never was.
    """

    estimate: Rate
    sampled: int
    partition: Rate
    checks: dict[str, int]
    states: dict[str, int]
    shut_after: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One stream.

    Attributes:
        done: What each rule did with each question, in their order; the sidecar is one of them.
        live: What the sidecar said.
        unanswered: Requests that got no whole answer, or a fresh one of another meaning.
    """

    done: dict[str, list[Done]]
    live: Live
    unanswered: int


async def _run(args: argparse.Namespace, scene: Scene) -> Run:
    with TemporaryDirectory(prefix="sidecar-loadtest-") as name:
        folder = Path(name)
        vectors = await asyncio.to_thread(_vectors, folder, sorted(scene.meanings))
        (folder / "meanings.json").write_text(json.dumps(scene.meanings))
        more = (
            "[cache.lookup]\nbudget_s = 30.0\n\n"  # a busy machine must not turn hits into misses
            f"[cache.semantic]\nmax_false_hit_rate = {args.bound}\n"
            f"verify_share = {args.verify_share}\nverify_budget_usd_per_hour = 1e6\n\n"
        )
        async with (
            vendor(folder, "--meanings", str(folder / "meanings.json")) as upstream,
            own_sidecar(folder, openai_upstream(f"{upstream.url}/v1"), more=more) as server,
            session() as http,
        ):
            done, unanswered, shut_after = await _asked(http, server, scene)
            live = await _live(http, server, shut_after)
    asked = [Asked(text, scene.meanings[text], vectors[text]) for text in scene.order]
    dim = len(asked[0].vector)
    rules = rivals(dim, args.bound, scene.seed)
    told = {name: [rule.ask(one) for one in asked] for name, rule in rules.items()}
    return Run(done={SIDECAR: done, **told}, live=live, unanswered=unanswered)


def _vectors(folder: Path, texts: Sequence[str]) -> dict[str, np.ndarray[Any, Any]]:
    """By the sidecar's own encoder, in a process of its own: nothing of it is imported here."""
    lines, out = folder / "texts.jsonl", folder / "vectors.npy"
    lines.write_text("".join(json.dumps(text) + "\n" for text in texts))
    command = python("sidecar", "encoder", "embed", str(lines), "--out", str(out))
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    if ended.returncode:
        raise NotReady(f"{' '.join(command)}: {ended.stdout}{ended.stderr}")
    return dict(zip(texts, np.load(out, allow_pickle=False), strict=True))


async def _asked(
    http: aiohttp.ClientSession, server: Server, scene: Scene
) -> tuple[list[Done], int, int | None]:
    """One at a time, so that the order is the stream's own."""
    done: list[Done] = []
    unanswered = wrong = 0
    shut_after = None
    for text in scene.order:
        reply = await ask(
            http, f"{server.url}/v1", text, model="small", headers={"x-sidecar-debug": "1"}
        )
        is_right = question_of(reply.text) == scene.meanings[text]
        match reply.cache:
            case "hit-exact":
                done.append(Done("exact", is_right, 1.0))
            case "hit-semantic" | "coalesced":
                done.append(Done("semantic", is_right, reply.number("similarity")))
                wrong += not is_right
            case _:
                done.append(Done("miss"))
                unanswered += not is_right
        is_off = reply.headers.get("x-sidecar-miss-reason", "").startswith("off")
        if is_off and shut_after is None:
            shut_after = wrong
    return done, unanswered, shut_after


async def _live(http: aiohttp.ClientSession, server: Server, shut_after: int | None) -> Live:
    loop = asyncio.get_running_loop()
    until = loop.time() + _WAIT_S
    before: dict[str, float] = {}
    while loop.time() < until:
        told = await _metrics(http, server)
        if before and _of(told, _CHECKS) == _of(before, _CHECKS):
            break
        before = told
        await asyncio.sleep(_SETTLED_S)
    learnt = await _learnt(http, server)
    known = [*learnt["watched"], *learnt["busiest"]]
    return Live(
        sampled=learnt["right"] + learnt["wrong"],
        partition=_rate(known[0]["estimate"]) if known else exact(0, 0),
        estimate=Rate(
            told.get(_ESTIMATE, float("nan")),
            told.get(f"{_ESTIMATE}_lower", float("nan")),
            told.get(f"{_ESTIMATE}_upper", float("nan")),
        ),
        checks=_of(told, _CHECKS),
        states=_of(told, "sidecar_semantic_partitions"),
        shut_after=shut_after,
    )


async def _learnt(http: aiohttp.ClientSession, server: Server) -> dict[str, Any]:
    async with http.get(f"{server.admin_url}/admin/cache") as response:
        told: dict[str, Any] = (await response.json())["semantic"]["learnt"]
    return told


def _rate(told: dict[str, float]) -> Rate:
    return Rate(told["value"], told["lower"], told["upper"])


async def _metrics(http: aiohttp.ClientSession, server: Server) -> dict[str, float]:
    async with http.get(f"{server.admin_url}/metrics") as response:
        lines = (await response.text()).splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def _of(told: dict[str, float], name: str) -> dict[str, int]:
    """`_of({'a{b="c"}': 1.0}, "a") == {"c": 1}`."""
    return {
        key.split('"')[1]: int(value) for key, value in told.items() if key.startswith(f"{name}{{")
    }


def rates(done: Sequence[Done]) -> dict[str, Rate]:
    """Shares of requests and of hits."""
    hits = [one for one in done if one.kind != "miss"]
    semantic = [one for one in hits if one.kind == "semantic"]
    wrong = sum(not one.is_right for one in hits)
    wrong_semantic = sum(not one.is_right for one in semantic)
    return {
        "hits": exact(len(hits), len(done)),
        "by meaning": exact(len(semantic), len(done)),
        "wrong of hits": exact(wrong, len(hits)),
        "wrong of those by meaning": exact(wrong_semantic, len(semantic)),
        "wrong of requests": exact(wrong, len(done)),
    }


def _rules_table(name: str, runs: Sequence[Run]) -> Table:
    headings = ("rule", *rates([]), "each stream: wrong of hits by meaning")
    rows = []
    for rule in runs[0].done:
        together = [one for run in runs for one in run.done[rule]]
        each = ", ".join(
            f"{sum(not d.is_right for d in s)}/{len(s)}"
            for s in ([d for d in run.done[rule] if d.kind == "semantic"] for run in runs)
        )
        rows.append((rule, *map(str, rates(together).values()), each))
    requests = len(runs[0].done[SIDECAR])
    return Table(title=f"{name}: {len(runs)} streams of {requests}", headings=headings, rows=rows)


def _live_table(name: str, runs: Sequence[Run]) -> Table:
    rows = []
    for number, run in enumerate(runs):
        semantic = [one for one in run.done[SIDECAR] if one.kind == "semantic"]
        truth = exact(sum(not one.is_right for one in semantic), len(semantic))
        rows.append(
            (
                str(number),
                f"{truth} of {len(semantic)}",
                f"{run.live.estimate} of {run.live.sampled} checked",
                str(run.live.partition),
                ", ".join(f"{count} {state}" for state, count in run.live.states.items() if count),
                "-" if run.live.shut_after is None else str(run.live.shut_after),
                str(run.unanswered),
            )
        )
    return Table(
        title=f"{name}: what the sidecar says of itself",
        headings=(
            "stream",
            "truth: wrong of hits by meaning",
            "live estimate",
            "its partition's, drawn to the risk",
            "partitions",
            "wrong hits until off",
            "not answered",
        ),
        rows=rows,
    )


def _figures(runs: Sequence[Run]) -> dict[str, Any]:
    return {
        "rules": {
            rule: {
                "all": {
                    what: asdict(rate)
                    for what, rate in rates([one for run in runs for one in run.done[rule]]).items()
                },
                "each": [
                    {what: asdict(rate) for what, rate in rates(run.done[rule]).items()}
                    for run in runs
                ],
            }
            for rule in runs[0].done
        },
        "live": [asdict(run.live) for run in runs],
        "unanswered": [run.unanswered for run in runs],
    }
