"""The verb `budget`: two hundred callers at once, one budget, and the vendor's own bill beside it.

The vendor is the simulated one, which adds up the tokens of every answer that it made, also of
those that nobody heard to the end. Each question is new, so that none is a hit. The last row kills
the sidecar (`kill -9`) midway and starts it again on the same files.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Final

import aiohttp

from loadtest.callers.client import ask, in_turns, session
from loadtest.report import Report, Table
from loadtest.servers.processes import (
    Server,
    openai_upstream,
    own_sidecar,
    vendor,
)
from loadtest.vendors.provider import PRICES_USD_PER_MTOK

_KEY: Final = {"authorization": "Bearer sk-budget"}
_MAX_TOKENS: Final = 64
_VENDOR_MS: Final = "200"
_MTOK: Final = 1_000_000
_OK: Final = 200
_REFUSED: Final = 429
_LEAVE_S: Final = 1.0
"""Of a caller who leaves, the longest stay: some go before the vendor has answered, some after."""


_WRITTEN_S: Final = 0.6
"""Chosen: what is older is to be in writing: each half second, and a tenth for the write itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How the money is spent.

    Attributes:
        name: For the table.
        limit_usd: The tenant's budget.
        leavers: Share of callers who leave midway.
        fault: Of a tenth of the vendor's calls; empty for none.
        is_killed: The sidecar is, midway.
    """

    name: str
    limit_usd: str
    leavers: float = 0.0
    fault: str = ""
    is_killed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What came of it.

    Attributes:
        requests: That were sent.
        answered: With 200.
        refused: With `insufficient_quota`.
        billed_usd: By the vendor.
        counted_usd: By the sidecar.
        reserved_usd: What it still held back at the end.
        unwritten_usd: The vendor's bill of the moment before a kill, which may go uncounted.
    """

    requests: int
    answered: int
    refused: int
    billed_usd: Decimal
    counted_usd: Decimal
    reserved_usd: Decimal
    unwritten_usd: Decimal = Decimal(0)

    def holds(self, limit_usd: Decimal) -> bool:
        """Nothing was spent uncounted, and nothing beyond the limit."""
        return self.billed_usd - self.unwritten_usd <= self.counted_usd <= limit_usd


