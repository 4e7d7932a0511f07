"""What a fault is tried on: a sidecar process, the vendor behind it, its files, and a light load.

Callers ask questions of their own, new and again, whole and as streams. Of each request is noted
what came of it, and whether the vendor had given its answer: an answer that the vendor gave and
nobody got is lost.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any, Final

import aiohttp

from loadtest.callers.answers import Reply, read
from loadtest.servers.processes import (
    Server,
    free_port,
    openai_upstream,
    python,
    sidecar_config,
    start,
)
from loadtest.vendors.badvendor import BadVendor

KEY: Final = {"authorization": "Bearer sk-faults"}
EXACT_ONLY: Final = {"x-sidecar-similarity": "1.0"}
"""Hits by meaning are shut out: an answer to another question is then always a fault."""

CACHED: Final = {"cache-control": "only-if-cached"}
_NONE: Final[Mapping[str, str]] = {}
_FAULTY: Final = 400
AGAIN: Final = 0.3
STREAMED: Final = 0.4
"""Chosen: shares of requests, so that hits and misses, JSON and streams mix."""

_LIMITS: Final = (
    "timeouts = { connect_s = 1.0, first_token_s = 1.0, read_s = 1.0, total_s = 8.0 }\n"
    "breaker = { max_open_s = 2.0, key_open_s = 1.0 }\n"
)
"""Chosen: short, so that a fault shows within the seconds that it lasts; all else is default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What came of one request.

    Attributes:
        question: Of it.
        outcome: `answered`, `502`, `broken stream`, `no connection`, `hung up`, `torn`, `foreign`.
        is_kept: It was answered before the fault began.
        is_lost: The vendor gave its answer meanwhile, and this was not it.
    """

    question: str
    outcome: str
    is_kept: bool = False
    is_lost: bool = False


def outcome(reply: Reply, body: bytes, texts: set[str]) -> str:
    """One word for what a caller heard; `texts` are the answers that the vendor gave to it."""
    if reply.is_whole:
        return "answered" if reply.text in texts else "foreign"
    if reply.status >= _FAULTY:
        return str(reply.status) if _is_error(body) else "odd error"
    last = body.strip().rsplit(b"\n\n", 1)[-1]
    return "broken stream" if _is_error(last.removeprefix(b"data: ")) else "torn"


def _is_error(body: bytes) -> bool:
    """OpenAI's error object."""
    try:
        return isinstance(json.loads(body)["error"]["message"], str)
    except (ValueError, KeyError, TypeError):
        return False


@dataclass(slots=True, eq=False)
class Stage:
    """The sidecar under load, its vendor and its files."""

    folder: Path
    vendor: BadVendor
    http: aiohttp.ClientSession
    port: int = field(default_factory=free_port)
    admin_port: int = field(default_factory=free_port)
    process: Server | None = None

    @property
    def url(self) -> str:
        """Of the data plane."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def config(self) -> Path:
        """Its file."""
        return self.folder / "sidecar.toml"

    @property
    def control(self) -> Path:
        """What the libraries below the sidecar look at; see `loadtest.resilience.sabotage`."""
        return self.folder / "control"

    @property
    def pid(self) -> int:
        """Of the sidecar."""
        assert self.process is not None  # noqa: S101 - it is started first
        return self.process.process.pid

    def write_config(self, *, base_url: str = "", folder: Path | None = None) -> None:
        """The config; with another upstream, or with all that is written in another folder."""
        where = base_url or f"http://127.0.0.1:{self.vendor.port}/v1"
        lines = openai_upstream(where) + _LIMITS
        text = sidecar_config(folder or self.folder, self.port, self.admin_port, lines)
        text = text.replace("[server]\n", "[server]\ndrain_s = 10.0\n")
        tenant = '[[tenants]]\nname = "t"\nkeys = ["sk-faults"]\nbudget_usd = 1000.0\n\n'
        self.config.write_text(tenant + text)

    async def begin(self) -> None:
        """Start the sidecar on its files."""
        self.control.touch()
        command = python(
            "loadtest.resilience.sabotage", str(self.control), "serve", "--config", str(self.config)
        )
        admin_url = f"http://127.0.0.1:{self.admin_port}"
        log = self.folder / "sidecar.log"
        self.process = await start(command, admin_url, "/readyz", ready_s=60.0, log=log)

    async def stop(self) -> None:
        """SIGTERM, and its end."""
        if self.process is not None:
            await asyncio.to_thread(self.process.stop)

    async def restart(self) -> None:
        """SIGTERM, and a new one on the same files."""
        await self.stop()
        await self.begin()

    def tell(self, number: signal.Signals) -> None:
        """A signal to the sidecar."""
        os.kill(self.pid, number)

    async def ask(
        self, question: str, *, is_stream: bool = False, headers: Mapping[str, str] = _NONE
    ) -> Heard:
        """One request as a caller sends it."""
        given = self.vendor.book.given[question]
        body = {"model": "auto", "messages": [{"role": "user", "content": question}]}
        told = {**KEY, **EXACT_ONLY, **headers}
        try:
            async with self.http.post(
                f"{self.url}/chat/completions", json={**body, "stream": is_stream}, headers=told
            ) as response:
                raw = await response.read()
                reply = read(response.status, response.headers, raw, latency_ms=0.0)
            word = outcome(reply, raw, self.vendor.book.said[question])
        except aiohttp.ClientConnectorError:
            word = "no connection"
        except TimeoutError:
            word = "no word"
        except aiohttp.ClientError:
            word = "hung up"
        is_lost = word != "answered" and self.vendor.book.given[question] > given
        return Heard(question=question, outcome=word, is_lost=is_lost)

    async def metrics(self) -> dict[str, float]:
        """The sidecar's own counters, by name and labels."""
        async with self.http.get(f"http://127.0.0.1:{self.admin_port}/metrics") as response:
            lines = (await response.text()).splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    async def counted_usd(self) -> Decimal:
        """What the sidecar says was spent, once nothing is reserved any more."""
        url = f"http://127.0.0.1:{self.admin_port}/admin/budgets"
        for _ in range(100):
            async with self.http.get(url) as response:
                (told,) = (await response.json())["budgets"]
            if not Decimal(told["total"]["reserved_usd"]):
                break
            await asyncio.sleep(0.05)
        return Decimal(told["total"]["spent_usd"])


