"""The verb `faults`: some fifty faults under a light load, and what came of each.

Of every fault: what callers heard, whether an answer that the vendor gave was lost, whether
anything partial was kept, what was billed beside the vendor's own bill, and how long after its end
all was well again. Which they are stands in `faultlist`, what they are tried on in `stage`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from loadtest.callers.client import session
from loadtest.report import Report, Table
from loadtest.resilience.faultlist import FAULTS, Fault
from loadtest.resilience.stage import CACHED, Crowd, Heard, Stage, problem_of, recovered_s, tally
from loadtest.servers.processes import free_port
from loadtest.vendors.badvendor import BadVendor

_BEFORE_S: Final = 1.0
"""Chosen: some twenty questions are answered and kept before the fault begins."""

_ODD: Final = frozenset({"foreign", "torn", "odd error", "no word"})
"""Outcomes that no fault excuses: another's answer, an end that does not tell, no end at all."""

_CHECKED: Final = 60
_FELT: Final = tuple(
    f"sidecar_{name}_total"
    for name in (
        *("misses", "cache_lost_writes", "traffic_dropped", "admission_lost_writes"),
        *("degraded", "encoder_refusals"),
    )
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own flags."""
    parser.add_argument(
        "--only", default="", help="faults whose name holds this; more with | between"
    )
    parser.add_argument("--fault-s", type=float, default=2.0, help="each lasts so long (default 2)")


async def report(args: argparse.Namespace) -> Report:
    """All faults; good if nothing was lost, nothing wrong was kept, and each was got over."""
    words = args.only.split("|")
    chosen = [fault for fault in FAULTS if any(word in fault.name for word in words)]
    rows = []
    async with _stage() as stage:
        for number, fault in enumerate(chosen):
            rows.append(await _tried(stage, fault, f"{args.seed}-{number}", args.fault_s))
            print(f"{fault.name}: {rows[-1]['problem'] or 'good'}", flush=True)
    return Report(
        title=f"{len(rows)} faults under a light load",
        tables=[_table(rows)],
        figures={"faults": rows},
        notes=[
            "Kept: questions answered before the fault, asked again during it.",
            "Lost: the vendor gave the answer, and who asked did not get it.",
            "Recovery: from the fault's end to the first of three answers to new questions.",
        ],
        is_good=bool(rows) and not any(row["problem"] for row in rows),
    )


@contextlib.asynccontextmanager
async def _stage() -> AsyncIterator[Stage]:
    with TemporaryDirectory(prefix="sidecar-faults-") as name:
        vendor = BadVendor(free_port())
        await vendor.open()
        async with session(timeout_s=15.0) as http:
            stage = Stage(folder=Path(name), vendor=vendor, http=http)
            stage.write_config()
            await stage.begin()
            try:
                yield stage
            finally:
                await stage.stop()
                await vendor.shut()


async def _tried(stage: Stage, fault: Fault, name: str, fault_s: float) -> dict[str, Any]:
    """One fault: calm, fault, calm again; then what is kept, and the bills."""
    counted_usd, billed_usd = await stage.counted_usd(), stage.vendor.book.bill_usd
    metrics = await stage.metrics()
    crowd = Crowd(stage, name)
    load = asyncio.create_task(crowd.run())
    await asyncio.sleep(_BEFORE_S)
    before = crowd.next_phase()
    await fault.begin(stage)
    await asyncio.sleep(fault_s)
    await fault.end(stage)
    recovery_s = await recovered_s(stage, name)
    crowd.stop()
    await load
    during = crowd.next_phase()
    counted_usd = await stage.counted_usd() - counted_usd
    billed_usd = stage.vendor.book.bill_usd - billed_usd
    kept_asked = sum(one.is_kept for one in during)
    kept_served = sum(one.is_kept and one.outcome == "answered" for one in during)
    told: dict[str, Any] = {
        "name": fault.name,
        "heard": dict(tally(during)),
        "before": dict(tally(before)),
        "may_lose": fault.may_lose,
        "lost": sum(one.is_lost for one in during),
        "kept_asked": kept_asked,
        "kept_served": kept_served,
        "felt": felt(metrics, await stage.metrics()),
        "kept_wrong": await _wrongly_kept(stage, during),
        "counted_usd": str(counted_usd),
        "billed_usd": str(billed_usd),
        "under_billed": counted_usd < billed_usd and not fault.is_unbilled,
        "recovery_s": recovery_s,
        "odd": sum(one.outcome in _ODD for one in [*before, *during]),
    }
    told["kept_refused"] = not fault.is_outage and kept_served < kept_asked
    told["noticed"] = fault.is_harmless and set(tally(during)) != {"answered"}
    told["problem"] = problem_of(told)
    return told


def felt(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, int]:
    """What the sidecar counted of it: misses by reason, writes and records lost, stand-ins."""
    told = {name: value for name, value in after.items() if name.startswith(_FELT)}
    grown = {name: round(value - before.get(name, 0.0)) for name, value in told.items()}
    return {
        name.replace("sidecar_", "").replace("_total", ""): count
        for name, count in grown.items()
        if count > 0
    }


async def _wrongly_kept(stage: Stage, during: Sequence[Heard]) -> int:
    """Questions of the fault's time for which something else is kept than what was given whole."""
    questions = list(dict.fromkeys(one.question for one in during if not one.is_kept))
    heard = [await stage.ask(question, headers=CACHED) for question in questions[:_CHECKED]]
    return sum(one.outcome not in {"answered", "504"} for one in heard)


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    headings = ("fault", "callers heard", "kept: served", "lost", "kept wrong")
    return Table(
        title="Faults",
        headings=(*headings, "counted / billed", "recovery s", "verdict"),
        rows=[_row(row) for row in rows],
    )


def _row(told: dict[str, Any]) -> tuple[str, ...]:
    heard = sorted(told["heard"].items(), key=lambda pair: (pair[0] != "answered", -pair[1]))
    billed, counted = Decimal(told["billed_usd"]), Decimal(told["counted_usd"])
    recovery_s = told["recovery_s"]
    return (
        told["name"],
        ", ".join(f"{count} {word}" for word, count in heard),
        f"{told['kept_served']} of {told['kept_asked']}",
        str(told["lost"]),
        str(told["kept_wrong"]),
        "anew" if counted < 0 else f"{counted / billed:.2f}" if billed else "-",
        "never" if recovery_s is None else f"{recovery_s:.1f}",
        told["problem"] or "good",
    )
