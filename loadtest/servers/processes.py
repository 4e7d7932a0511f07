"""Servers that a verb needs, started as processes of their own on free ports and stopped again."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import aiohttp

from loadtest.vendors.provider import PRICES_USD_PER_MTOK

ROOT: Final = Path(__file__).resolve().parents[2]
_PORTS: Final = range(10_000, 32_768)
"""Chosen: below those that Linux gives to connections, of which one may be in the way by the time
that the server listens. Source: ip-sysctl.rst of the kernel, `ip_local_port_range`."""

_STOP_S: Final = 15.0
"""Chosen: longer than a drain of idle connections takes; then the process is killed."""


class NotReady(Exception):
    """A server did not answer in time, or ended; the message says which."""


def free_port() -> int:
    """A port of loopback that nobody has now, and that no connection is given by chance."""
    while True:
        port = random.choice(_PORTS)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


def python(*words: str) -> list[str]:
    """The command that runs `python -m` with this very interpreter."""
    return [sys.executable, "-m", *words]


@dataclass(frozen=True, slots=True)
class Server:
    """A running process, where it answers, and where its operator plane does if it has one."""

    process: subprocess.Popen[bytes]
    url: str
    admin_url: str = ""

    def kill(self) -> None:
        """SIGKILL: no chance to write anything."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL if that is not heard."""
        self.process.terminate()
        try:
            self.process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()


async def start(
    command: Sequence[str], url: str, probe_path: str, *, ready_s: float, log: Path
) -> Server:
    """Start `command` and wait until `url + probe_path` answers 200.

    Raises:
        NotReady: It ended or was too slow; the end of its log is in the message.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603, ASYNC220 - the caller's own command; starting takes no time
            command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT
        )
    server = Server(process, url)
    try:
        async with asyncio.timeout(ready_s):
            while process.poll() is None and not await answers(url + probe_path):  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.05)
    except TimeoutError as fault:
        server.kill()
        raise NotReady(f"{' '.join(command)} was not ready in {ready_s} s{_end(log)}") from fault
    except BaseException:
        server.kill()
        raise
    if process.poll() is not None:
        raise NotReady(f"{' '.join(command)} ended with {process.returncode}{_end(log)}")
    return server


def _end(log: Path) -> str:
    return ":\n" + log.read_text(errors="replace")[-2_000:]


async def answers(url: str) -> bool:
    """`url` answers 200 within two seconds."""
    timeout = aiohttp.ClientTimeout(total=2.0)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as http, http.get(url) as response:
            return response.status == 200  # noqa: PLR2004 - HTTP's own number
    except (aiohttp.ClientError, TimeoutError, ConnectionError):
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """A sidecar to ask.

    Attributes:
        base_url: Ends in `/v1`.
        vendor_url: Base URL of the simulated vendor behind it, if we started that too.
    """

    base_url: str
    vendor_url: str | None = None


@contextlib.asynccontextmanager
async def running(server: Server) -> AsyncIterator[Server]:
    """The server, stopped at the end."""
    try:
        yield server
    finally:
        await asyncio.to_thread(server.stop)


@contextlib.asynccontextmanager
async def vendor(folder: Path, *words: str) -> AsyncIterator[Server]:
    """The simulated vendor on a free port."""
    port = free_port()
    command = python("loadtest", "provider", "--port", str(port), *words)
    url = f"http://127.0.0.1:{port}"
    log = folder / "vendor.log"
    async with running(await start(command, url, "/stats", ready_s=120.0, log=log)) as server:
        yield server


@contextlib.asynccontextmanager
async def own_sidecar(
    folder: Path, upstream: str, *, ready_s: float = 120.0, more: str = "", server: str = ""
) -> AsyncIterator[Server]:
    """A sidecar with a cold cache in `folder`; `upstream` is its `[[upstreams]]` lines.

    `more` is further lines of its configuration, `server` of its first section.
    """
    port, admin_port = free_port(), free_port()
    config = folder / "sidecar.toml"
    text = sidecar_config(folder, port, admin_port, upstream)
    config.write_text(more + text.replace("[server]\n", f"[server]\n{server}", 1))
    command = python("sidecar", "serve", "--config", str(config))
    url = f"http://127.0.0.1:{port}"
    log = folder / "sidecar.log"
    admin_url = f"http://127.0.0.1:{admin_port}"
    # Its operator plane knows when it is ready, and asks nobody for a key.
    started = await start(command, admin_url, "/readyz", ready_s=ready_s, log=log)
    async with running(replace(started, url=url, admin_url=admin_url)) as there:
        yield there


@contextlib.asynccontextmanager
async def find_or_start(
    base_url: str, upstream: str | None = None, *, more: str = ""
) -> AsyncIterator[Stand]:
    """The sidecar at `base_url`, or one of our own where none answers.

    Its upstream is what the lines `upstream` say, or else the simulated vendor; `more` is further
    lines of its configuration.
    """
    if await answers(f"{base_url}/models"):
        yield Stand(base_url=base_url)
        return
    print(f"nobody answers at {base_url}: starting a sidecar of our own", flush=True)
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="sidecar-loadtest-")))
        vendor_url = None
        if upstream is None:
            vendor_url = f"{(await stack.enter_async_context(vendor(folder))).url}/v1"
            upstream = openai_upstream(vendor_url)
        server = await stack.enter_async_context(own_sidecar(folder, upstream, more=more))
        yield Stand(base_url=f"{server.url}/v1", vendor_url=vendor_url)


def openai_upstream(base_url: str) -> str:
    """The config's lines for an OpenAI-compatible upstream."""
    return f'kind = "openai"\nbase_url = "{base_url}"\napi_key = "none"\n'


def replay_upstream(path: Path) -> str:
    """The config's lines for recorded answers."""
    return f'kind = "replay"\npath = "{path.resolve()}"\n'


def sidecar_config(folder: Path, port: int, admin_port: int, upstream: str) -> str:
    """A whole `sidecar.toml`: three tiers at one upstream, all that is written goes to `folder`."""
    return (
        f"[server]\nport = {port}\nadmin_port = {admin_port}\n\n"
        f'[cache.disk]\npath = "{folder / "cache.sqlite"}"\n\n'
        f'[traffic]\ndir = "{folder / "traffic"}"\n\n'
        f'[[upstreams]]\nname = "only"\n{upstream}\n{tiers_config()}'
    )


def tiers_config() -> str:
    """Three tiers at the upstream `only`."""
    return "\n".join(
        f'[[tiers]]\nname = "{name}"\nmodel = "demo-{name}"\nupstreams = ["only"]\n'
        f"price_in_usd_per_mtok = {price_in}\nprice_out_usd_per_mtok = {price_out}\n"
        for name, (price_in, price_out) in PRICES_USD_PER_MTOK.items()
    )
