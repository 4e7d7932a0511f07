"""The verb `soak`: a sidecar under churn for a long while, and whether anything in it grows.

A real process with small budgets for memory, index and disk, so that it evicts all the time, behind
it the simulated vendor. It is filled first: what it remembers of sessions, users and entries has
bounds, and the way there is no leak. Then it is looked at every few seconds: a slope with its
interval tells whether a quantity grows under load, and what is left when the load is gone whether
anything was forgotten.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Final

from loadtest.answers import UNANSWERED
from loadtest.churn import BUDGETED, TENANTS, Churn, Paced, at_a_rate, key_of
from loadtest.client import FAULTS, session, unanswered
from loadtest.processes import (
    Server,
    free_port,
    openai_upstream,
    python,
    running,
    start,
    tiers_config,
    vendor,
)
from loadtest.report import Report, Table
from loadtest.slopes import Slope, slope_per_hour
from loadtest.vitals import Vitals, look

Look = Callable[[], Awaitable[Vitals]]

_COUNTS: Final = ("handles", "tasks", "threads")
QUANTITIES: Final = ("rss_mib", *_COUNTS)
FLAT_RATIO: Final = 0.1
"""Chosen: of a quantity's level, an hour; less than what chance makes of an hour's memory."""

SETTLE_S: Final = 40.0
"""Source: aiohttp keeps a client's idle connection for 15 seconds and looks every 15, on both sides
of the sidecar; some looks more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Soaked:
    """What was seen.

    Attributes:
        before: At rest, after the start, what filled it, and a handful of requests of each kind.
        samples: Under load, the warm-up left out.
        peak_mib: The most memory, warm-up included.
        after: At rest again.
        done: Requests by kind.
        outcomes: What came back, by count.
        pace: How the load generator kept its own.
        load_s: How long the load lasted.
    """

    before: Vitals
    samples: Sequence[Vitals]
    peak_mib: float
    after: Vitals
    done: dict[str, int]
    outcomes: dict[str, int]
    pace: Paced
    load_s: float

    def slope(self, name: str) -> Slope:
        """Of a quantity, an hour."""
        values = [float(getattr(sample, name)) for sample in self.samples]
        return slope_per_hour([sample.at_s for sample in self.samples], values)

    def level(self, name: str) -> float:
        """The mean under load."""
        return fmean(float(getattr(sample, name)) for sample in self.samples)

    def verdict(self, name: str) -> str:
        """`flat` where the whole interval is, `grows` where none of it is, else `unclear`."""
        slope, bound = self.slope(name), FLAT_RATIO * self.level(name)
        if slope.high <= bound:
            return "flat"
        return "grows" if slope.low > bound else "unclear"

    @property
    def unanswered(self) -> int:
        """Requests that got no HTTP answer, callers who left apart."""
        return sum(count for name, count in self.outcomes.items() if name.startswith(UNANSWERED))

    @property
    def cpu_share(self) -> float:
        """Of one core, under load."""
        first, last = self.samples[0], self.samples[-1]
        return (last.cpu_s - first.cpu_s) / (last.at_s - first.at_s)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own flags."""
    parser.add_argument("--minutes", type=float, default=30.0, help="of load (default 30)")
    parser.add_argument("--warm-up", type=float, default=0.2, help="share left out (default 0.2)")
    parser.add_argument("--per-second", type=float, default=30.0, help="requests (default 30)")
    parser.add_argument("--fill", type=int, default=20_000, help="new questions first (20000)")
    parser.add_argument("--look-s", type=float, default=5.0, help="between looks (default 5)")


async def report(args: argparse.Namespace) -> Report:
    """The whole soak; good if everything is flat and nothing is left behind."""
    soaked = await soak(
        fill=args.fill,
        load_s=60 * args.minutes,
        warm_up=args.warm_up,
        per_second=args.per_second,
        look_s=args.look_s,
        seed=args.seed,
    )
    verdicts = {name: soaked.verdict(name) for name in QUANTITIES}
    return Report(
        title=f"{args.minutes:g} minutes of churn, {args.per_second:g} requests a second",
        tables=[
            _quantities(soaked, verdicts),
            _counts("Requests by kind", soaked.done),
            _counts("What came back", soaked.outcomes),
        ],
        figures=asdict(soaked)
        | {"slopes_per_hour": {name: asdict(soaked.slope(name)) for name in QUANTITIES}}
        | {"verdicts": verdicts, "cpu_share": soaked.cpu_share},
        notes=[
            f"{soaked.cpu_share:.0%} of one core.",
            f"{soaked.pace.skipped} requests were not begun.",
            f"One was begun at most {soaked.pace.late_s:.1f} s late.",
            f"{soaked.unanswered} requests got no HTTP answer.",
            f"The first {args.warm_up:.0%} of the time is left out of the slopes.",
            "An interval is Student's, over the means of ten batches.",
            f"Flat: the whole interval is below {FLAT_RATIO:.0%} of the level an hour.",
        ],
        is_good=_is_good(soaked, verdicts),
    )


def _is_good(soaked: Soaked, verdicts: dict[str, str]) -> bool:
    return "grows" not in verdicts.values() and not left_behind(soaked) and not soaked.unanswered


def left_behind(soaked: Soaked) -> dict[str, int]:
    """Handles, tasks and threads that are still there at rest, and were not before."""
    return _more(soaked.after, soaked.before)


async def soak(
    *, fill: int, load_s: float, warm_up: float, per_second: float, look_s: float, seed: int
) -> Soaked:
    """A sidecar of its own under churn for `load_s`, once it was asked `fill` new questions."""
    with TemporaryDirectory(prefix="sidecar-loadtest-") as name:
        async with _sidecar(Path(name), Random(seed)) as (server, churn), session() as http:

            async def seen() -> Vitals:
                return await look(http, server.process.pid, server.admin_url)

            await churn.fill(fill)
            # Threads and pools come with the first work of each kind; they are no leak.
            await at_a_rate(churn.one, per_second=per_second, for_s=min(60.0, load_s / 4))
            before, samples = await _at_rest(seen), list[Vitals]()
            began_s = time.monotonic()
            looking = asyncio.create_task(_watch(seen, samples, look_s))
            try:
                pace = await at_a_rate(churn.one, per_second=per_second, for_s=load_s)
            finally:
                looking.cancel()
                await asyncio.gather(looking, return_exceptions=True)
            after = await _at_rest(seen, before)
    return Soaked(
        before=before,
        samples=[one for one in samples if one.at_s - began_s >= warm_up * load_s],
        peak_mib=max(one.rss_mib for one in samples),
        after=after,
        done=dict(churn.done),
        outcomes=dict(churn.outcomes),
        pace=pace,
        load_s=load_s,
    )


async def _watch(seen: Look, samples: list[Vitals], look_s: float) -> None:
    while True:
        samples.append(await seen())
        await asyncio.sleep(look_s)


async def _at_rest(seen: Look, before: Vitals | None = None) -> Vitals:
    """The least of each count in a time of rest; it ends when nothing is left beyond `before`."""
    least, until_s = await seen(), time.monotonic() + SETTLE_S
    while time.monotonic() < until_s and (before is None or _more(least, before)):
        await asyncio.sleep(1.0)
        now = await seen()
        fewer = {name: min(getattr(least, name), getattr(now, name)) for name in _COUNTS}
        least = replace(now, **fewer)
    return least


def _more(now: Vitals, before: Vitals) -> dict[str, int]:
    more = {name: getattr(now, name) - getattr(before, name) for name in _COUNTS}
    return {name: count for name, count in more.items() if count > 0}


@contextlib.asynccontextmanager
async def _sidecar(folder: Path, dice: Random) -> AsyncIterator[tuple[Server, Churn]]:
    async with vendor(folder, "--drip-ms", "50", "--latency-ms", "20") as upstream:
        port, admin_port, config = free_port(), free_port(), folder / "sidecar.toml"

        def write() -> None:
            lines = openai_upstream(f"{upstream.url}/v1")
            config.write_text(_config(folder, port, admin_port, lines, dice.random()))

        write()
        url, admin_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin_port}"
        started = await start(
            python("sidecar", "serve", "--config", str(config)),
            admin_url,
            "/readyz",
            ready_s=120.0,
            log=folder / "sidecar.log",
        )
        server = replace(started, url=url, admin_url=admin_url)
        async with running(server), session() as http:

            async def reload() -> None:
                write()
                try:
                    async with http.post(f"{admin_url}/admin/config/reload") as response:
                        churn.outcomes[f"reload {response.status}"] += 1
                except FAULTS as fault:
                    churn.outcomes[f"{UNANSWERED}: {unanswered(fault, 'reload')}"] += 1

            churn = Churn(http, f"{url}/v1", admin_url, reload, dice)
            yield server, churn


def _config(folder: Path, port: int, admin_port: int, upstream: str, quality: float) -> str:
    """Small budgets, three tenants, and a quality that another reload changes."""
    tenants = "".join(
        f'[[tenants]]\nname = "{name}"\nkeys = ["{key_of(name)}"]\n'
        "user_requests_per_minute = 600\ntokens_per_minute = 100000000\n"
        + ("user_budget_usd_per_day = 10.0\n\n" if name == BUDGETED else "\n")
        for name in TENANTS
    )
    return (
        f"[server]\nport = {port}\nadmin_port = {admin_port}\n\n"
        f"[cache]\nmax_bytes = {_MEMORY_BYTES}\nstale_if_error_s = 60.0\nttl_s = 120.0\n\n"
        f"[cache.semantic]\nmax_index_bytes = {_INDEX_BYTES}\n\n"
        f'[cache.disk]\npath = "{folder / "cache.sqlite"}"\nmax_bytes = {_DISK_BYTES}\n\n'
        f'[traffic]\ndir = "{folder / "traffic"}"\nrotate_bytes = {_ROTATE_BYTES}\n\n'
        f"[router]\nquality = {quality:.3f}\nexploration = 0.1\nsticky_sessions = true\n\n"
        f'{tenants}[[upstreams]]\nname = "only"\n{upstream}\n{tiers_config()}'
    )


_MEMORY_BYTES: Final = 2 * 2**20
_INDEX_BYTES: Final = 4 * 2**20
_DISK_BYTES: Final = 16 * 2**20
_ROTATE_BYTES: Final = 2**20
"""Chosen: full within minutes, so that the rest of the soak evicts and rotates."""


def _quantities(soaked: Soaked, verdicts: dict[str, str]) -> Table:
    def row(name: str) -> tuple[str, ...]:
        values = [getattr(one, name) for one in soaked.samples]
        at_rest = (f"{getattr(one, name):.0f}" for one in (soaked.before, soaked.after))
        seen = f"{min(values):.0f} to {max(values):.0f}"
        return (name, seen, str(soaked.slope(name)), verdicts[name], *at_rest)

    headings = ("quantity", "under load", "slope an hour", "so it", "at rest before", "after")
    return Table(title="Quantities", headings=headings, rows=[row(name) for name in QUANTITIES])


def _counts(title: str, counts: dict[str, int]) -> Table:
    rows = [(name, str(count)) for name, count in sorted(counts.items(), key=lambda one: -one[1])]
    return Table(title=title, headings=("", "count"), rows=rows)
