"""The verb `replay`: recorded answers of real models through the sidecar, by the `openai` client.

Cost and tier are what the sidecar's headers say; whether the answer is right stands in the row.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

from openai import APIError, AsyncOpenAI

from loadtest.callers.client import in_turns
from loadtest.measures.intervals import bootstrap
from loadtest.questions.tier3 import (
    TIERS,
    Point,
    Row,
    always,
    mix_quality,
    oracle,
    point,
    read_rows,
)
from loadtest.report import Report, Table
from loadtest.servers.processes import NotReady, find_or_start, replay_upstream

_BOOTSTRAP_ROUNDS: Final = 400
"""Chosen: enough for two decimal places of a 95 % interval, and a few seconds at 1,000 rows."""


_NOTES: Final = (
    (
        "Intervals: 95 %, bootstrap over rows. The mix is the best random choice of tiers at the "
        "sidecar's own cost; the gain over it is paired with it row by row."
    ),
    "The oracle knows which tier will be right; nobody does.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One row's answer through the sidecar; `tier` is None where none came."""

    row: Row
    tier: str | None
    cost_usd: float = 0.0
    escalations: int = 0
    request_id: str = ""

    @property
    def is_right(self) -> bool:
        """The tier that answered was right; no answer is a wrong one."""
        return self.tier is not None and self.row.right[self.tier]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own flags."""
    parser.add_argument("--data", type=Path, required=True, help="tier3 rows, JSON Lines or .gz")
    parser.add_argument("--rows", type=int, default=1_000, help="questions (default 1000)")
    parser.add_argument("--model", default="auto", help="auto, small, medium or large")
    parser.add_argument(
        "--quality",
        nargs="+",
        default=[],
        metavar="Q",
        help="ask once for each x-sidecar-quality: 0 to 1, economy, balanced, best",
    )
    parser.add_argument(
        "--artifact", type=Path, metavar="DIR", help="router of the sidecar that is started"
    )
    parser.add_argument("--at-once", type=int, default=8, help="requests in flight (default 8)")
    parser.add_argument(
        "--feedback", type=float, default=0.0, help="share judged by the truth (default 0)"
    )


async def report(args: argparse.Namespace) -> Report:
    """Quality and cost of the sidecar beside the single tiers, their best mix and the oracle."""
    rows = read_rows(args.data, args.rows, args.seed)
    singles = {tier: always(rows, tier) for tier in TIERS}
    more = f'[router]\nartifact = "{args.artifact.resolve()}"\n\n' if args.artifact else ""
    async with find_or_start(args.base_url, replay_upstream(args.data), more=more) as stand:
        runs = {
            _label(args.model, quality): await _ask_all(args, stand.base_url, rows, quality)
            for quality in args.quality or [None]
        }
    if not any(served.tier for run in runs.values() for served in run):
        raise NotReady("not one row was answered: are the sidecar's upstreams of kind replay?")
    measured = {label: _measured(run, args.seed) for label, run in runs.items()}
    best = oracle(rows)
    fixed = {f"always {tier}": single for tier, single in singles.items()} | {"oracle": best}
    return Report(
        title=f"{len(rows)} recorded rows of {args.data.name} through the sidecar",
        tables=[_table(measured, fixed), _tier_table(runs)],
        figures={
            "rows": len(rows),
            "sidecar": measured,
            "baselines": {name: asdict(told) for name, told in fixed.items()},
        },
        notes=_NOTES,
        is_good=all(told["unanswered"] == 0 for told in measured.values()),
    )


def _label(model: str, quality: str | None) -> str:
    return f"sidecar, {model}" if quality is None else f"sidecar, {model}, quality {quality}"


async def _ask_all(
    args: argparse.Namespace, base_url: str, rows: Sequence[Row], quality: str | None
) -> list[Served]:
    rng = Random(args.seed)
    judged = {row.query for row in rows if rng.random() < args.feedback}
    # The cache stays out: each row is to be answered by a tier.
    headers = {"cache-control": "no-cache, no-store"}
    if quality is not None:
        headers["x-sidecar-quality"] = quality
    async with AsyncOpenAI(
        base_url=base_url, api_key="none", max_retries=0, timeout=60.0
    ) as client:

        async def ask(row: Row) -> Served:
            served = await _ask(client, args.model, row, headers)
            if row.query in judged and served.request_id:
                await _judge(client, served)
            return served

        return await in_turns(rows, ask, at_once=args.at_once)


async def _ask(client: AsyncOpenAI, model: str, row: Row, headers: Mapping[str, str]) -> Served:
    try:
        raw = await client.chat.completions.with_raw_response.create(
            model=model, messages=[{"role": "user", "content": row.query}], extra_headers=headers
        )
    except APIError:
        return Served(row=row, tier=None)
    told = raw.headers
    return Served(
        row=row,
        tier=told.get("x-sidecar-tier"),
        cost_usd=float(told.get("x-sidecar-cost-usd", "0")),
        escalations=int(told.get("x-sidecar-escalations", "0")),
        request_id=told.get("x-sidecar-request-id", ""),
    )


async def _judge(client: AsyncOpenAI, served: Served) -> None:
    told = {
        "request_id": served.request_id,
        "score": float(served.is_right),
        "correct_answer": served.row.gold,
    }
    await client.post("/feedback", body=told, cast_to=object)


def _measured(run: Sequence[Served], seed: int) -> dict[str, Any]:
    rows = [served.row for served in run]

    def reached(places: Sequence[int]) -> Point:
        return point(
            [run[place].is_right for place in places], [run[place].cost_usd for place in places]
        )

    def gain(places: Sequence[int]) -> float:
        drawn = [rows[place] for place in places]
        own = reached(places)
        singles = [always(drawn, tier) for tier in TIERS]
        return own.quality - mix_quality(singles, own.cost_usd_per_1k)

    everything = range(len(run))
    intervals = {
        name: bootstrap(len(run), statistic, rounds=_BOOTSTRAP_ROUNDS, seed=seed)
        for name, statistic in (
            ("quality", lambda places: reached(places).quality),
            ("cost_usd_per_1k", lambda places: reached(places).cost_usd_per_1k),
            ("gain_over_mix", gain),
        )
    }
    return {
        **asdict(reached(everything)),
        "gain_over_mix": gain(everything),
        "intervals": intervals,
        "escalations_per_1k": 1_000 * sum(served.escalations for served in run) / len(run),
        "unanswered": sum(served.tier is None for served in run),
    }


def _table(measured: Mapping[str, Mapping[str, Any]], fixed: Mapping[str, Point]) -> Table:
    rows = [
        (name, f"{told.quality:.4f}", "", f"{told.cost_usd_per_1k:.3f}", "", "", "")
        for name, told in fixed.items()
    ]
    for name, own in measured.items():
        low, high = own["intervals"]["quality"]
        worse, better = own["intervals"]["gain_over_mix"]
        rows.append(
            (
                *(name, f"{own['quality']:.4f}", f"[{low:.4f}, {high:.4f}]"),
                *(f"{own['cost_usd_per_1k']:.3f}", f"{own['escalations_per_1k']:.0f}"),
                *(f"{own['gain_over_mix']:+.4f}", f"[{worse:+.4f}, {better:+.4f}]"),
            )
        )
    headings = ("policy", "quality", "95 %", "USD per 1k", "escalations", "over the mix", "95 %")
    return Table(title="Quality and cost", headings=headings, rows=rows)


def _tier_table(runs: Mapping[str, Sequence[Served]]) -> Table:
    rows = [
        (name, *(f"{100 * sum(s.tier == tier for s in run) / len(run):.1f} %" for tier in TIERS))
        for name, run in runs.items()
    ]
    return Table(title="Share of answers by tier", headings=("policy", *TIERS), rows=rows)
