"""The batcher: each caller its own vector, in order, and nobody pays for another's fault."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.encoder.batcher import Batcher
from sidecar.encoder.bundle import EncoderConfig
from sidecar.encoder.encoding import Encoding, Tokens, Vectors
from sidecar.encoder.report import BatchReport
from sidecar.errors import EncoderError

SMALL = EncoderConfig(max_tokens=8, max_batch_tokens=16, max_queue=1000)


class FakeEncoder:
    """A token for each letter; a vector that tells the text's length and first letter."""

    def __init__(self, *, together: bool = True, broken: bool = False) -> None:
        self._together = together
        self.broken = broken
        self.batches: list[tuple[int, ...]] = []
        self.threads: set[str] = set()

    @property
    def together(self) -> bool:
        return self._together

    @property
    def at_once_tokens(self) -> int:
        return 2_048

    def tokenize(self, text: str) -> Tokens:
        if text.startswith("!"):
            raise EncoderError("no tokens")
        return Tokens(tuple(ord(letter) for letter in text[:8]), truncated=len(text) > 8)

    def run(self, batch: Sequence[Tokens]) -> Vectors:
        self.threads.add(threading.current_thread().name)
        self.batches.append(tuple(len(tokens.ids) for tokens in batch))
        if self.broken:
            raise EncoderError("session failed")
        return np.array([[len(tokens.ids), tokens.ids[0]] for tokens in batch], np.float32)


class FakeHook:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.reports: list[BatchReport] = []
        self.faults: list[Exception] = []
        self.full = 0
        self.skipped = 0

    def on_batch(self, report: BatchReport) -> None:
        self.reports.append(report)

    def on_full(self) -> None:
        self.full += 1

    def on_skipped(self) -> None:
        self.skipped += 1

    def on_post_fault(self, fault: Exception) -> None:
        self.faults.append(fault)


class Gate:
    """Keeps the encoder's thread busy until it is opened."""

    def __init__(self) -> None:
        self._reached = threading.Event()
        self._open = threading.Event()

    def wait(self) -> None:
        self._reached.set()
        assert self._open.wait(60.0)

    async def shut(self, batcher: Batcher) -> None:
        """Returns once the thread stands before the gate, so that what follows is queued."""
        batcher.post(self.wait)
        await asyncio.get_running_loop().run_in_executor(None, self._reached.wait, 60.0)

    def open(self) -> None:
        self._open.set()


def seen(encoding: Encoding) -> list[float]:
    return [float(value) for value in encoding.vector]


def expected(text: str) -> list[float]:
    return [min(8, len(text)), ord(text[0])]


async def queued(batcher: Batcher, *asked: Awaitable[object]) -> list[asyncio.Future[object]]:
    """The asked-for works as futures, once all of them are in the queue."""
    futures: list[asyncio.Future[object]] = [asyncio.ensure_future(each) for each in asked]
    await asyncio.sleep(0)  # each has now run to its first await, which is behind the queue
    assert batcher.waiting == len(futures)
    return futures


def with_batcher(
    encoder: FakeEncoder,
    scene: Callable[[Batcher], Awaitable[None]],
    config: EncoderConfig = SMALL,
    hook: FakeHook | None = None,
) -> None:
    """Play `scene` on a running batcher, then close it."""

    async def play() -> None:
        batcher = Batcher(encoder, config, hook=hook)
        batcher.start()
        try:
            await scene(batcher)
        finally:
            await batcher.close()

    asyncio.run(play())


