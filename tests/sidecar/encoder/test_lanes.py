"""Several lanes: each caller his own vector, works in order, nobody left waiting, as with one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from sidecar.encoder.batcher import Batcher
from sidecar.encoder.bundle import EncoderConfig
from sidecar.encoder.encoding import Encoding, Tokens, Vectors
from sidecar.encoder.lanes import Lanes, batcher_for
from sidecar.encoder.loadbench import operations
from sidecar.encoder.threads import processors, threads_for
from sidecar.errors import EncoderError
from tests.sidecar.encoder.test_batcher import SMALL, FakeEncoder, FakeHook, expected, seen


class Meeting(FakeEncoder):
    """Runs a text only while another one runs beside it."""

    def __init__(self, parties: int) -> None:
        super().__init__(together=False)
        self._barrier = threading.Barrier(parties)
        self.gate = threading.Event()
        self.gate.set()

    def run(self, batch: Sequence[Tokens]) -> Vectors:
        assert self.gate.wait(60.0)
        self._barrier.wait(60.0)
        return super().run(batch)


async def test_as_many_texts_are_encoded_at_once_as_there_are_lanes() -> None:
    """Each on a thread of its own; what is done with them is done by the one owner."""
    encoder, owners = Meeting(2), set[str]()
    lanes = Lanes(encoder, SMALL, count=2)
    lanes.start()

    def then(encoding: Encoding) -> list[float]:
        owners.add(threading.current_thread().name)
        return seen(encoding)

    texts = ["one", "two", "three", "four"]
    told = await asyncio.gather(*(lanes.encode(text, then) for text in texts))
    await lanes.close()
    assert told == [expected(text) for text in texts]
    assert encoder.threads == {"encoder-0", "encoder-1"}
    assert owners == {"encoder"}


async def test_a_work_that_came_first_is_done_before_a_texts_then() -> None:
    """However soon the text was encoded."""
    lanes, done = Lanes(FakeEncoder(together=False), SMALL, count=3), list[str]()
    lanes.start()

    def note(what: str, _encoding: Encoding | None = None) -> None:
        done.append(what)

    for each in range(50):
        lanes.post(partial(note, f"work {each}"))
        await lanes.encode("text", partial(note, f"text {each}"))
    await lanes.close()
    assert done == [f"{what} {each}" for each in range(50) for what in ("work", "text")]


async def test_a_page_lets_questions_pass_and_is_not_forgotten() -> None:
    """Questions that come soon after it go first; one that comes much later does not."""
    encoder, now_s, done = Meeting(1), [0.0], list[str]()
    lanes = Lanes(encoder, SMALL, count=1, clock=lambda: now_s[0])
    lanes.start()

    def note(what: str, _encoding: Encoding | None = None) -> None:
        done.append(what)

    async def asked(text: str, at_s: float) -> asyncio.Future[None]:
        now_s[0] = at_s
        future = asyncio.ensure_future(lanes.encode(text, partial(note, text[:4])))
        await asyncio.sleep(0)
        return future

    encoder.gate.clear()
    first = await asked("held", 0.0)
    while lanes.waiting:
        await asyncio.sleep(0.001)
    rest = [
        await asked("page" * 400, 0.0),
        await asked("soon", 0.1),
        await asked("late", 0.2),
    ]
    encoder.gate.set()
    await asyncio.gather(first, *rest)
    await lanes.close()
    assert done == ["held", "soon", "page", "late"]


async def test_faults_bounds_and_leavers_are_as_with_one_lane() -> None:
    """A fault goes to its caller, who left costs nothing, too many are told, and so is the end."""
    hook, encoder = FakeHook(), FakeEncoder(together=False)

    def refuse(encoding: Encoding) -> None:
        raise LookupError

    lanes = Lanes(
        encoder, EncoderConfig(max_tokens=8, max_batch_tokens=16, max_queue=2), count=2, hook=hook
    )
    lanes.start()
    with pytest.raises(EncoderError, match="no tokens"):
        await lanes.encode("!", seen)
    with pytest.raises(LookupError):
        await lanes.encode("text", refuse)
    asked = [asyncio.ensure_future(lanes.encode("many", seen)) for _ in range(200)]
    told = await asyncio.gather(*asked, return_exceptions=True)
    refused = [each for each in told if isinstance(each, EncoderError)]
    assert len(refused) == hook.full > 0
    assert [each for each in told if each == expected("many")]
    left = asyncio.ensure_future(lanes.encode("left", seen))
    await asyncio.sleep(0)
    left.cancel()
    last = asyncio.ensure_future(lanes.encode("last", seen))
    await asyncio.sleep(0)
    await lanes.close()
    assert await last == expected("last")
    assert left.cancelled()
    with pytest.raises(EncoderError, match="closed"):
        await lanes.encode("late", seen)


@pytest.mark.parametrize(
    ("threads", "together", "kind"),
    [
        pytest.param(1, False, Batcher, id="one-thread"),
        pytest.param(3, False, Lanes, id="int8"),
        pytest.param(3, True, Batcher, id="a-precision-that-shares-a-run"),
    ],
)
def test_lanes_are_for_texts_that_run_alone(
    threads: int,
    together: bool,  # noqa: FBT001 - a parameter
    kind: type[Batcher],
) -> None:
    """And for more threads than one."""
    config = EncoderConfig(max_tokens=8, max_batch_tokens=16, threads=threads)
    assert type(batcher_for(FakeEncoder(together=together), config)) is kind


@pytest.mark.parametrize(
    ("told", "most"),
    [("max 100000", None), ("50000 100000", 0.5), ("garbage", None), (None, None)],
)
def test_a_groups_quota_counts(tmp_path: Path, told: str | None, most: float | None) -> None:
    """Half a processor is half of one; no file, and no quota, is none."""
    quota = tmp_path / "cpu.max"
    if told is not None:
        quota.write_text(told)
    without = processors(tmp_path / "nothing")
    assert processors(quota) == (without if most is None else most)


def test_the_config_has_the_last_word() -> None:
    """And without one there is at least one thread."""
    assert threads_for(EncoderConfig(threads=5)) == 5
    assert 1 <= threads_for(EncoderConfig()) <= 8


def test_operations_are_those_of_the_matrices() -> None:
    """For one token alone: six layers of twelve squares, and next to no attention."""
    assert operations(1) == 6 * (24 * 384**2 + 4 * 384)
    assert operations(256) > 256 * operations(1)
