"""Callers who ask for long answers and read nothing, at a real process: they cost themselves alone.

An answer is longer than what the kernel takes of it for a socket, so that it lies in the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import resource
import select
import socket
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from loadtest.callers.client import ask, session
from loadtest.servers.processes import Server, openai_upstream, own_sidecar
from tests.integration.conftest import BUNDLE, PATIENCE_S
from tests.patience import until

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="reads /proc; fronts need Linux"),
    pytest.mark.skipif(not BUNDLE.exists(), reason="no encoder bundle: run `make encoder`"),
]

STUCK = 8
SEND_S = 2.0
KERNEL_TAKES_BYTES = int(Path("/proc/sys/net/ipv4/tcp_wmem").read_text().split()[2])
LONG = "word " * ((KERNEL_TAKES_BYTES + 2_000_000) // 5)
CHUNK_CHARACTERS = 50_000
EACH_TAKES_MIB = 6 * len(LONG) / 2**20
"""Measured: 2 to 4 of its lengths on two shared cores; before it is written it is also parsed."""

HEAD = {"id": "v", "object": "chat.completion.chunk", "created": 1, "model": "m"}
USAGE = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}


class _Vendor:
    """Gives as long an answer as the question wants, whole or as a stream; `go` holds long ones."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.go.set()

    async def chat(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        is_long = "long" in asked["messages"][-1]["content"]
        if is_long:
            await self.go.wait()
        text = LONG if is_long else "Four."
        if not asked.get("stream"):
            message = {"role": "assistant", "content": text}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            whole = {**HEAD, "object": "chat.completion", "choices": [choice], "usage": USAGE}
            return web.json_response(whole)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for begin in range(0, len(text), CHUNK_CHARACTERS):
            await response.write(_event({"content": text[begin : begin + CHUNK_CHARACTERS]}, None))
        await response.write(_event({}, "stop") + b"data: [DONE]\n\n")
        return response


def _event(delta: dict[str, str], finish: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({**HEAD, "choices": [choice]}).encode() + b"\n\n"


@dataclass(frozen=True, slots=True)
class Stand:
    """A sidecar before that vendor, and a session to ask it with."""

    server: Server
    http: aiohttp.ClientSession
    vendor: _Vendor

    async def answer_to(self, question: str, *, stream: bool = False) -> str:
        """What somebody hears who reads."""
        url = f"{self.server.url}/v1"
        reply = await ask(self.http, url, question, model="small", stream=stream)
        assert reply.is_whole, reply
        return reply.text

    async def in_flight(self) -> float:
        """Places that are taken."""
        async with self.http.get(f"{self.server.admin_url}/metrics") as response:
            told = re.search(r"^sidecar_in_flight (\S+)$", await response.text(), re.MULTILINE)
        assert told is not None
        return float(told[1])

    async def until_in_flight(self, is_so: Callable[[float], bool]) -> None:
        """Wait for it; fail if it never comes."""
        end_s = time.monotonic() + PATIENCE_S
        while not is_so(await self.in_flight()):
            assert time.monotonic() < end_s, "it never came"
            await asyncio.sleep(0.05)

    def memory_mib(self) -> float:
        """Of the process and its fronts."""
        pid = self.server.process.pid
        fronts = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        pages = [Path(f"/proc/{each}/statm").read_text().split()[1] for each in (pid, *fronts)]
        return sum(map(int, pages)) * resource.getpagesize() / 2**20

    def ask_and_read_nothing(self, question: str, *, stream: bool) -> socket.socket:
        """A connection that has asked."""
        port = int(self.server.url.rpartition(":")[2])
        line = socket.socket()
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        # The kernel ends a connection without a word to whoever does not take it: ask it whether.
        line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
        line.connect(("127.0.0.1", port))
        turns = [{"role": "user", "content": question}]
        body = json.dumps({"model": "small", "stream": stream, "messages": turns}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n"
        line.sendall(head.encode() + b"content-type: application/json\r\n\r\n" + body)
        return line


@contextlib.asynccontextmanager
async def _standing(folder: Path, workers: int) -> AsyncIterator[Stand]:
    told, app = _Vendor(), web.Application()
    app.router.add_post("/v1/chat/completions", told.chat)
    server = f"send_timeout_s = {SEND_S}\nmax_in_flight = {2 * STUCK}\nworkers = {workers}\n"
    async with TestServer(app) as vendor, session(PATIENCE_S) as http:
        upstream = openai_upstream(str(vendor.make_url("/v1")))
        async with own_sidecar(folder, upstream, server=server) as running:
            yield Stand(running, http, told)


def _ended(line: socket.socket) -> bool:
    """It was ended from the other side before all was there; what the kernel has may be read."""
    heard = 0
    with contextlib.suppress(ConnectionError):
        while some := line.recv(2**20):
            heard += len(some)
    return heard < len(LONG)


@pytest.mark.parametrize("workers", [1, 2])
async def test_who_reads_nothing_is_given_up_and_nobody_else_waits(
    tmp_path: Path, workers: int
) -> None:
    """Eight long answers, half of them streams: others are served, places and memory come back."""
    async with _standing(tmp_path, workers) as stand, contextlib.AsyncExitStack() as stack:
        await stand.answer_to("What is 2 plus 2?")
        assert await stand.answer_to("a long one, read to its end") == LONG
        assert await stand.answer_to("a long stream, read to its end", stream=True) == LONG
        before_mib = stand.memory_mib()
        stand.vendor.go.clear()
        lines = [
            stack.enter_context(
                contextlib.closing(
                    stand.ask_and_read_nothing(f"a long one, the {n}.", stream=n % 2 == 0)
                )
            )
            for n in range(STUCK)
        ]
        await stand.until_in_flight(lambda taken: taken == STUCK)
        stand.vendor.go.set()
        await until(lambda: len(select.select(lines, [], [], 0.0)[0]) == STUCK)  # all have begun
        assert await stand.answer_to("What is 2 plus 2?") == "Four."
        assert await stand.answer_to("What is 2 plus 3?", stream=True) == "Four."
        grown_mib = stand.memory_mib() - before_mib
        await stand.until_in_flight(lambda taken: taken == 0)
        assert all([await asyncio.to_thread(_ended, line) for line in lines])
        assert grown_mib < STUCK * EACH_TAKES_MIB
