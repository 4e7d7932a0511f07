"""SIGTERM under load, to real processes: whoever had asked is answered, and nobody is cut off."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from loadtest.callers.client import session
from loadtest.servers.processes import (
    Server,
    free_port,
    openai_upstream,
    python,
    running,
    sidecar_config,
    start,
    vendor,
)
from tests.integration.conftest import BUNDLE

pytestmark = pytest.mark.skipif(not BUNDLE.exists(), reason="no encoder bundle: run `make encoder`")

CALLERS = 12
PLACES = 3
"""So that most of them stand in line."""


@asynccontextmanager
async def sidecar(folder: Path, upstream: str, workers: int) -> AsyncIterator[Server]:
    """A sidecar with few places and a long line."""
    port, admin_port, config = free_port(), free_port(), folder / "sidecar.toml"
    told = sidecar_config(folder, port, admin_port, upstream)
    more = f"workers = {workers}\nmax_in_flight = {PLACES}\nqueue_timeout_s = 60.0\n"
    config.write_text(told.replace("[server]\n", f"[server]\n{more}"))
    command = python("sidecar", "serve", "--config", str(config))
    url, log = f"http://127.0.0.1:{admin_port}", folder / "sidecar.log"
    server = await start(command, url, "/readyz", ready_s=120.0, log=log)
    async with running(Server(server.process, f"http://127.0.0.1:{port}", url)) as up:
        yield up


class Caller:
    """Asks again and again on one connection, until nobody listens any more."""

    def __init__(self, url: str, name: str) -> None:
        self._url = f"{url}/v1/chat/completions"
        self._name = name
        self.is_answered = asyncio.Event()
        self.answers = 0
        self.lost: list[str] = []

    async def go_on(self) -> None:
        """Every second answer is a stream that takes its time."""
        async with session() as http:
            while not self.lost:
                try:
                    whole = await self._ask(http, stream=self.answers % 2 == 1)
                except aiohttp.ClientConnectorError:
                    return
                except (aiohttp.ClientError, ConnectionError, TimeoutError) as fault:
                    self.lost.append(repr(fault))
                    return
                if not whole:
                    self.lost.append("an answer that is not whole")
                self.answers += 1
                self.is_answered.set()

    async def _ask(self, http: aiohttp.ClientSession, *, stream: bool) -> bool:
        asked = f"{self._name}, {self.answers}" + (" [fault:drip]" if stream else "")
        body = {
            "model": "small",
            "stream": stream,
            "messages": [{"role": "user", "content": asked}],
        }
        async with http.post(self._url, json=body) as response:
            said = await response.read()
            return response.status == 200 and (not stream or said.endswith(b"[DONE]\n\n"))


@pytest.mark.parametrize("workers", [1, 2])
async def test_sigterm_under_load_loses_nothing(tmp_path: Path, workers: int) -> None:
    """Those inside and those in line, whole answers and streams; then nobody listens, and it ends.

    All callers keep their connections: each is told on it that this answer was the last.
    """
    if workers > 1 and not hasattr(os, "memfd_create"):
        pytest.skip("more than one worker needs Linux")
    async with (
        vendor(tmp_path, "--latency-ms", "100", "--drip-ms", "50") as upstream,
        sidecar(tmp_path, openai_upstream(f"{upstream.url}/v1"), workers) as server,
        session() as http,
        asyncio.TaskGroup() as tasks,
    ):
        callers = [Caller(server.url, f"caller {number}") for number in range(CALLERS)]
        for caller in callers:
            tasks.create_task(caller.go_on())
        await asyncio.gather(*(caller.is_answered.wait() for caller in callers))
        before = sum(caller.answers for caller in callers)
        server.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(server.process.wait) == 0
        async with http.get(f"{upstream.url}/stats") as response:
            calls = (await response.json())["calls"]
    assert [caller.lost for caller in callers if caller.lost] == []
    assert sum(caller.answers for caller in callers) == calls >= before + CALLERS
