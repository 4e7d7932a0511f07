"""How each gateway is started, configured alike, with the simulated vendor behind it.

Two retries, no database, one worker, its in-memory cache on where it has one. Others than ours are
programs of their own in environments of their own (`peerinstall`): the caller says where they
stand.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loadtest.servers.processes import (
    Server,
    free_port,
    openai_upstream,
    own_sidecar,
    running,
    start,
)

_READY_S: Final = 120.0
_RETRIES: Final = 2
_KEY: Final = "sk-no-secret"


Asks = Callable[[str], tuple[str, dict[str, object]]]
"""A question in, a path and the JSON that is posted there out."""


def chat(question: str) -> tuple[str, dict[str, object]]:
    """OpenAI's."""
    message = {"role": "user", "content": question}
    return "/v1/chat/completions", {"model": "small", "messages": [message]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """One of those compared.

    Attributes:
        name: For the table.
        model: What to ask it for.
        headers: That every request carries, by the vendor's base URL.
        does: What it can be asked for: `exact hits`, `streams` (of those), `semantic hits`, `calls`
            (of the vendor).
        asks: Path and body of a question; where a question is taught, path and body of that.
        run: It, with a folder for its files and the vendor's base URL, which ends in `/v1`.
    """

    name: str
    model: str = "small"
    headers: Callable[[str], Mapping[str, str]] = lambda _: {}
    does: frozenset[str] = frozenset({"exact hits", "streams", "calls"})
    asks: Asks = chat
    teaches: Asks | None = None
    run: Callable[[Path, str], AbstractAsyncContextManager[Server]]


def sidecar(name: str = "this sidecar", more: str = "") -> Gateway:
    """This project's own; `more` is further lines of its configuration."""

    def run(folder: Path, vendor_url: str) -> AbstractAsyncContextManager[Server]:
        upstream = openai_upstream(vendor_url) + f"retries = {_RETRIES}\n"
        return own_sidecar(folder, upstream, more=more)

    return Gateway(name=name, run=run)


def litellm(program: Path) -> Gateway:
    """LiteLLM's proxy; `program` is its `litellm` command."""

    @contextlib.asynccontextmanager
    async def run(folder: Path, vendor_url: str) -> AsyncIterator[Server]:
        config = folder / "litellm.json"  # JSON is YAML too
        config.write_text(json.dumps(_litellm_config(vendor_url)))
        port = free_port()
        command = [str(program), "--config", str(config), "--host", "127.0.0.1"]
        command += ["--port", str(port), "--telemetry", "False"]
        async with _started(command, port, "/health/liveliness", folder / "litellm.log") as server:
            yield server

    return Gateway(name="LiteLLM", headers=lambda _: {"authorization": f"Bearer {_KEY}"}, run=run)


def _litellm_config(vendor_url: str) -> dict[str, object]:
    asked = {"model": "openai/demo-small", "api_base": vendor_url, "api_key": "none"}
    return {
        "model_list": [{"model_name": "small", "litellm_params": asked}],
        "router_settings": {"num_retries": _RETRIES},
        "litellm_settings": {"cache": True, "cache_params": {"type": "local"}},
        "general_settings": {"master_key": _KEY},
    }


def portkey(script: Path) -> Gateway:
    """Portkey's gateway; `script` is its `build/start-server.js`."""

    @contextlib.asynccontextmanager
    async def run(folder: Path, _: str) -> AsyncIterator[Server]:
        port = free_port()
        command = ["node", str(script), f"--port={port}", "--headless"]
        async with _started(command, port, "/", folder / "portkey.log") as server:
            yield server

    return Gateway(name="Portkey", headers=_portkey_headers, run=run)


def gptcache(interpreter: Path, bundle: Path) -> Gateway:
    """GPTCache's own server over the encoder of `bundle`; `interpreter` is that of its environment.

    It calls nobody and knows no exact hit: what was taught is found by its vector each time.
    """
    there = str(bundle.resolve())

    @contextlib.asynccontextmanager
    async def run(folder: Path, _: str) -> AsyncIterator[Server]:
        port = free_port()
        command = [str(interpreter), "-m", "loadtest.servers.gptcached", "--port", str(port)]
        command += ["--bundle", there, "--folder", str(folder)]
        async with _started(command, port, "/", folder / "gptcache.log") as server:
            yield server

    return Gateway(
        name="GPTCache",
        does=frozenset({"exact hits", "semantic hits"}),
        asks=lambda question: ("/get", {"prompt": question}),
        teaches=lambda question: ("/put", {"prompt": question, "answer": "word " * 40}),
        run=run,
    )


def _portkey_headers(vendor_url: str) -> dict[str, str]:
    """Its whole configuration travels with each request."""
    config = {
        "provider": "openai",
        "api_key": "none",
        "custom_host": vendor_url,
        "retry": {"attempts": _RETRIES},
        "cache": {"mode": "simple"},
    }
    return {"x-portkey-config": json.dumps(config)}


@contextlib.asynccontextmanager
async def _started(
    command: list[str], port: int, probe_path: str, log: Path
) -> AsyncIterator[Server]:
    # Loopback hosts are refused by Portkey unless they are named.
    os.environ.setdefault("TRUSTED_CUSTOM_HOSTS", "localhost,127.0.0.1")
    url = f"http://127.0.0.1:{port}"
    server = await start(command, url, probe_path, ready_s=_READY_S, log=log)
    async with running(server):
        yield server
