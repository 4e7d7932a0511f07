"""Texts from the event loop in, encoded on as many threads as there are lanes; works as ever.

One thread owns the index (`Batcher`); encoding needs nothing that it owns, and takes longer than
all else. With two lanes or more it is done on threads of its own, each text on one: a short text is
too little work to share between threads, and a run gives Python's lock away. What is then done with
the encoding, and every other work, is done by the owner, as with one lane.

1. A text's `then` comes after the works that were handed in before the text, as in `Batcher`;
   works handed in after it may come first.
2. A long text lets short ones pass that come a little later, by its length, and no others: none
   waits for ever.
3. One lane is none: at idle the hop from a lane to the owner costs 0.1 ms, and brings nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import queue
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

from sidecar.encoder.batcher import Batcher
from sidecar.encoder.bundle import EncoderConfig
from sidecar.encoder.encoding import Encoder, Encoding
from sidecar.encoder.jobs import TextJob
from sidecar.encoder.report import BatcherHook, Deaf
from sidecar.encoder.texts import Texts
from sidecar.encoder.threads import threads_for
from sidecar.errors import EncoderError
from sidecar.process.niceness import ENCODING, give_way

T = TypeVar("T")

DEFER_S_PER_CHAR: Final = 1e-4
"""Chosen: a page of 1,500 characters, 20 ms of a thread, lets the questions of 150 ms pass."""

DEFERRED_CHARS: Final = 2_000
"""Chosen: what fills the window, more or less; beyond it a text takes no longer."""


def batcher_for(
    encoder: Encoder, config: EncoderConfig, *, hook: BatcherHook | None = None
) -> Batcher:
    """The batcher that suits `encoder`: lanes where texts run alone and there are threads."""
    count = threads_for(config)
    if encoder.together or count == 1:
        return Batcher(encoder, config, hook=hook)
    return Lanes(encoder, config, count=count, hook=hook)


class _Turn(NamedTuple):
    """When a text is due; the sooner asked first where two are due at once. None ends a lane."""

    due_s: float
    number: int
    job: TextJob | None


class Lanes(Batcher):
    """A Batcher whose texts are encoded on `count` threads beside its own."""

    def __init__(
        self,
        encoder: Encoder,
        config: EncoderConfig,
        *,
        count: int,
        hook: BatcherHook | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """`encoder` may be used by several threads at once, and gains nothing from company."""
        super().__init__(encoder, config, hook=hook, clock=clock)
        self._count = count
        self._lane_clock = clock
        self._most = config.max_queue
        self._lane_hook: BatcherHook = hook or Deaf()
        self._waiting: queue.PriorityQueue[_Turn] = queue.PriorityQueue()
        self._numbers = itertools.count()
        self._lanes: list[threading.Thread] = []
        self._running: asyncio.AbstractEventLoop | None = None
        self._work = Texts(encoder, config, self._lane_hook, clock, self._told)

    def start(self) -> None:
        """See Batcher."""
        super().start()
        self._running = asyncio.get_running_loop()
        self._lanes = [
            threading.Thread(target=self._encode_off, name=f"encoder-{place}", daemon=True)
            for place in range(self._count)
        ]
        for lane in self._lanes:
            lane.start()

    async def close(self) -> None:
        """See Batcher: what was queued first is done."""
        lanes, self._lanes = self._lanes, []
        for _ in lanes:
            self._waiting.put(_Turn(math.inf, next(self._numbers), None))
        for lane in lanes:
            while lane.is_alive():  # noqa: ASYNC110 - it ends by itself, and has no event to tell
                await asyncio.sleep(0.001)
        await super().close()

    @property
    def waiting(self) -> int:
        """Works and texts that are queued and not begun."""
        return super().waiting + self._waiting.qsize()

    async def encode(self, text: str, then: Callable[[Encoding], T]) -> T:
        """See Batcher."""
        if self._running is None or not self._lanes:
            raise EncoderError("closed")
        if self._waiting.qsize() >= self._most:
            self._lane_hook.on_full()
            raise EncoderError("full")
        waiting, asked_s = self._running.create_future(), self._lane_clock()
        due_s = asked_s + DEFER_S_PER_CHAR * min(len(text), DEFERRED_CHARS)
        job = TextJob(text, then, waiting, asked_s)
        self._waiting.put(_Turn(due_s, next(self._numbers), job))
        result: T = await waiting
        return result

    def _told(self, call: Callable[..., None], *args: Any) -> None:
        assert self._running is not None  # noqa: S101 - the lanes run, so `start` was called
        with contextlib.suppress(RuntimeError):  # as in Batcher
            self._running.call_soon_threadsafe(call, *args)

    # From here on: a lane's thread.

    def _encode_off(self) -> None:
        give_way(ENCODING)
        while (job := self._waiting.get().job) is not None:
            taken, _ = self._work.take(job, None)
            for batch in self._work.batches(taken):
                for each, encoding in self._work.encoded(batch):
                    self.hand_in(partial(each.then, encoding), each.waiting)
