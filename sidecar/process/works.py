"""Blocking work in, what it gives out, done on the thread of whoever owns what it works on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def done_on(thread: Executor, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `work` gives or raises, done on `thread` to its end even if whoever awaits it leaves.

    Cancelled before the thread took it up, a change would be lost untold: the file must follow
    memory all the same.
    """
    doing = asyncio.get_running_loop().run_in_executor(thread, partial(work, *args, **kwargs))
    return await asyncio.shield(doing)
