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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

from sidecar.encoder.bundle import EncoderConfig
from sidecar.encoder.encoding import Encoder, Encoding, Tokens
from sidecar.errors import EncoderError
from sidecar.process.niceness import ENCODING, give_way

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchReport:
    """One run, for whoever counts.

    Attributes:
        texts: Encoded in it.
        tokens: In them, padding not counted.
        queue_ms: The longest that one of them waited.
        encode_ms: Of the run, tokenising included.
    """

    texts: int
    tokens: int
    queue_ms: float
    encode_ms: float


class BatcherHook(Protocol):
    """Whoever wants to know what the batcher does; called on the event loop's thread."""

    def on_batch(self, report: BatchReport) -> None:
        """A run ended well."""

    def on_full(self) -> None:
        """A text or a work was refused, because too many waited."""

    def on_skipped(self) -> None:
        """A text or a work was not begun, because its caller had left."""

    def on_post_fault(self, fault: Exception) -> None:
        """A posted work raised; nobody awaits it, so this is where it is told."""


class Deaf:
    """A hook that listens to nothing."""

    def on_batch(self, report: BatchReport) -> None:
        """See BatcherHook."""

    def on_full(self) -> None:
        """See BatcherHook."""

    def on_skipped(self) -> None:
        """See BatcherHook."""

    def on_post_fault(self, fault: Exception) -> None:
        """See BatcherHook."""


@dataclass(slots=True, eq=False)
class TextJob:
    """A text, what to do with its encoding, and who waits for the result."""

    text: str
    then: Callable[[Encoding], Any]
    waiting: asyncio.Future[Any]
    asked_s: float


class _Tokenised(NamedTuple):
    """A text that was taken off the queue, and how long that took."""

    job: TextJob
    tokens: Tokens
    took_ms: float


@dataclass(slots=True, eq=False)
class _WorkJob:
    """A work without a text; `waiting` is None if it was posted."""

    work: Callable[[], Any]
    waiting: asyncio.Future[Any] | None


class _Last:
    """The job at which the thread ends."""


_Job = TextJob | _WorkJob | _Last


