"""A sidecar with two fronts on one port, in processes of its own, for tests that ask it.

A connection goes to either front, as the kernel likes; each request here has a connection of its
own, so that `EACH` of them meet both but once in four thousand times.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from loadtest.servers.processes import free_port
from tests.integration.conftest import BUNDLE, DEMO, PATIENCE_S

MARKS = [
    pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="Linux alone has memfd"),
    pytest.mark.skipif(not BUNDLE.exists(), reason="no encoder bundle: run `make encoder`"),
]

EACH = 13
TOKEN = "operator"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def cache(self) -> str:
        """What the cache had to do with it."""
        return self.headers.get("x-sidecar-cache", "")


@dataclass(frozen=True, slots=True)
class Site:
    """A sidecar with fronts, in processes of its own."""

    process: subprocess.Popen[bytes]
    config: Path
    port: int
    admin_port: int

    def ask(self, content: str, headers: dict[str, str] | None = None, **fields: Any) -> Answer:
        """One chat request on a connection of its own."""
        body = {"model": "small", "messages": [{"role": "user", "content": content}], **fields}
        return self.post("/v1/chat/completions", body, headers)

    def post(self, path: str, body: Any, headers: dict[str, str] | None = None) -> Answer:
        """Any JSON to any path of the data plane."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        with contextlib.closing(connection):
            told = {"content-type": "application/json", **(headers or {})}
            connection.request("POST", path, json.dumps(body), told)
            response = connection.getresponse()
            named = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, named, response.read())

    def operate(self, method: str, path: str, body: Any = None) -> Any:
        """What the operator plane says."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.admin_port}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"authorization": f"Bearer {TOKEN}", "content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:  # noqa: S310 - as above
            return json.loads(response.read() or b"null")

    def count(self, line: str) -> float:
        """One line of `/metrics`; 0 if it is not there."""
        url = f"http://127.0.0.1:{self.admin_port}/metrics"
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as response:
            told = response.read().decode()
        found = re.search(f"^{re.escape(line)} (.+)$", told, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def fronts(self) -> list[int]:
        """The process ids of the fronts."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(word) for word in path.read_text().split()]


def until(is_so: Callable[[], bool]) -> None:
    """Wait for it; fail if it never comes."""
    end_s = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < end_s, "it never came"
        time.sleep(0.02)


@contextlib.contextmanager
def site(folder: Path, extra: str = "", tiers: str = DEMO) -> Iterator[Site]:
    """A sidecar with two fronts, up."""
    port, admin_port = free_port(), free_port()
    config = folder / "sidecar.toml"
    head = f'[server]\nport = {port}\nadmin_port = {admin_port}\nadmin_token = "{TOKEN}"\n'
    config.write_text(head + f'workers = 2\nstate_dir = "{folder}"\n{extra}{tiers}')
    process = subprocess.Popen([sys.executable, "-m", "sidecar", "--config", str(config)])  # noqa: S603 - our own
    running = Site(process, config, port, admin_port)
    try:
        until(lambda: _is_ready(running))
        yield running
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE_S)
        finally:
            process.kill()  # which is nothing where it has ended


def _is_ready(running: Site) -> bool:
    assert running.process.poll() is None
    with contextlib.suppress(OSError):
        return bool(running.operate("GET", "/readyz")["status"] == "ready")
    return False


def warm(running: Site, content: str, headers: dict[str, str] | None = None, **fields: Any) -> None:
    """Have `content` answered by fronts alone from now on."""
    for _ in range(3):
        running.ask(content, headers, **fields)


def served(running: Site) -> float:
    """What the fronts gave by themselves, as far as they told."""
    return running.count('sidecar_front_requests_total{outcome="served"}')