@dataclass(slots=True, eq=False)
class Crowd:
    """Callers, some at once, until told to stop; what each heard, by when.

    Attributes:
        heard: Of the current phase; whoever begins another takes it away.
        kept: Questions that were answered before the fault.
    """

    stage: Stage
    name: str
    at_once: int = 4
    heard: list[Heard] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    _stopped: asyncio.Event = field(default_factory=asyncio.Event)
    _knows_kept: bool = False

    async def run(self) -> None:
        """Ask until `stop`."""
        async with asyncio.TaskGroup() as callers:
            for caller in range(self.at_once):
                callers.create_task(self._caller(caller))

    def stop(self) -> None:
        """Let those under way end, and begin no more."""
        self._stopped.set()

    def next_phase(self) -> list[Heard]:
        """What was heard so far; from now on a new list is filled."""
        heard, self.heard = self.heard, []
        if not self._knows_kept:
            self.kept = [one.question for one in heard if one.outcome == "answered"]
            self._knows_kept = True
        return heard

    async def _caller(self, caller: int) -> None:
        dice, number = Random(f"{self.name}/{caller}"), 0
        while not self._stopped.is_set():
            mine = self.kept[caller :: self.at_once]
            is_kept = bool(mine) and dice.random() < AGAIN
            number += 1
            fresh = f"What is number {number} of row {caller} in book {self.name}?"
            question = dice.choice(mine) if is_kept else fresh
            one = await self.stage.ask(question, is_stream=dice.random() < STREAMED)
            self.heard.append(
                Heard(question=question, outcome=one.outcome, is_kept=is_kept, is_lost=one.is_lost)
            )
            await asyncio.sleep(dice.uniform(0.01, 0.05))


def tally(heard: list[Heard]) -> Counter[str]:
    """How often each outcome came."""
    return Counter(one.outcome for one in heard)


async def recovered_s(stage: Stage, name: str, *, at_most_s: float = 30.0) -> float | None:
    """Seconds until the first of three new questions in a row that are answered; None if never."""
    began_s, run, first_s = time.monotonic(), 0, 0.0
    number = 0
    while time.monotonic() - began_s < at_most_s:
        number += 1
        one = await stage.ask(f"Is it well again, {name}, the {number}th time?")
        first_s = first_s if run else time.monotonic() - began_s
        run = run + 1 if one.outcome == "answered" else 0
        if run == 3:  # noqa: PLR2004 - see above
            return first_s
        await asyncio.sleep(0.02)
    return None


def problem_of(told: dict[str, Any]) -> str:
    """Why a row is not good; empty if it is."""
    reasons = [
        ("answers lost", told["lost"] and not told["may_lose"]),
        ("something partial or foreign was kept", told["kept_wrong"]),
        ("billed less than the vendor", told["under_billed"]),
        ("it did not recover", told["recovery_s"] is None),
        ("a caller heard what no caller should", told["odd"]),
        ("what was kept was not served", told["kept_refused"]),
        ("callers noticed", told["noticed"]),
    ]
    return ", ".join(name for name, is_so in reasons if is_so)
