"""A sidecar in a process of its own, as anybody would start it, for those who try to upset it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from loadtest.servers.processes import Server, free_port
from tests.integration.conftest import BUNDLE, DEMO

START_S = 300.0


@dataclass(frozen=True, slots=True)
class Target:
    """Where both planes answer, and what the process said so far."""

    url: str
    admin_url: str
    log: Path

    def at(self, path: str) -> str:
        """The plane that serves `path`."""
        return self.url if path.startswith("/v1/") else self.admin_url

    def unforeseen(self) -> list[str]:
        """Lines of the log about faults that nobody foresaw."""
        lines = self.log.read_text("utf-8").splitlines()
        return [line for line in lines if "unforeseen" in line or "Traceback" in line]


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """The demo tiers behind a real sidecar."""
    if not BUNDLE.exists():
        pytest.skip("no encoder bundle in .sidecar/encoder: run `make encoder`")
    folder = tmp_path_factory.mktemp("fuzz")
    port, admin_port = free_port(), free_port()
    config, log = folder / "sidecar.toml", folder / "sidecar.log"
    head = (
        f"[server]\nport = {port}\nadmin_port = {admin_port}\n\n"
        f'[cache.disk]\npath = "{folder / "cache.sqlite"}"\n\n'
        f'[traffic]\ndir = "{folder / "traffic"}"\n\n'
    )
    config.write_text(head + DEMO)
    found = Target(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin_port}", log)
    command = [sys.executable, "-m", "sidecar", "serve", "--config", str(config)]
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own command
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=BUNDLE.parents[2],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    try:
        _wait_until_ready(found, process)
        yield found
    finally:
        Server(process, found.url).stop()


def _wait_until_ready(target: Target, process: subprocess.Popen[bytes]) -> None:
    end_s = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < end_s:
        try:
            with urlopen(f"{target.admin_url}/readyz"):  # noqa: S310 - our own address
                return
        except (URLError, ConnectionError):
            time.sleep(0.1)  # another process has no event to wait for
    pytest.fail("the sidecar did not start: " + target.log.read_text("utf-8")[-2_000:])
