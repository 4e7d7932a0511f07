"""A whole sidecar in the test's own loop: the real encoder, upstreams of the test's choice."""

from __future__ import annotations

import asyncio
import logging
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from sidecar.app import Sidecar, data_plane
from sidecar.assembly.lasting import Lasting, build_lasting
from sidecar.config.file import parse_config
from sidecar.config.sections import Config
from sidecar.web.given import Givens
from sidecar.web.listen import Door
from tests.integration.vendor import Vendors

PATIENCE_S = 300.0
"""What is waited for at most where only a fault of ours takes longer."""

DEMO = """
[cache.lookup]
budget_s = 60.0 # as `unhurried` says, for sidecars in processes of their own

[[upstreams]]
name = "demo"
kind = "demo"
speed = 0.0

[[tiers]]
name = "small"
model = "demo-small"
upstreams = ["demo"]
price_in_usd_per_mtok = 0.2
price_out_usd_per_mtok = 0.2

[[tiers]]
name = "medium"
model = "demo-medium"
upstreams = ["demo"]
price_in_usd_per_mtok = 0.9
price_out_usd_per_mtok = 0.9

[[tiers]]
name = "large"
model = "demo-large"
upstreams = ["demo"]
price_in_usd_per_mtok = 2.5
price_out_usd_per_mtok = 10.0
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: Any


@dataclass(frozen=True, slots=True)
class Running:
    """A sidecar that is up, and a caller of it."""

    url: str
    lasting: Lasting
    session: aiohttp.ClientSession
    givens: Givens

    async def ask(
        self, content: str, headers: dict[str, str] | None = None, **fields: Any
    ) -> Answer:
        """One chat request to `auto`, unless `fields` say otherwise."""
        body = {"model": "auto", "messages": [{"role": "user", "content": content}], **fields}
        return await self.post("/v1/chat/completions", body, headers)

    async def post(self, path: str, body: Any, headers: dict[str, str] | None = None) -> Answer:
        """Any JSON to any path."""
        async with self.session.post(self.url + path, json=body, headers=headers) as response:
            told = {name.lower(): value for name, value in response.headers.items()}
            is_json = response.content_type == "application/json"
            return Answer(
                response.status, told, await (response.json() if is_json else response.text())
            )

    async def settled(self) -> None:
        """Wait until the index holds what was kept: it follows memory a moment later."""
        await self.lasting.batcher.run(lambda: None)


def unhurried(told: dict[str, Any]) -> dict[str, Any]:
    """A slow machine must not turn a hit into a miss: threads get the time that they need."""
    cache = told.setdefault("cache", {})
    cache.setdefault("lookup", {}).setdefault("budget_s", PATIENCE_S)
    if "disk" in cache:
        cache["disk"].setdefault("budget_s", PATIENCE_S)
    return told


async def opened(
    config: Config, sidecar: Sidecar, lasting: Lasting, until: AsyncExitStack
) -> tuple[str, Givens]:
    """The data plane's own door on any port; its root, and what it gives again."""
    givens = Givens(sidecar.pipeline, lasting.admission)
    app = data_plane(config, sidecar, lasting, givens=givens)
    door = Door(app, "127.0.0.1", 0, max_connections=1_000, givens=givens)
    port = await door.open()
    until.push_async_callback(door.close)
    return f"http://127.0.0.1:{port}", givens


BUNDLE = Path(__file__).parents[2] / ".sidecar" / "encoder" / "manifest.json"

Start = Callable[..., Awaitable[Running]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts a sidecar from TOML; may be called several times in one test."""
    if not BUNDLE.exists():
        pytest.skip("no encoder bundle in .sidecar/encoder: run `make encoder`")
    async with AsyncExitStack() as stack:

        async def started(
            text: str = DEMO, extra: str = "", until: AsyncExitStack = stack
        ) -> Running:
            told = unhurried(tomllib.loads(extra + text))
            # Where a test means to explore it says so; else the dice have no say in what it sees.
            told.setdefault("router", {}).setdefault("exploration", 0.0)
            config = parse_config(told)
            lasting = await build_lasting(config, until, logging.getLogger("test"))
            sidecar = Sidecar(config, lasting, lambda: config)
            url, givens = await opened(config, sidecar, lasting, until)
            session = await until.enter_async_context(aiohttp.ClientSession())
            return Running(url, lasting, session, givens)

        yield started
        await asyncio.sleep(0)


@pytest.fixture
async def vendors() -> AsyncIterator[Vendors]:
    """Who fails as the test says; at the end nobody is kept hanging."""
    yield (told := Vendors())
    told.gone.set()


@pytest.fixture
async def root(vendors: Vendors) -> AsyncIterator[str]:
    """Where the vendors are."""
    async with TestServer(vendors.app()) as server:
        yield str(server.make_url("")).rstrip("/")
