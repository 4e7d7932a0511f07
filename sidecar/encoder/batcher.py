"""Texts and small works from the event loop in, their results out, by the one thread that encodes.

The thread owns the encoder and whatever else is only touched through `then`, `run` and `post` (the
cache's index, say), so that none of it needs a lock.

1. Works are done in the order in which they were handed in. What was posted before a text was asked
   about is done before that text's `then`.
2. What waits when the thread comes by is taken, up to `at_once_tokens` or the next work that is
   no text: at idle it is one text, and nobody waits for company. It is run shortest first, in
   batches within the token budget or, where texts do not run together (`Encoder.together`), alone.
3. A caller who left before its batch began is neither encoded nor answered; who leaves later is
   not answered.
4. A fault in `then` or in a work goes to its caller alone. A fault of one text's tokens goes to
   that caller, a fault of the run to each caller in that batch. The thread lives on.
5. The queue has a bound; beyond it the caller is told at once. Closing does what was queued first.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from sidecar.encoder.bundle import EncoderConfig
from sidecar.encoder.encoding import Encoder, Encoding
from sidecar.encoder.jobs import Job, Last, TextJob, WorkJob, settle
from sidecar.encoder.report import BatcherHook, Deaf
from sidecar.encoder.texts import Texts
from sidecar.errors import EncoderError
from sidecar.process.niceness import ENCODING, give_way

T = TypeVar("T")


class Batcher:
    """Hands works to the thread "encoder" and their results back to the event loop.

    Every method is called on the event loop's thread.
    """

    def __init__(
        self,
        encoder: Encoder,
        config: EncoderConfig,
        *,
        hook: BatcherHook | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._max_queue = config.max_queue
        self._hook: BatcherHook = hook or Deaf()
        self._clock = clock
        self._texts = Texts(encoder, config, self._hook, clock, self._tell)
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._ended: asyncio.Future[None] | None = None

    def start(self) -> None:
        """Start the thread; from here on this event loop is the only one that may ask."""
        assert self._thread is None  # noqa: S101 - a bug of ours: started twice
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        self._thread = threading.Thread(target=self._work_off, name="encoder", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Do what is queued, then end the thread; what is asked from now on is refused."""
        thread, self._thread = self._thread, None
        if thread is None or self._ended is None:
            return
        self._jobs.put(Last())
        # Shielded: a caller of `close` who is cancelled leaves a thread that ends by itself.
        await asyncio.shield(self._ended)
        thread.join()

    @property
    def waiting(self) -> int:
        """Works that are queued and not begun."""
        return self._jobs.qsize()

    async def encode(self, text: str, then: Callable[[Encoding], T]) -> T:
        """What `then` makes, on the encoder's thread, of this text's encoding.

        Raises:
            EncoderError: The queue is full, the batcher is closed, or the encoder failed.
        """
        waiting = self._new_future()
        self._jobs.put(TextJob(text, then, waiting, self._clock()))
        result: T = await waiting
        return result

    async def run(self, work: Callable[[], T]) -> T:
        """What `work` returns, done on the encoder's thread between two batches.

        Raises:
            EncoderError: The queue is full or the batcher is closed.
        """
        result: T = await self.begin(work)
        return result

    def begin(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Have `work` done there in its turn; its result, to be awaited or cancelled.

        Raises:
            EncoderError: The queue is full or the batcher is closed.
        """
        waiting = self._new_future()
        self._jobs.put(WorkJob(work, waiting))
        return waiting

    def post(self, work: Callable[[], None]) -> None:
        """Have `work` done on the encoder's thread; its fault goes to the hook.

        Raises:
            EncoderError: The queue is full or the batcher is closed.
        """
        self._admit()
        self._jobs.put(WorkJob(work, None))

    def hand_in(self, work: Callable[[], Any], waiting: asyncio.Future[Any]) -> None:
        """Have `work` done for whoever waits; from any thread, and whatever waits already."""
        self._jobs.put(WorkJob(work, waiting))

    def _admit(self) -> asyncio.AbstractEventLoop:
        """The loop, if there is room for one work more; raises EncoderError."""
        if self._thread is None or self._loop is None:
            raise EncoderError("closed")
        if self._jobs.qsize() >= self._max_queue:
            self._hook.on_full()
            raise EncoderError("full")
        return self._loop

    def _new_future(self) -> asyncio.Future[Any]:
        return self._admit().create_future()

    # From here on: the encoder's thread.

    def _work_off(self) -> None:
        """The thread's life: jobs in their order, texts in batches, until the last."""
        give_way(ENCODING)
        held: Job | None = None  # was taken off the queue and is not begun
        try:
            while True:
                job = self._jobs.get() if held is None else held
                held = None
                match job:
                    case TextJob():
                        held = self._encode_from(job)
                    case WorkJob():
                        self._do(job)
                    case Last():
                        return
        finally:
            self._tell(self._end)

    def _encode_from(self, first: TextJob) -> Job | None:
        """Encode and answer `first` and those that wait behind it; gives back the job after them.

        None if no job was taken off the queue beyond them.
        """
        taken, held = self._texts.take(first, self._jobs)
        for batch in self._texts.batches(taken):
            for job, encoding in self._texts.encoded(batch):
                self._answer(job.waiting, partial(job.then, encoding))
        return held

    def _do(self, job: WorkJob) -> None:
        """Do a work, and tell whoever waits for it."""
        if job.waiting is None:
            try:
                job.work()
            except Exception as exc:  # noqa: BLE001 - supervises the thread: the hook counts it
                self._tell(self._hook.on_post_fault, exc)
        elif job.waiting.cancelled():
            self._tell(self._hook.on_skipped)
        else:
            self._answer(job.waiting, job.work)

    def _answer(self, waiting: asyncio.Future[Any], work: Callable[[], Any]) -> None:
        """Do `work` and hand its result or its fault to whoever waits for it."""
        try:
            result = work()
        except Exception as exc:  # noqa: BLE001 - supervises the thread: the caller gets the fault
            self._tell(settle, waiting, None, exc)
        else:
            self._tell(settle, waiting, result, None)

    def _tell(self, call: Callable[..., None], *args: Any) -> None:
        """Have `call` run on the event loop's thread."""
        assert self._loop is not None  # noqa: S101 - the thread runs, so `start` was called
        # A loop that is closed already has nobody left who could be told.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call, *args)

    def _end(self) -> None:
        """On the event loop, when the thread is done: nobody is left waiting for ever."""
        self._thread = None
        while not self._jobs.empty():
            job = self._jobs.get_nowait()
            if not isinstance(job, Last) and job.waiting is not None:
                settle(job.waiting, None, EncoderError("closed"))
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)
