"""Work on a thread of one's own."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from sidecar.process.works import done_on


async def test_it_gives_what_the_work_gives_and_raises_what_it_raises() -> None:
    """On the thread that was named."""
    with ThreadPoolExecutor(1, thread_name_prefix="named") as thread:
        assert (await done_on(thread, lambda: threading.current_thread().name)).startswith("named")
        assert await done_on(thread, int, "11", base=2) == 3
        with pytest.raises(ValueError, match="invalid literal"):
            await done_on(thread, int, "x")


async def test_what_whoever_asked_for_left_is_done_all_the_same() -> None:
    """Also where the thread had not begun it yet."""
    go, told = threading.Event(), list[int]()
    with ThreadPoolExecutor(1) as thread:
        busy = thread.submit(go.wait, 60.0)
        waiting = asyncio.ensure_future(done_on(thread, told.append, 1))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert (waiting.cancelled(), told) == (True, [])
        go.set()
    assert (busy.result(), told) == (True, [1])
