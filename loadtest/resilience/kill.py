"""The verb `kill`: SIGKILL under load, start again, and see that what was kept is whole and right.

The upstream is the simulated vendor, so each answer names its question. What is asked and changed
before each kill, and what may be served after it, stands in `wreck`. Each life examines what the
one before it left, and is then loaded and killed itself.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import shlex
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Final

import aiohttp

from loadtest.callers.client import session
from loadtest.measures.intervals import exact
from loadtest.report import Report, Table
from loadtest.resilience.place import Place, key_of
from loadtest.resilience.rejection import QUIET, Sum, refusal, reject
from loadtest.resilience.successor import Found, examine
from loadtest.resilience.wreck import TENANTS, Past, Wreck, load
from loadtest.servers.processes import (
    Server,
    free_port,
    openai_upstream,
    python,
    sidecar_config,
    start,
    vendor,
)

_POISON: Final = 8
"""Chosen: complaints in one partition; four in a row shut it, and some may not be served."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One life of the sidecar, ended by SIGKILL, and what its successor served.

    Attributes:
        answered: Questions with whole answers under load before the kill.
        cut_off: Requests that the kill cut off.
        invalidations: That were acknowledged.
        complaints: Likewise.
        foreign: Whole answers, before or after, that name another question.
        found: What the successor served.
        rejected: Pairs rejected by then that were tried.
        served_again: Of them, served by meaning.
        is_off: The partition that was poisoned at first is off; None if that was not tried.
    """

    answered: int
    cut_off: int
    invalidations: int
    complaints: int
    foreign: int
    found: Found
    rejected: int
    served_again: int
    is_off: bool | None

    @property
    def is_good(self) -> bool:
        """Nothing was served that must not be, and of what should be, something was."""
        found = self.found
        wrong = found.torn + found.resurrected + found.outlived + self.foreign + self.served_again
        goes_on = found.hits > 0 or not found.asked_again  # the changes may have taken all of it
        return wrong == 0 and goes_on and self.is_off is not False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own flags."""
    parser.add_argument(
        "--command",
        default="",
        help="starts the sidecar that --base-url reaches, with a disk cache and the simulated "
        "vendor as upstream; without it, one with a configuration of its own, which is also "
        "changed under load",
    )
    parser.add_argument("--rounds", type=int, default=3, help="kills (default 3)")
    parser.add_argument(
        "--load-s", type=float, default=5.0, help="load before each, at most (default 5)"
    )
    parser.add_argument(
        "--settle-s",
        type=float,
        default=2.0,
        help="answers younger than this when the kill came may be lost (default 2)",
    )
    parser.add_argument(
        "--ttl-s", type=float, default=30.0, help="time to live in our own configuration (30)"
    )
    parser.add_argument("--at-once", type=int, default=8, help="requests in flight (default 8)")
    parser.add_argument("--ready-s", type=float, default=120.0, help="time to start (default 120)")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """How to start the sidecar, again and again."""

    command: Sequence[str]
    root_url: str
    admin_url: str
    log: Path
    ready_s: float

    async def start(self) -> Server:
        # With tenants of its own, the data plane answers nobody without a key.
        url, path = (self.admin_url, "/readyz") if self.admin_url else (self.root_url, "/v1/models")
        return await start(self.command, url, path, ready_s=self.ready_s, log=self.log)

    def place(self, http: aiohttp.ClientSession) -> Place:
        return Place(http=http, base_url=f"{self.root_url}/v1", admin_url=self.admin_url)


@dataclass(slots=True, eq=False)
class _Left:
    """What earlier lives left behind."""

    wreck: Wreck
    old: list[Past] = field(default_factory=list)
    rejected: list[Sum] = field(default_factory=list)
    is_poisoned: bool = False


async def report(args: argparse.Namespace) -> Report:
    """All rounds; good if nothing was served that must not be, and hits went on in each."""
    rng = Random(args.seed)
    rounds: list[Round] = []
    async with _way(args) as way, session(timeout_s=20.0) as http:
        place, left = way.place(http), _Left(Wreck())
        for number in range(args.rounds + 1):
            server = await way.start()
            try:
                if number:
                    rounds.append(await _examined(args, place, left, rng))
                if number < args.rounds:
                    await _lived(args, place, left, rng, server)
            finally:
                server.kill()
    return Report(
        title="kill -9 under load",
        tables=[_table(rounds)],
        figures={"rounds": [_figures(one) for one in rounds], "sums": _sums(rounds)},
        notes=[f"Kept: answered at least {args.settle_s} s before the kill."],
        is_good=all(one.is_good for one in rounds) and any(one.found.hits for one in rounds),
    )


async def _lived(
    args: argparse.Namespace, place: Place, left: _Left, rng: Random, server: Server
) -> None:
    """Load the sidecar and kill it, at an instant that is drawn."""
    left.old += [past for past in left.wreck.pasts if past.answered_at and not past.gone]
    if place.admin_url:
        await _rejected(place, left, rng)
    shortest = min(args.load_s, args.settle_s + 0.5)  # else nothing would be claimed
    load_s = rng.uniform(shortest, args.load_s)
    left.wreck = await load(place, rng, load_s=load_s, at_once=args.at_once, kill=server.kill)


