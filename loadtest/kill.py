"""The verb `kill`: SIGKILL under load, start again, and see that what was kept is whole and right.

The upstream is the simulated vendor, so each answer names its question. Semantic hits are shut out
by a similarity that only the same text reaches: an answer to another question is then always a
fault.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shlex
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Final

import aiohttp

from loadtest.answers import Reply
from loadtest.client import ask, in_turns, session
from loadtest.intervals import wilson
from loadtest.processes import (
    Server,
    free_port,
    openai_upstream,
    python,
    sidecar_config,
    start,
    vendor,
)
from loadtest.provider import answer_to
from loadtest.report import Report, Table

_HEADERS: Final = {"x-sidecar-similarity": "1.0"}
_CHECKED: Final = 500
"""Chosen: answers asked again after each start; a few seconds' work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One life of the sidecar, ended by SIGKILL, and what its successor served.

    Attributes:
        answered: Whole answers under load before the kill.
        broken: Requests that the kill cut off.
        asked_again: Questions answered well before the kill, asked of the successor.
        hits: Of those, served from what was kept.
        foreign: Whole answers, before or after, that name another question.
        corrupt: Answers after the start that are no whole answer, or errors.
    """

    answered: int
    broken: int
    asked_again: int
    hits: int
    foreign: int
    corrupt: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own flags."""
    parser.add_argument(
        "--command",
        default="",
        help="starts the sidecar that --base-url reaches, with a disk cache and the simulated "
        "vendor as upstream; without it, one with a configuration of its own",
    )
    parser.add_argument("--rounds", type=int, default=3, help="kills (default 3)")
    parser.add_argument("--load-s", type=float, default=5.0, help="load before each (default 5)")
    parser.add_argument(
        "--settle-s",
        type=float,
        default=2.0,
        help="answers younger than this when the kill came may be lost (default 2)",
    )
    parser.add_argument("--at-once", type=int, default=8, help="requests in flight (default 8)")
    parser.add_argument("--ready-s", type=float, default=120.0, help="time to start (default 120)")


@dataclass(frozen=True, slots=True)
class _Way:
    """How to start the sidecar, again and again."""

    command: Sequence[str]
    root_url: str
    log: Path
    ready_s: float

    async def start(self) -> Server:
        return await start(
            self.command, self.root_url, "/v1/models", ready_s=self.ready_s, log=self.log
        )

    @property
    def base_url(self) -> str:
        return f"{self.root_url}/v1"


async def report(args: argparse.Namespace) -> Report:
    """All rounds; good if nothing foreign or corrupt was served and hits went on in each."""
    rng = Random(args.seed)
    async with _way(args) as way, session(timeout_s=20.0) as http:
        rounds = [await _round(args, way, http, rng) for _ in range(args.rounds)]
    is_good = all(r.foreign == r.corrupt == 0 and r.hits > 0 for r in rounds)
    headings = ("round", "answered", "cut off", "asked again", "hits", "foreign", "corrupt")
    rows = [
        (
            *(str(number), str(r.answered), str(r.broken), str(r.asked_again)),
            *(str(wilson(r.hits, r.asked_again)), str(r.foreign), str(r.corrupt)),
        )
        for number, r in enumerate(rounds, start=1)
    ]
    return Report(
        title="kill -9 under load",
        tables=[Table(title="Rounds", headings=headings, rows=rows)],
        figures={"rounds": [asdict(r) for r in rounds]},
        notes=[f"Asked again: answered at least {args.settle_s} s before the kill."],
        is_good=is_good,
    )


@contextlib.asynccontextmanager
async def _way(args: argparse.Namespace) -> AsyncIterator[_Way]:
    with TemporaryDirectory(prefix="sidecar-loadtest-") as name:
        folder = Path(name)
        log = folder / "sidecar.log"
        if args.command:
            root_url = args.base_url.removesuffix("/v1")
            yield _Way(shlex.split(args.command), root_url, log, args.ready_s)
            return
        async with vendor(folder) as upstream:
            port, config = free_port(), folder / "sidecar.toml"
            lines = openai_upstream(f"{upstream.url}/v1")
            config.write_text(sidecar_config(folder, port, free_port(), lines))
            command = python("sidecar", "serve", "--config", str(config))
            yield _Way(command, f"http://127.0.0.1:{port}", log, args.ready_s)


async def _round(
    args: argparse.Namespace, way: _Way, http: aiohttp.ClientSession, rng: Random
) -> Round:
    nonce = f"{rng.randrange(2**40):010x}"
    loop = asyncio.get_running_loop()
    answered: dict[str, float] = {}
    faults = {"broken": 0, "foreign": 0}
    stopped = asyncio.Event()

    async def load(sender: int) -> None:
        dice = Random(f"{nonce}/{sender}")
        for count in range(1_000_000):
            if stopped.is_set():
                return
            # Half of them again: reads and writes of the kept answers must mix.
            again = answered and dice.random() < 0.5  # noqa: PLR2004 - the half that was said
            question = (
                dice.choice(list(answered)[-50:])
                if again
                else f"What is number {count} of row {sender} in book {nonce}?"
            )
            reply = await ask(
                http,
                way.base_url,
                question,
                headers=_HEADERS,
                stream=dice.random() < 0.3,  # noqa: PLR2004 - a third
            )
            if reply.is_whole:
                answered.setdefault(question, loop.time())
                faults["foreign"] += reply.text != answer_to(question)
            else:
                faults["broken"] += 1
                await asyncio.sleep(0.01)

    server = await way.start()
    async with asyncio.TaskGroup() as senders:
        for sender in range(args.at_once):
            senders.create_task(load(sender))
        await asyncio.sleep(args.load_s)
        killed_at = loop.time()
        server.kill()
        stopped.set()
    settled = [q for q, at in answered.items() if at < killed_at - args.settle_s]
    again = rng.sample(settled, min(_CHECKED, len(settled)))
    server = await way.start()
    try:

        async def check(question: str) -> tuple[str, Reply]:
            return question, await ask(http, way.base_url, question, headers=_HEADERS)

        checked = await in_turns(again, check, at_once=args.at_once)
    finally:
        # The last life of a round ends roughly too: the next round starts on what it left.
        server.kill()
    return Round(
        answered=len(answered),
        broken=faults["broken"],
        asked_again=len(checked),
        hits=sum(reply.is_hit for _, reply in checked),
        foreign=faults["foreign"]
        + sum(reply.is_whole and reply.text != answer_to(q) for q, reply in checked),
        corrupt=sum(not reply.is_whole for _, reply in checked),
    )
