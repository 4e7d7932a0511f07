"""Where it listens: how many it takes in a turn, and that it takes none once it has stopped."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop
from aiohttp import web

from sidecar.web.connections import TAKEN_AT_ONCE, BoundedSite

CROWD = 4 * TAKEN_AT_ONCE

At = tuple[str, int] | Path | socket.socket


def listener() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0), backlog=2 * CROWD)


def address(_folder: Path) -> At:
    return "127.0.0.1", 0


def opened(_folder: Path) -> At:
    made = listener()
    made.setblocking(False)  # noqa: FBT003 - the library's own
    return made


def path(folder: Path) -> At:
    return folder / "door"


@asynccontextmanager
async def listening(at: At) -> AsyncIterator[tuple[web.AppRunner, BoundedSite]]:
    runner = web.AppRunner(web.Application())
    await runner.setup()
    site = BoundedSite(runner, at, max_connections=2 * CROWD)
    try:
        await site.start()
        yield runner, site
    finally:
        await runner.cleanup()


def connected(where: tuple[str, int] | str) -> socket.socket:
    caller = socket.socket(socket.AF_UNIX if isinstance(where, str) else socket.AF_INET)
    try:
        caller.settimeout(30)
        caller.connect(where)
    except OSError:
        caller.close()
        raise
    return caller


def taken(runner: web.AppRunner) -> int:
    assert runner.server is not None
    return len(runner.server.connections)


@pytest.mark.parametrize("at", [address, opened, path])
def test_a_crowd_is_taken_in_few_turns(at: Callable[[Path], At], tmp_path: Path) -> None:
    """On the loop that serves, where one handle takes one connection a turn."""

    async def turns() -> int:
        async with listening(at(tmp_path)) as (runner, _):
            callers = [connected(runner.addresses[0]) for _ in range(CROWD)]
            count = 0
            while taken(runner) < CROWD and count < 10 * CROWD:
                await asyncio.sleep(0)
                count += 1
            for caller in callers:
                caller.close()
            return count

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        assert CROWD / TAKEN_AT_ONCE <= loop.run(turns()) <= CROWD // 2


@pytest.mark.parametrize("at", [address, opened, path])
async def test_none_is_taken_once_it_has_stopped(at: Callable[[Path], At], tmp_path: Path) -> None:
    """By none of its handles."""
    async with listening(at(tmp_path)) as (runner, site):
        where = runner.addresses[0]
        connected(where).close()
        await site.stop()
        await asyncio.sleep(0)
        with pytest.raises(OSError, match="refused"):
            connected(where)