@given(
    texts=st.lists(st.text("abcxyz", min_size=1, max_size=12), min_size=1, max_size=40),
    together=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_each_caller_gets_the_vector_of_its_own_text(texts: list[str], together: bool) -> None:  # noqa: FBT001 - Hypothesis hands it over
    """Whatever the batch, within its budget of padded tokens, and the shortest first."""
    encoder, hook = FakeEncoder(together=together), FakeHook()

    async def scene(batcher: Batcher) -> None:
        gate = Gate()
        await gate.shut(batcher)
        asked = await queued(batcher, *(batcher.encode(text, seen) for text in texts))
        gate.open()
        assert await asyncio.gather(*asked) == [expected(text) for text in texts]

    with_batcher(encoder, scene, hook=hook)
    lengths = [length for batch in encoder.batches for length in batch]
    assert lengths == sorted(min(8, len(text)) for text in texts)
    assert all(max(batch) * len(batch) <= 16 for batch in encoder.batches)
    assert encoder.threads == {"encoder"}
    assert sum(report.texts for report in hook.reports) == len(texts)
    if not together:
        assert all(len(batch) == 1 for batch in encoder.batches)


def test_what_waits_together_runs_together() -> None:
    """Under load one run serves as many as its budget holds; alone, a text runs at once."""
    encoder = FakeEncoder()

    async def scene(batcher: Batcher) -> None:
        await batcher.encode("alone", seen)
        gate = Gate()
        await gate.shut(batcher)
        asked = await queued(batcher, *(batcher.encode("four", seen) for _ in range(5)))
        gate.open()
        await asyncio.gather(*asked)

    with_batcher(encoder, scene)
    assert encoder.batches == [(5,), (4, 4, 4, 4), (4,)]


def test_who_left_is_neither_encoded_nor_answered() -> None:
    """A cancelled caller costs nothing; its neighbours in the queue notice nothing."""
    encoder, hook = FakeEncoder(), FakeHook()

    async def scene(batcher: Batcher) -> None:
        gate = Gate()
        await gate.shut(batcher)
        left, stayed = await queued(
            batcher, batcher.encode("gone", seen), batcher.encode("stays", seen)
        )
        left.cancel()
        await asyncio.sleep(0)
        gate.open()
        assert await stayed == expected("stays")
        assert left.cancelled()

    with_batcher(encoder, scene, hook=hook)
    assert encoder.batches == [(5,)]
    assert hook.skipped == 1


def test_a_fault_in_then_goes_to_its_caller_alone() -> None:
    """The others of the same batch get their answers."""
    encoder = FakeEncoder()

    def fail(encoding: Encoding) -> list[float]:
        raise LookupError("no such partition")

    async def scene(batcher: Batcher) -> None:
        gate = Gate()
        await gate.shut(batcher)
        asked = await queued(
            batcher,
            batcher.encode("good", seen),
            batcher.encode("bad", fail),
            batcher.encode("!", seen),
            batcher.encode("fine", seen),
        )
        gate.open()
        good, bad, untokenised, fine = await asyncio.gather(*asked, return_exceptions=True)
        assert (good, fine) == (expected("good"), expected("fine"))
        assert isinstance(bad, LookupError)
        assert isinstance(untokenised, EncoderError)

    with_batcher(encoder, scene)
    assert encoder.batches == [(3, 4, 4)]


def test_stop_iteration_in_then_is_a_fault_like_any_other() -> None:
    """A future cannot carry it, and its caller must not wait for ever."""

    async def scene(batcher: Batcher) -> None:
        with pytest.raises(EncoderError, match="StopIteration"):
            await batcher.encode("text", lambda _: next(iter(())))

    with_batcher(FakeEncoder(), scene)


def test_a_fault_of_the_encoder_goes_to_its_batch_and_the_thread_lives_on() -> None:
    """A broken run is not the end of the batcher."""
    encoder = FakeEncoder(broken=True)

    async def scene(batcher: Batcher) -> None:
        with pytest.raises(EncoderError, match="session failed"):
            await batcher.encode("text", seen)
        encoder.broken = False
        assert await batcher.encode("text", seen) == expected("text")

    with_batcher(encoder, scene)


def test_works_and_texts_keep_their_order() -> None:
    """What was posted before a text was asked about is done before that text's `then`."""
    done: list[str] = []

    def note(encoding: Encoding) -> None:
        done.append("text")

    async def scene(batcher: Batcher) -> None:
        gate = Gate()
        await gate.shut(batcher)
        first = await queued(batcher, batcher.encode("a", note))
        batcher.post(lambda: done.append("work"))
        second = asyncio.ensure_future(batcher.encode("b", note))
        gate.open()
        await asyncio.gather(*first, second)
        assert await batcher.run(lambda: len(done)) == 3

    with_batcher(FakeEncoder(), scene)
    assert done == ["text", "work", "text"]


def test_beyond_its_bound_the_queue_says_full() -> None:
    """At once, and to texts, works and posts alike; the hook counts each."""
    hook = FakeHook()

    async def scene(batcher: Batcher) -> None:
        gate = Gate()
        await gate.shut(batcher)
        asked = await queued(batcher, batcher.encode("a", seen), batcher.encode("b", seen))
        for refused in (batcher.encode("c", seen), batcher.run(list)):
            with pytest.raises(EncoderError, match="full"):
                await refused
        with pytest.raises(EncoderError, match="full"):
            batcher.post(lambda: None)
        gate.open()
        await asyncio.gather(*asked)

    config = EncoderConfig(max_tokens=8, max_batch_tokens=16, max_queue=2)
    with_batcher(FakeEncoder(), scene, config, hook)
    assert hook.full == 3


def test_a_fault_of_a_posted_work_goes_to_the_hook() -> None:
    """Nobody awaits it, and the next work is done all the same."""
    hook = FakeHook()

    def fail() -> None:
        raise LookupError("torn")

    async def scene(batcher: Batcher) -> None:
        batcher.post(fail)
        assert await batcher.run(lambda: "next") == "next"

    with_batcher(FakeEncoder(), scene, hook=hook)
    assert [type(fault) for fault in hook.faults] == [LookupError]


async def test_closing_does_what_was_queued_and_refuses_what_comes_later() -> None:
    """Nobody who was let in is left waiting, and closing twice is no fault."""
    batcher = Batcher(FakeEncoder(), SMALL)
    batcher.start()
    gate = Gate()
    await gate.shut(batcher)
    asked = await queued(batcher, batcher.encode("a", seen), batcher.run(lambda: "done"))
    closing = asyncio.ensure_future(batcher.close())
    await asyncio.sleep(0)
    with pytest.raises(EncoderError, match="closed"):
        await batcher.encode("late", seen)
    gate.open()
    await closing
    assert await asyncio.gather(*asked) == [expected("a"), "done"]
    await batcher.close()


def test_a_question_does_not_wait_for_a_page_that_came_before_it() -> None:
    """Of what waits together the shortest is run first; what comes later waits for all of it."""
    encoder = FakeEncoder(together=False)
    answered: list[str] = []

    def note(text: str, _encoding: Encoding) -> None:
        answered.append(text)

    async def scene(batcher: Batcher) -> None:
        gate = Gate()
        await gate.shut(batcher)
        texts = ("a page of", "a line", "abc")
        asked = await queued(
            batcher,
            *(batcher.encode(text, partial(note, text)) for text in texts),
        )
        gate.open()
        await asyncio.gather(*asked)

    with_batcher(encoder, scene)
    assert answered == ["abc", "a line", "a page of"]


def test_no_more_is_taken_at_a_time_than_is_soon_done() -> None:
    """Beyond `at_once_tokens` a text waits for its turn, however short it is."""
    encoder = FakeEncoder(together=False)

    async def scene(batcher: Batcher) -> None:
        gate = Gate()
        await gate.shut(batcher)
        pages = [batcher.encode("a page of", seen) for _ in range(encoder.at_once_tokens // 8)]
        asked = await queued(batcher, *pages, batcher.encode("abc", seen))
        gate.open()
        await asyncio.gather(*asked)

    with_batcher(encoder, scene)
    assert encoder.batches[-1] == (3,)
    assert len(encoder.batches) == encoder.at_once_tokens // 8 + 1


async def test_times_are_told_by_the_clock_that_was_handed_in() -> None:
    """Waiting and encoding, in milliseconds, to the caller and to the hook."""
    # Asked; begun and ended to make tokens of it; begun and ended to run it.
    ticks = iter([0.0, 0.5, 0.625, 0.625, 0.75])
    hook = FakeHook()
    batcher = Batcher(FakeEncoder(), SMALL, hook=hook, clock=lambda: next(ticks))
    batcher.start()
    encoding = await batcher.encode("text is long", lambda encoding: encoding)
    await batcher.close()
    assert (encoding.queue_ms, encoding.encode_ms) == (500.0, 250.0)
    assert (encoding.tokens, encoding.truncated) == (8, True)
    assert hook.reports == [BatchReport(texts=1, tokens=8, queue_ms=500.0, encode_ms=250.0)]
