"""The verb `peers`: six accidents, and what this sidecar and other gateways make of each.

Every gateway stands before a simulated vendor of its own, which counts its calls and who leaves.
What is told is what a caller saw and what the vendor counted; nothing is taken from their papers.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import aiohttp

from loadtest.callers.answers import events
from loadtest.callers.client import in_turns, session
from loadtest.report import Report, Table
from loadtest.servers.gateways import Gateway, litellm, portkey, sidecar
from loadtest.servers.processes import NotReady, Server, vendor

IN_FLIGHT: Final = 20
STORM_REQUESTS: Final = 60
_LEAVERS: Final = 10
_SEEN_S: Final = 2.0
"""Chosen: a tenth of the time that such an answer takes; who is asked on after that is not told."""
_ASKED_S: Final = 20.0
_BIG_BYTES: Final = 64 * 2**20
"""Chosen: four times what the sidecar takes by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a caller got.

    Attributes:
        status: 0 where there was no answer.
        finish: `finish_reason` as it was told; empty if it was not.
        is_done: `[DONE]` came.
        has_error: An error was told, as the body or as an event.
        is_cut: The connection broke.
        text: Of the answer.
    """

    status: int = 0
    finish: str = ""
    is_done: bool = False
    has_error: bool = False
    is_cut: bool = False
    text: str = ""

    @property
    def looks_whole(self) -> bool:
        """A caller has no way to tell that anything is missing."""
        is_ended = self.finish != "" or self.is_done
        return self.status == 200 and not self.has_error and not self.is_cut and is_ended  # noqa: PLR2004 - HTTP's own number

    def __str__(self) -> str:
        """In words."""
        if not self.status:
            return "no answer"
        told = [f"`finish_reason: {self.finish}`"] if self.finish else []
        told += ["`[DONE]`"] if self.is_done else []
        told += ["an error"] if self.has_error else []
        told += ["connection cut"] if self.is_cut else []
        return f"{self.status}, " + (" and ".join(told) or "a clean end, nothing told")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Stage:
    """One gateway, running.

    Attributes:
        gateway: Which.
        server: Its process.
        vendor_url: Ends in `/v1`.
        headers: That every request carries.
        http: To ask both with.
    """

    gateway: Gateway
    server: Server
    vendor_url: str
    headers: Mapping[str, str]
    http: aiohttp.ClientSession

    async def ask(self, question: str, *, stream: bool = False) -> Seen:
        """A question, and what came back."""
        message = {"role": "user", "content": question}
        body = {"model": self.gateway.model, "messages": [message], "stream": stream}
        return await self.send(json.dumps(body).encode())

    async def send(self, body: bytes) -> Seen:
        """Any body, and what came back."""
        url, raw, status = f"{self.server.url}/v1/chat/completions", b"", 0
        headers = {"content-type": "application/json", **self.headers}
        is_cut = False
        try:
            async with self.http.post(url, data=body, headers=headers) as response:
                status = response.status
                async for piece in response.content.iter_any():
                    raw += piece
        except (aiohttp.ClientError, TimeoutError, ConnectionError):
            is_cut = True
        return read(status, raw, is_cut=is_cut)

    async def stats(self) -> dict[str, Any]:
        """What the vendor counted."""
        async with self.http.get(f"{self.vendor_url.removesuffix('/v1')}/stats") as response:
            told: dict[str, Any] = await response.json()
            return told


def read(status: int, raw: bytes, *, is_cut: bool) -> Seen:
    """What these bytes tell a caller, a JSON body or a stream."""
    pieces = [raw] if raw.lstrip().startswith(b"{") else list(events(raw))
    seen = Seen(status=status, is_cut=is_cut, is_done=b"[DONE]" in pieces)
    for piece in pieces:
        try:
            told = json.loads(piece)
        except ValueError:
            continue
        choice = (told.get("choices") or [{}])[0]
        said = choice.get("delta") or choice.get("message") or {}
        seen = replace(
            seen,
            has_error=seen.has_error or "error" in told,
            finish=choice.get("finish_reason") or seen.finish,
            text=seen.text + (said.get("content") or ""),
        )
    return seen


async def _broken_stream(stage: Stage, fault: str) -> str:
    """A stream that breaks midway, and whether it is served again as an answer."""
    question = f"What breaks midway, and how long does it take until somebody sees? [fault:{fault}]"
    seen = await stage.ask(question, stream=True)
    before = (await stage.stats())["calls"]
    await asyncio.sleep(0.5)
    await stage.ask(question, stream=True)
    is_kept = (await stage.stats())["calls"] == before
    told = f"{seen}; {'looks whole' if seen.looks_whole else 'a caller can tell'}"
    return told + ("; **kept, and served again**" if is_kept else "; not kept")


async def stopped_stream(stage: Stage) -> str:
    """The vendor ends it midway as if that were all."""
    return await _broken_stream(stage, "stops")


async def reset_stream(stage: Stage) -> str:
    """The vendor cuts the connection midway."""
    return await _broken_stream(stage, "truncate")


async def caller_leaves(stage: Stage) -> str:
    """Ten leave a stream and ten an answer that drips out; how many calls end at the vendor."""
    told = []
    for stream in (True, False):
        before = await stage.stats()
        asking = await _under_way(stage, [stream] * _LEAVERS)
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        await asyncio.sleep(_SEEN_S)
        left = (await stage.stats())["left"] - before["left"]
        told.append(f"{left} of {_LEAVERS} {'streams' if stream else 'answers'}")
    return ", ".join(told) + f" cancelled within {_SEEN_S:g} s"


async def _under_way(stage: Stage, streams: Sequence[bool]) -> list[asyncio.Task[Seen]]:
    """Questions that drip out over seconds, once the vendor has been asked all of them."""
    before, filler = (await stage.stats())["calls"], "and so on " * 60
    asking = [
        asyncio.create_task(
            stage.ask(f"What is number {number}, {filler}? [fault:drip]", stream=stream)
        )
        for number, stream in enumerate(streams)
    ]
    async with asyncio.timeout(_ASKED_S):
        while (await stage.stats())["calls"] < before + len(streams):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.1)
    return asking


async def storm(stage: Stage) -> str:
    """A vendor that says 429 to everybody, with `retry-after: 1`."""
    before, began_s = (await stage.stats())["calls"], time.monotonic()

    async def one(number: int) -> Seen:
        return await stage.ask(f"Who asks as number {number}? [fault:status=429]")

    seen = await in_turns(range(STORM_REQUESTS), one, at_once=8)
    calls, spent_s = (await stage.stats())["calls"] - before, time.monotonic() - began_s
    statuses = ", ".join(sorted({str(one.status) for one in seen}))
    return f"{calls / STORM_REQUESTS:.2f} calls a request, {spent_s:.0f} s in all; {statuses}"


async def big_body(stage: Stage) -> str:
    """64 MiB of a question."""
    question = "x" * _BIG_BYTES
    before = _peak_mib(stage.server)
    seen = await stage.ask(question)
    grown = _peak_mib(stage.server) - before
    return f"{seen.status or 'connection cut'}, {grown:+.0f} MiB at the most"


async def told_to_end(stage: Stage) -> str:
    """SIGTERM with twenty requests in flight, half of them streams."""
    asking = await _under_way(stage, [number % 2 == 0 for number in range(IN_FLIGHT)])
    began_s = time.monotonic()
    stage.server.process.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.1)
    async with session() as newly:
        late = await replace(stage, http=newly).ask("Who comes too late?")
    seen = await asyncio.gather(*asking)
    await asyncio.to_thread(stage.server.process.wait, 60)
    spent_s = time.monotonic() - began_s
    whole = [sum(one.looks_whole for one in seen[kind::2]) for kind in (0, 1)]
    half = IN_FLIGHT // 2
    newcomer = f"answered {late.status}" if late.status else "refused"
    return (
        f"{whole[0]} of {half} streams and {whole[1]} of {half} answers whole; ended after "
        f"{spent_s:.1f} s; a newcomer is {newcomer}"
    )


def _peak_mib(server: Server) -> float:
    """The most memory that the process ever had."""
    for line in (Path("/proc") / str(server.process.pid) / "status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


ACCIDENTS: Final[Mapping[str, Callable[[Stage], Awaitable[str]]]] = {
    "a stream that stops midway, cleanly": stopped_stream,
    "a stream whose connection is cut midway": reset_stream,
    "the caller leaves": caller_leaves,
    "429 to everybody": storm,
    "a body of 64 MiB": big_body,
    "SIGTERM with 20 in flight": told_to_end,
}
"""What is told of each is one cell of the table."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own flags."""
    parser.add_argument("--litellm", type=Path, metavar="PROGRAM", help="its `litellm` command")
    parser.add_argument("--portkey", type=Path, metavar="SCRIPT", help="its build/start-server.js")


