"""The verb `memory`: a sidecar that keeps so many answers, and what it takes of memory for them.

Every question is a new one and is answered by a vendor that costs nothing; all of it stays in
memory, answers and vectors, and on disk. Resident memory is told after the start, after a handful
of requests of each kind, and at each tenth of the way, once what was asked is kept.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import aiohttp

from loadtest.callers.flood import closed
from loadtest.measures.cost import rss_mib
from loadtest.report import Report, Table
from loadtest.servers.contenders import Contender, quick_vendor, started
from loadtest.servers.gateways import sidecar
from loadtest.servers.processes import NotReady
from loadtest.speed.hops import fresh_questions

AIM_MB: Final = 250.0
"""Source: README.md, "Figures": resident, of a million bytes each, at 10,000 entries."""

LOOKS: Final = 10
AT_ONCE: Final = 8

_ALONE: Final = {"x-sidecar-similarity": "1.0"}
"""No hit by meaning: each question is kept."""

_MB_PER_MIB: Final = 2**20 / 1e6
_KEPT_S: Final = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own flags."""
    parser.add_argument("--entries", type=int, default=10_000, help="kept (default 10000)")


async def report(args: argparse.Namespace) -> Report:
    """Good if what is resident at the end lies under the aim, where it holds for so many."""
    looks = await _looked(args.entries, args.seed)
    rows = [(f"{entries:.0f}", f"{mib:.0f}", f"{mib * _MB_PER_MIB:.1f}") for entries, mib in looks]
    (first, first_mib), (last, last_mib) = looks[len(looks) // 2], looks[-1]
    each_bytes = 2**20 * (last_mib - first_mib) / max(1.0, last - first)
    notes = [
        f"{each_bytes:,.0f} bytes for each further entry, over the second half of the way.",
        "The first line is after the start, the second after the first questions of each kind.",
    ]
    return Report(
        title=f"Memory of {args.entries} entries",
        tables=[Table(title="Resident", headings=("entries", "MiB", "MB"), rows=rows)],
        figures={"looks": looks, "bytes_an_entry": each_bytes},
        notes=notes,
        is_good=last_mib * _MB_PER_MIB < AIM_MB or args.entries > 10_000,  # noqa: PLR2004 - as AIM_MB says
    )


async def _looked(entries: int, seed: int) -> list[tuple[float, float]]:
    """Entries and MiB, from the start on."""
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="sidecar-loadtest-")))
        vendor = await quick_vendor(folder, stack)
        ours = await started(sidecar(), folder, vendor, stack)
        if ours is None:
            raise NotReady("the sidecar does not start")
        http = await stack.enter_async_context(aiohttp.ClientSession())
        looks = [(0.0, rss_mib(ours.pid))]
        await ours.taught("What is asked first, and is kept?")
        questions = fresh_questions(seed)
        for step in range(1, LOOKS + 1):
            share = list(itertools.islice(questions, entries // LOOKS))
            if step == 1:
                await _filled(ours, share[:AT_ONCE])
                looks.append((await _kept(http, ours, AT_ONCE + 1), rss_mib(ours.pid)))
            await _filled(ours, share)
            looks.append((await _kept(http, ours, step * len(share) + 1), rss_mib(ours.pid)))
            print(f"{looks[-1][0]:.0f} entries: {looks[-1][1]:.0f} MiB", flush=True)
        return looks


async def _filled(ours: Contender, questions: list[str]) -> None:
    """Ask each of them once."""
    left = [ours.raw(question, headers=_ALONE) for question in questions]
    while left:
        # Each connection asks as soon as it is answered, until none is left.
        some, left = left[:AT_ONCE], left[AT_ONCE:]
        flooded = await closed(ours.server.url, iter(some), at_once=len(some), seconds=0.0)
        if flooded.failed:
            raise NotReady(f"{flooded.failed} of {len(some)} questions were not answered")


async def _kept(http: aiohttp.ClientSession, ours: Contender, entries: int) -> float:
    """How many it keeps, once all that was asked is kept or a minute has passed."""
    kept = 0.0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_KEPT_S):
            while kept < entries:
                await asyncio.sleep(0.2)
                async with http.get(f"{ours.server.admin_url}/admin/cache") as response:
                    told: dict[str, Any] = await response.json()
                kept = float(told["entries"])
    return kept
