"""The clock of the tests' own loop: nothing is late because the machine was."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from tests.patience import PatientDeadline, PatientLoop


async def rounds(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_every_test_has_it() -> None:
    """Or what it promises would hold for nobody."""
    assert isinstance(asyncio.get_running_loop(), PatientLoop)


async def test_while_nothing_could_run_no_time_passes() -> None:
    """However long the machine was elsewhere, what is ready comes before the timer."""
    async with asyncio.timeout(0.1):
        time.sleep(0.2)  # noqa: ASYNC251 - as if the process had been stopped
        await rounds(20)


async def test_what_came_meanwhile_is_heard_first() -> None:
    """Stopped while it waits, with much to do when it goes on: the timer is not due yet."""
    reader, writer = await asyncio.open_connection(sock=(ends := socket.socketpair())[0])
    async with asyncio.timeout(0.1):
        ends[1].send(b"x")
        time.sleep(0.2)  # noqa: ASYNC251 - as above
        assert await reader.readexactly(1) == b"x"
        await rounds(20)
    ends[1].close()
    writer.close()
    await writer.wait_closed()


async def test_what_never_comes_is_late() -> None:
    """A loop that stands idle is a loop whose time passes, to the instant that was asked for."""
    loop = asyncio.get_running_loop()
    begun_s = loop.time()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await asyncio.Event().wait()
    assert loop.time() - begun_s >= 0.05


async def test_who_polls_does_not_stop_the_clock() -> None:
    """A round in which there was something to do counts, too, if little."""
    is_due = asyncio.Event()
    asyncio.get_running_loop().call_later(0.02, is_due.set)
    while not is_due.is_set():
        await asyncio.sleep(0)
    assert is_due.is_set()


async def test_a_deadline_by_it_is_ahead_however_late_it_is_looked_at() -> None:
    """Or what a test asks of the last ten milliseconds would be asked of none."""
    deadline = PatientDeadline.after_s(0.05)
    time.sleep(0.1)  # noqa: ASYNC251 - as above
    assert deadline.remaining_s() == pytest.approx(0.05, abs=0.01)
    await asyncio.sleep(0.05)
    assert deadline.remaining_s() < 0.001