class Texts:
    """Texts off a queue in, their encodings out, on whichever thread calls; it holds no job.

    Texts that wait together are run shortest first, so that a question does not wait for a page;
    none waits for what came after these were taken.
    """

    def __init__(
        self,
        encoder: Encoder,
        config: EncoderConfig,
        hook: BatcherHook,
        clock: Callable[[], float],
        tell: Callable[..., None],
    ) -> None:
        """`tell` has a call made on the event loop's thread."""
        self._encoder = encoder
        self._max_batch_tokens = config.max_batch_tokens
        self._hook = hook
        self._clock = clock
        self._tell = tell

    def take(
        self, first: TextJob, jobs: queue.SimpleQueue[_Job] | None
    ) -> tuple[list[_Tokenised], _Job | None]:
        """`first` and the texts behind it, and the job that was taken and is none of them.

        Without `jobs` it is `first` alone.
        """
        taken: list[_Tokenised] = []
        tokens_taken = 0
        job: _Job | None = first
        while isinstance(job, TextJob):
            begun_s = self._clock()
            tokens = self._tokens(job)
            if tokens is not None:
                taken.append(_Tokenised(job, tokens, 1e3 * (self._clock() - begun_s)))
                tokens_taken += len(tokens.ids)
            if jobs is None or tokens_taken >= self._encoder.at_once_tokens:
                return taken, None
            try:
                job = jobs.get_nowait()
            except queue.Empty:
                job = None
        return taken, job

    def _tokens(self, job: TextJob) -> Tokens | None:
        """The job's tokens; None if its caller left, or is told here that there are none."""
        if job.waiting.cancelled():
            self._tell(self._hook.on_skipped)
            return None
        try:
            return self._encoder.tokenize(job.text)
        except Exception as exc:  # noqa: BLE001 - supervises the thread: the caller gets it
            self._tell(settle, job.waiting, None, exc)
            return None

    def batches(self, taken: list[_Tokenised]) -> Iterator[list[_Tokenised]]:
        """Those that run together, within the budget of padded tokens; the shortest first."""
        batch: list[_Tokenised] = []
        for each in sorted(taken, key=lambda one: len(one.tokens.ids)):
            width = len(each.tokens.ids)
            is_full = width * (len(batch) + 1) > self._max_batch_tokens
            if batch and (is_full or not self._encoder.together):
                yield batch
                batch = []
            batch.append(each)
        if batch:
            yield batch

    def encoded(self, batch: list[_Tokenised]) -> Iterator[tuple[TextJob, Encoding]]:
        """The encodings of a batch; whoever left meanwhile is passed over, a fault goes to all.

        The hook is told once all of them were made use of: the loop, woken in between, would take
        the interpreter from whoever still searches.
        """
        begun_s = self._clock()
        batch = [each for each in batch if not self._has_left(each.job)]
        if not batch:
            return
        try:
            vectors = self._encoder.run([each.tokens for each in batch])  # (n, dim)
        except Exception as exc:  # noqa: BLE001 - supervises the thread: each caller gets the fault
            for each in batch:
                self._tell(settle, each.job.waiting, None, exc)
            return
        encode_ms = 1e3 * (self._clock() - begun_s) + sum(each.took_ms for each in batch)
        waited_ms = [max(0.0, 1e3 * (begun_s - each.job.asked_s) - each.took_ms) for each in batch]
        report = BatchReport(
            texts=len(batch),
            tokens=sum(len(each.tokens.ids) for each in batch),
            queue_ms=max(waited_ms),
            encode_ms=encode_ms,
        )
        for row, each in enumerate(batch):
            yield (
                each.job,
                Encoding(
                    # A copy, lest one kept vector keep its whole batch in memory.
                    vector=vectors[row].copy(),
                    tokens=len(each.tokens.ids),
                    truncated=each.tokens.truncated,
                    queue_ms=waited_ms[row],
                    encode_ms=encode_ms,
                ),
            )
        self._tell(self._hook.on_batch, report)

    def _has_left(self, job: TextJob) -> bool:
        has_left = job.waiting.cancelled()
        if has_left:
            self._tell(self._hook.on_skipped)
        return has_left


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
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
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
        self._jobs.put(_Last())
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
        self._jobs.put(_WorkJob(work, waiting))
        return waiting

    def post(self, work: Callable[[], None]) -> None:
        """Have `work` done on the encoder's thread; its fault goes to the hook.

        Raises:
            EncoderError: The queue is full or the batcher is closed.
        """
        self._admit()
        self._jobs.put(_WorkJob(work, None))

    def hand_in(self, work: Callable[[], Any], waiting: asyncio.Future[Any]) -> None:
        """Have `work` done for whoever waits; from any thread, and whatever waits already."""
        self._jobs.put(_WorkJob(work, waiting))

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
        held: _Job | None = None  # was taken off the queue and is not begun
        try:
            while True:
                job = self._jobs.get() if held is None else held
                held = None
                match job:
                    case TextJob():
                        held = self._encode_from(job)
                    case _WorkJob():
                        self._do(job)
                    case _Last():
                        return
        finally:
            self._tell(self._end)

    def _encode_from(self, first: TextJob) -> _Job | None:
        """Encode and answer `first` and those that wait behind it; gives back the job after them.

        None if no job was taken off the queue beyond them.
        """
        taken, held = self._texts.take(first, self._jobs)
        for batch in self._texts.batches(taken):
            for job, encoding in self._texts.encoded(batch):
                self._answer(job.waiting, partial(job.then, encoding))
        return held

    def _do(self, job: _WorkJob) -> None:
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
            if not isinstance(job, _Last) and job.waiting is not None:
                settle(job.waiting, None, EncoderError("closed"))
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)


def settle(waiting: asyncio.Future[Any], result: Any, fault: Exception | None) -> None:
    """Answer a caller, unless it left meanwhile."""
    if waiting.done():
        return
    if fault is None:
        waiting.set_result(result)
        return
    if isinstance(fault, StopIteration):
        # A future refuses this one, since a coroutine would end on it in silence.
        fault = EncoderError("a work ended with StopIteration")
    waiting.set_exception(fault)
