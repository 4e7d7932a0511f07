"""What the tests' own hooks promise, of tests that are run to see it."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TWO = """
import asyncio, gc
import aiohttp

async def test_of_one_that_fails():
    session = aiohttp.ClientSession()
    reader, writer = await asyncio.open_connection("127.0.0.1", 0 if session.closed else PORT)
    raise AssertionError

def test_of_one_that_comes_after_it():
    gc.collect()
"""


def test_what_a_failed_test_left_open_strikes_no_other_one(tmp_path: Path) -> None:
    """One failure is one, however many connections it did not come to close."""
    path = tmp_path / "test_two.py"
    with socket.create_server(("127.0.0.1", 0)) as listening:
        path.write_text(TWO.replace("PORT", str(listening.getsockname()[1])))
        words = ["-c", "pyproject.toml", "-p", "no:cacheprovider", "-p", "no:randomly"]
        command = [sys.executable, "-m", "pytest", *words, "-p", "tests.conftest", str(path)]
        done = subprocess.run(  # noqa: S603 - our own words
            command, cwd=ROOT, capture_output=True, text=True, check=False
        )
    assert "1 failed, 1 passed" in done.stdout
