"""The verb `soak`: a sidecar under churn for a long while, and whether anything in it grows.

A real process with small budgets for memory, index and disk, so that it evicts all the time, behind
it the simulated vendor. It is filled first: what it remembers of sessions, users and entries has
bounds, and the way there is no leak. Then the load comes in spells with a rest after each: what it
holds at rest, time after time, tells whether anything grows, and what is left at the end whether
anything was forgotten.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Final

from loadtest.callers.answers import UNANSWERED
from loadtest.callers.client import FAULTS, session, unanswered
from loadtest.measures.vitals import Vitals, look
from loadtest.report import Report
from loadtest.resilience import soaked
from loadtest.resilience.churn import BUDGETED, TENANTS, Churn, Paced, at_a_rate, key_of
from loadtest.resilience.soaked import Soaked
from loadtest.servers.processes import (
    Server,
    free_port,
    openai_upstream,
    python,
    running,
    start,
    tiers_config,
    vendor,
)

Look = Callable[[], Awaitable[Vitals]]

SETTLE_S: Final = 40.0
"""Source: aiohttp keeps a client's idle connection for 15 seconds and looks every 15, on both sides
of the sidecar; some looks more."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own flags."""
    parser.add_argument("--minutes", type=float, default=30.0, help="of load (default 30)")
    parser.add_argument("--rests", type=int, default=12, help="that interrupt it (default 12)")
    parser.add_argument("--warm-up", type=float, default=0.2, help="share left out (default 0.2)")
    parser.add_argument("--per-second", type=float, default=30.0, help="requests (default 30)")
    parser.add_argument("--fill", type=int, default=21_000, help="new questions first (21000)")
    parser.add_argument("--look-s", type=float, default=5.0, help="between looks (default 5)")


async def report(args: argparse.Namespace) -> Report:
    """The whole soak; good if nothing grows, nothing is left behind and everybody is answered."""
    return soaked.report(
        await soak(
            fill=args.fill,
            load_s=60 * args.minutes,
            rests=args.rests,
            warm_up=args.warm_up,
            per_second=args.per_second,
            look_s=args.look_s,
            seed=args.seed,
        )
    )


async def soak(
    *,
    fill: int,
    load_s: float,
    rests: int,
    warm_up: float,
    per_second: float,
    look_s: float,
    seed: int,
) -> Soaked:
    """A sidecar of its own under churn for `load_s`, once it was asked `fill` new questions.

    The load comes in as many spells as there are `rests`, each of which follows one.
    """
    with TemporaryDirectory(prefix="sidecar-loadtest-") as name:
        async with _sidecar(Path(name), Random(seed)) as (server, churn), session() as http:

            async def seen() -> Vitals:
                return await look(http, server.process.pid, server.admin_url)

            async def spell(for_s: float) -> Paced:
                return await at_a_rate(churn.one, per_second=per_second, for_s=for_s)

            await churn.fill(fill)
            # Threads and pools come with the first work of each kind; they are no leak.
            await spell(min(60.0, load_s / 4))
            churn.done.clear()
            before, samples, rested, paces = await _at_rest(seen), list[Vitals](), [], []
            for _ in range(rests):
                async with _watched(seen, samples, look_s):
                    paces.append(await spell(load_s / rests))
                rested.append(await _at_rest(seen, before))
    return Soaked(
        before=before,
        samples=samples,
        rests=rested,
        warm_up=warm_up,
        done=dict(churn.done),
        outcomes=dict(churn.outcomes),
        pace=Paced(sum(one.skipped for one in paces), max(one.late_s for one in paces)),
        load_s=load_s,
    )


@contextlib.asynccontextmanager
async def _watched(seen: Look, samples: list[Vitals], look_s: float) -> AsyncIterator[None]:
    """What is done within it is looked at every `look_s`."""

    async def watch() -> None:
        while True:
            samples.append(await seen())
            await asyncio.sleep(look_s)

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def _at_rest(seen: Look, before: Vitals | None = None) -> Vitals:
    """The least of each count in a time of rest; it ends when nothing is left beyond `before`."""
    least, until_s = await seen(), time.monotonic() + SETTLE_S
    while time.monotonic() < until_s and (before is None or soaked.more(least, before)):
        await asyncio.sleep(1.0)
        now = await seen()
        fewer = {name: min(getattr(least, name), getattr(now, name)) for name in soaked.COUNTS}
        least = replace(now, **fewer)
    return least


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
