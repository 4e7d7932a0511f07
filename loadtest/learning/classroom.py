"""A sidecar with a registry, and what is done to it: questions, feedback, and `train` beside it.

Everything stands in one folder: recording, log, registry, artifacts.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

import aiohttp

from loadtest.callers.client import ask, in_turns, post
from loadtest.learning.dials import FRESH, is_right
from loadtest.learning.lessons import Line
from loadtest.servers.processes import ROOT, NotReady, Server, python

REFUSED: Final = 3
"""Source: `python -m train promote`: its exit status where the gate refuses."""

BATCH: Final = 50
"""Chosen: requests between two looks at what the sidecar makes of them."""

MAX_TRIAL: Final = 4_000
"""Chosen: requests after which a trial that has come to no end is told as such."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One question, and what the headers said of its answer."""

    right: float
    cost_usd: float
    version: str
    reason: str

    @classmethod
    def read(cls, headers: Mapping[str, str], *, right: float) -> Sent:
        """From an answer's headers."""
        return cls(
            right=right,
            cost_usd=float(headers.get("x-sidecar-cost-usd", "0")),
            version=headers.get("x-sidecar-router", ""),
            reason=headers.get("x-sidecar-tier-reason", "").split(":")[0].split(";")[0].strip(),
        )


@dataclass(frozen=True, slots=True)
class Run:
    """Questions that were sent one after the other."""

    sent: Sequence[Sent]

    @property
    def versions(self) -> Counter[str]:
        """By `x-sidecar-router`, how many."""
        return Counter(one.version for one in self.sent)

    @property
    def right(self) -> float:
        """The share answered rightly."""
        return sum(one.right for one in self.sent) / max(1, len(self.sent))

    @property
    def usd_per_1k(self) -> float:
        """Mean cost of 1,000."""
        return 1e3 * sum(one.cost_usd for one in self.sent) / max(1, len(self.sent))

    def by(self, version: str) -> Run:
        """Those that this version decided."""
        return Run([one for one in self.sent if one.version == version])

    def share(self, reason: str) -> float:
        """How many were decided for this reason."""
        return sum(one.reason == reason for one in self.sent) / max(1, len(self.sent))


@dataclass(slots=True, eq=False, kw_only=True)
class Classroom:
    """The sidecar and whoever teaches it.

    Attributes:
        folder: Where everything stands.
        server: The sidecar.
        http: A client.
        rng: Draws who gives feedback.
        feedback: Share of the answers that are judged.
        at_once: Requests in flight.
    """

    folder: Path
    server: Server
    http: aiohttp.ClientSession
    rng: Random
    feedback: float
    at_once: int

    @property
    def traffic(self) -> Path:
        """The log."""
        return self.folder / "traffic"

    @property
    def registry(self) -> Path:
        """What was released."""
        return self.folder / "registry"

    async def send(self, rows: Sequence[Line]) -> Run:
        """Ask each row, and judge some of the answers by what the rows know."""
        return Run(await in_turns(rows, self._asked, at_once=self.at_once))

    async def _asked(self, row: Line) -> Sent:
        base_url = f"{self.server.url}/v1"
        headers = {**FRESH, "x-sidecar-debug": "1"}
        reply = await ask(self.http, base_url, row["query"], headers=headers)
        right = is_right(row, reply)
        if reply.is_whole and self.rng.random() < self.feedback:
            told = {
                "request_id": reply.headers["x-sidecar-request-id"],
                "score": right,
                "correct_answer": str(row["gold"]),
            }
            await post(self.http, f"{base_url}/feedback", told)
        return Sent.read(reply.headers, right=right)

    async def send_until(
        self, rows: Iterator[Line], is_over: Callable[[Mapping[str, Any]], bool]
    ) -> tuple[Run, bool]:
        """Batches until `/admin/router` says so; with whether it did."""
        sent: list[Sent] = []
        while len(sent) < MAX_TRIAL:
            sent += (await self.send([next(rows) for _ in range(BATCH)])).sent
            await asyncio.sleep(0.05)
            if is_over(await self.router()):
                return Run(sent), True
        return Run(sent), False

    async def router(self) -> dict[str, Any]:
        """`/admin/router`."""
        return await self._read("/admin/router")

    async def drift(self) -> dict[str, Any]:
        """`/admin/router/drift`, by kind."""
        told = (await self._read("/admin/router/drift"))["kinds"]
        return dict(told)

    async def _read(self, path: str) -> dict[str, Any]:
        async with self.http.get(self.server.admin_url + path) as response:
            return dict(await response.json())

    async def metrics(self, *names: str) -> dict[str, float]:
        """Those of the sidecar's metrics whose names begin so."""
        async with self.http.get(self.server.admin_url + "/metrics") as response:
            lines = (await response.text()).splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if line.startswith(names))
        return {name: float(value) for name, value in pairs}


async def train(*words: str) -> tuple[int, dict[str, Any]]:
    """`python -m train` with `--json`: its exit status and what it printed.

    Raises:
        NotReady: It failed.
    """
    command = [*python("train", *words), "--json"]
    running = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=ROOT
    )
    told, faults = await running.communicate()
    if running.returncode not in {0, REFUSED}:
        raise NotReady(f"train {' '.join(words)}: {faults.decode(errors='replace')[-1_000:]}")
    return running.returncode or 0, json.loads(told.decode().splitlines()[-1])