async def _rejected(place: Place, left: _Left, rng: Random) -> None:
    """Reject one more pair; at first, so many that their partition shuts itself off."""
    if not left.is_poisoned:
        for number in range(_POISON):
            left.is_poisoned |= await reject(place, ("poisoned", 31 + number, 400))
    one = (f"round-{rng.randrange(2**40):010x}", rng.randrange(100, 900), rng.randrange(100, 900))
    if await reject(place, one):
        left.rejected.append(one)


async def _examined(args: argparse.Namespace, place: Place, left: _Left, rng: Random) -> Round:
    oldest_at = asyncio.get_running_loop().time() - args.ttl_s - 1.0
    old = [past for past in left.old if past.answered_at and past.begun_at < oldest_at]
    left.old = [past for past in left.old if past.begun_at >= oldest_at]
    found = await examine(
        place,
        left.wreck,
        old if place.admin_url else [],
        rng,
        settle_s=args.settle_s,
        ttl_s=args.ttl_s if place.admin_url else math.inf,
        at_once=args.at_once,
    )
    tried = left.rejected[-1:] + rng.sample(left.rejected[:-1], min(1, len(left.rejected[:-1])))
    refused = [await refusal(place, one) for one in tried]
    is_off = None
    if left.is_poisoned:
        fresh = ("poisoned", rng.randrange(1_000, 9_000), rng.randrange(1_000, 9_000))
        is_off = (await refusal(place, fresh)).startswith("off")
    counts = left.wreck.counts
    return Round(
        answered=left.wreck.answered,
        cut_off=counts["cut_off"],
        invalidations=counts["invalidations"],
        complaints=counts["complaints"],
        foreign=counts["foreign"] + found.foreign,
        found=found,
        rejected=len(tried),
        served_again=sum(not reason for reason in refused),
        is_off=is_off,
    )


@contextlib.asynccontextmanager
async def _way(args: argparse.Namespace) -> AsyncIterator[_Way]:
    with TemporaryDirectory(prefix="sidecar-loadtest-") as name:
        folder = Path(name)
        log = folder / "sidecar.log"
        if args.command:
            yield _Way(
                command=shlex.split(args.command),
                root_url=args.base_url.removesuffix("/v1"),
                admin_url="",
                log=log,
                ready_s=args.ready_s,
            )
            return
        async with vendor(folder) as upstream:
            port, admin_port, config = free_port(), free_port(), folder / "sidecar.toml"
            lines = openai_upstream(f"{upstream.url}/v1")
            config.write_text(_more(args.ttl_s) + sidecar_config(folder, port, admin_port, lines))
            yield _Way(
                command=python("sidecar", "serve", "--config", str(config)),
                root_url=f"http://127.0.0.1:{port}",
                admin_url=f"http://127.0.0.1:{admin_port}",
                log=log,
                ready_s=args.ready_s,
            )


def _more(ttl_s: float) -> str:
    """The tenants, and what makes each answer's end known."""
    tenants = "".join(
        f'[[tenants]]\nname = "{name}"\nkeys = ["{key_of(name)}"]\n\n' for name in (*TENANTS, QUIET)
    )
    cache = f"[cache]\nttl_s = {ttl_s}\nttl_jitter_ratio = 0.0\n\n"
    return tenants + cache + "[cache.lookup]\nbudget_s = 30.0\n\n"


def _figures(one: Round) -> dict[str, Any]:
    told = asdict(one)
    found = told.pop("found")
    return {**found, **told}


def _sums(rounds: Sequence[Round]) -> dict[str, int]:
    rows = [_figures(one) for one in rounds]
    return {name: sum(int(row[name] or 0) for row in rows) for name in (rows[0] if rows else ())}


def _table(rounds: Sequence[Round]) -> Table:
    headings = (
        "round",
        "answered",
        "cut off",
        "changes",
        "kept: hits",
        "taken back: served",
        "expired: served",
        "rejected pairs: served",
        "poisoned partition",
        "foreign",
        "torn",
    )
    rows = [_row(str(number), _figures(one)) for number, one in enumerate(rounds, start=1)]
    return Table(
        title="Rounds", headings=headings, rows=[*rows, _row("all", _sums(rounds), len(rounds))]
    )


def _row(name: str, told: dict[str, Any], rounds: int = 1) -> tuple[str, ...]:
    off = told["is_off"]
    return (
        name,
        str(told["answered"]),
        str(told["cut_off"]),
        str(told["invalidations"] + told["complaints"]),
        str(exact(told["hits"], told["asked_again"])),
        f"{told['resurrected']} of {told['asked_for_gone']}",
        f"{told['outlived']} of {told['asked_for_old']}",
        f"{told['served_again']} of {told['rejected']}",
        "-" if off is None else f"off in {int(off)} of {rounds}",
        str(told["foreign"]),
        str(told["torn"]),
    )