async def report(args: argparse.Namespace) -> Report:
    """All accidents at all gateways that are there. It compares, and finds nobody at fault."""
    gateways = [sidecar()]
    gateways += [litellm(args.litellm)] if args.litellm else []
    gateways += [portkey(args.portkey)] if args.portkey else []
    found = {gateway.name: await endure(gateway) for gateway in gateways}
    rows = [(accident, *(told[accident] for told in found.values())) for accident in ACCIDENTS]
    table = Table(title="Accidents", headings=("", *found), rows=rows)
    return Report(
        title="What gateways make of accidents",
        tables=[table],
        figures={"accidents": found},
        notes=["Each with two retries, one worker, its in-memory cache on, and no database."],
    )


async def endure(gateway: Gateway) -> dict[str, str]:
    """What one gateway makes of each; for each it is started anew, so that none leaves a trace."""
    told = {}
    for accident, meet in ACCIDENTS.items():
        with TemporaryDirectory(prefix="sidecar-loadtest-") as name:
            async with _staged(gateway, Path(name)) as stage:
                if not (await stage.ask("Are you there?")).looks_whole:
                    raise NotReady(f"{gateway.name} does not answer a plain question")
                told[accident] = await meet(stage)
        print(f"{gateway.name}: {accident}: {told[accident]}", flush=True)
    return told


@contextlib.asynccontextmanager
async def _staged(gateway: Gateway, folder: Path) -> AsyncIterator[Stage]:
    async with vendor(folder, "--drip-ms", "250") as upstream, session() as http:
        vendor_url = f"{upstream.url}/v1"
        async with gateway.run(folder, vendor_url) as server:
            headers = gateway.headers(vendor_url)
            yield Stage(
                gateway=gateway, server=server, vendor_url=vendor_url, headers=headers, http=http
            )