WAYS: Final = (
    Way(name="all stay", limit_usd="0.05"),
    Way(name="a third of the callers leaves", limit_usd="0.05", leavers=0.33),
    Way(name="a tenth of the answers breaks off", limit_usd="0.05", fault="truncate"),
    Way(name="the sidecar is killed midway", limit_usd="0.30", is_killed=True),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own flags."""
    parser.add_argument("--requests", type=int, default=2_000, help="a row (default 2000)")
    parser.add_argument("--at-once", type=int, default=200, help="in flight (default 200)")


async def report(args: argparse.Namespace) -> Report:
    """All ways, each with a sidecar and a vendor of its own; good if each budget holds."""
    seen = [(way, await spend(args, way)) for way in WAYS]
    headings = ("way", "requests", "answered", "refused", "limit", "vendor's bill", "counted")
    rows = [
        (
            *(way.name, str(told.requests), str(told.answered), str(told.refused)),
            *(f"${way.limit_usd}", f"${told.billed_usd:f}", f"${told.counted_usd:f}"),
        )
        for way, told in seen
    ]
    return Report(
        title=f"One budget, {args.at_once} callers at once",
        tables=[Table(title="Money", headings=headings, rows=rows)],
        figures={"ways": [asdict(way) | _plain(asdict(told)) for way, told in seen]},
        notes=[
            "Refused: 429 insufficient_quota. The rest of the requests left, or met a fault.",
            "Counted: by the sidecar; above the bill where a call ended before it told its usage.",
            "A kill may cost the count what was spent since it was last written: each half second.",
            f"The vendor's bill of the last moment before it: ${seen[-1][1].unwritten_usd:f}.",
        ],
        is_good=all(told.holds(Decimal(way.limit_usd)) for way, told in seen),
    )


def _plain(told: dict[str, Any]) -> dict[str, Any]:
    return {name: str(v) if isinstance(v, Decimal) else v for name, v in told.items()}


async def spend(args: argparse.Namespace, way: Way) -> Spent:
    """One way, with a sidecar and a vendor of its own."""
    words = ["--latency-ms", _VENDOR_MS, "--seed", str(args.seed)]
    words += ["--fault", way.fault, "--fault-share", "0.1"] if way.fault else []
    more = f'[[tenants]]\nname = "t"\nkeys = ["sk-budget"]\nbudget_usd = {way.limit_usd}\n'
    with TemporaryDirectory(prefix="sidecar-loadtest-") as name:
        folder = Path(name)
        async with vendor(folder, *words) as upstream, session(120.0) as http:
            lines = openai_upstream(f"{upstream.url}/v1")
            crowd = _Crowd(way, args, http, Random(args.seed))
            killed_at = args.requests // 2 if way.is_killed else 0
            unwritten_usd = Decimal(0)
            if killed_at:
                async with own_sidecar(folder, lines, more=more) as sidecar:
                    killing = asyncio.create_task(_killed(http, upstream, sidecar, killed_at // 2))
                    await crowd.ask(sidecar, range(killed_at))
                    written_usd = await killing
                unwritten_usd = _bill(await _stats(http, upstream)) - written_usd
            async with own_sidecar(folder, lines, more=more) as sidecar:
                await crowd.ask(sidecar, range(killed_at, args.requests))
                counted_usd, reserved_usd = await _counted(http, sidecar)
            billed_usd = _bill(await _stats(http, upstream))
    return Spent(
        requests=args.requests,
        answered=crowd.statuses[_OK],
        refused=crowd.statuses[_REFUSED],
        billed_usd=billed_usd,
        counted_usd=counted_usd,
        reserved_usd=reserved_usd,
        unwritten_usd=unwritten_usd,
    )


@dataclass(slots=True)
class _Crowd:
    """Callers, so many at once, who ask what nobody asked before; `statuses` is what they heard."""

    way: Way
    args: argparse.Namespace
    http: aiohttp.ClientSession
    dice: Random
    statuses: Counter[int] = field(default_factory=Counter)

    async def ask(self, sidecar: Server, numbers: range) -> None:
        await in_turns(numbers, lambda n: self._one(sidecar, n), at_once=self.args.at_once)

    async def _one(self, sidecar: Server, number: int) -> None:
        asking = ask(
            self.http,
            f"{sidecar.url}/v1",
            f"What is number {number} in book {self.args.seed}?",
            model=self.dice.choice(["small", "large", "auto"]),
            headers=_KEY,
            max_tokens=_MAX_TOKENS,
            stream=self.dice.choice([True, False]),
        )
        leaves = self.dice.random() < self.way.leavers
        stay_s = self.dice.uniform(0.0, _LEAVE_S) if leaves else None
        with suppress(TimeoutError):
            async with asyncio.timeout(stay_s):
                self.statuses[(await asking).status] += 1


async def _killed(
    http: aiohttp.ClientSession, upstream: Server, sidecar: Server, calls: int
) -> Decimal:
    """Once the vendor has been asked so often; its bill as it was in writing then."""
    bills: list[tuple[float, Decimal]] = []
    while (stats := await _stats(http, upstream))["calls"] < calls:
        bills.append((time.monotonic(), _bill(stats)))
        await asyncio.sleep(0.02)
    sidecar.kill()
    before_s = time.monotonic() - _WRITTEN_S
    return max((bill for at_s, bill in bills if at_s < before_s), default=Decimal(0))


async def _stats(http: aiohttp.ClientSession, upstream: Server) -> dict[str, Any]:
    async with http.get(f"{upstream.url}/stats") as response:
        stats: dict[str, Any] = await response.json()
        return stats


def _bill(stats: Mapping[str, Any]) -> Decimal:
    """What the vendor has billed by then, at the sidecar's own prices."""
    bill = Decimal(0)
    for model, (tokens_in, tokens_out) in stats["tokens"].items():
        price_in, price_out = PRICES_USD_PER_MTOK[model.removeprefix("demo-")]
        bill += (Decimal(price_in) * tokens_in + Decimal(price_out) * tokens_out) / _MTOK
    return bill


async def _counted(http: aiohttp.ClientSession, sidecar: Server) -> tuple[Decimal, Decimal]:
    """Spent and reserved, once what was cut off has been settled."""
    for _ in range(100):
        async with http.get(f"{sidecar.admin_url}/admin/budgets") as response:
            (told,) = (await response.json())["budgets"]
        reserved_usd = Decimal(told["total"]["reserved_usd"])
        if not reserved_usd:
            break
        await asyncio.sleep(0.05)
    return Decimal(told["total"]["spent_usd"]), reserved_usd
