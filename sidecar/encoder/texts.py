"""Texts that wait in, encoded in batches, their encodings out, on whichever thread calls."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from typing import NamedTuple

from sidecar.encoder.bundle import EncoderConfig
from sidecar.encoder.encoding import Encoder, Encoding, Tokens
from sidecar.encoder.jobs import Job, TextJob, settle
from sidecar.encoder.report import BatcherHook, BatchReport


class Tokenised(NamedTuple):
    """A text that was taken off the queue, and how long that took."""

    job: TextJob
    tokens: Tokens
    took_ms: float


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
        self, first: TextJob, jobs: queue.SimpleQueue[Job] | None
    ) -> tuple[list[Tokenised], Job | None]:
        """`first` and the texts behind it, and the job that was taken and is none of them.

        Without `jobs` it is `first` alone.
        """
        taken: list[Tokenised] = []
        tokens_taken = 0
        job: Job | None = first
        while isinstance(job, TextJob):
            begun_s = self._clock()
            tokens = self._tokens(job)
            if tokens is not None:
                taken.append(Tokenised(job, tokens, 1e3 * (self._clock() - begun_s)))
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

    def batches(self, taken: list[Tokenised]) -> Iterator[list[Tokenised]]:
        """Those that run together, within the budget of padded tokens; the shortest first."""
        batch: list[Tokenised] = []
        for each in sorted(taken, key=lambda one: len(one.tokens.ids)):
            width = len(each.tokens.ids)
            is_full = width * (len(batch) + 1) > self._max_batch_tokens
            if batch and (is_full or not self._encoder.together):
                yield batch
                batch = []
            batch.append(each)
        if batch:
            yield batch

    def encoded(self, batch: list[Tokenised]) -> Iterator[tuple[TextJob, Encoding]]:
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
