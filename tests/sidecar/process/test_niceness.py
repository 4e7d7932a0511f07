"""Threads that work for long give way to the one that answers."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from sidecar.encoder.batcher import Batcher
from sidecar.encoder.bundle import EncoderConfig
from sidecar.encoder.encoding import Tokens
from sidecar.encoder.lanes import Lanes
from sidecar.process.niceness import BUILDING, ENCODING, give_way
from tests.sidecar.encoder.test_batcher import FakeEncoder

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a thread's niceness is Linux's")


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_a_thread_gives_way_and_the_others_do_not() -> None:
    """The niceness is that thread's alone, on top of what the process was given."""
    before, seen = niceness(), list[int]()

    def work() -> None:
        give_way(BUILDING)
        seen.append(niceness())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [min(19, before + BUILDING)]
    assert niceness() == before


async def test_whoever_encodes_gives_way_to_the_event_loop() -> None:
    """The batcher's thread, and each lane's: hits are answered before questions are encoded."""
    before, config = niceness(), EncoderConfig()
    seen: list[int] = []

    class Watched(FakeEncoder):
        def tokenize(self, text: str) -> Tokens:
            seen.append(niceness())
            return super().tokenize(text)

    for batcher in (
        Batcher(Watched(), config),
        Lanes(Watched(together=False), config, count=2),
    ):
        batcher.start()
        await batcher.encode("a question", lambda _: None)
        await batcher.close()
    assert seen == [min(19, before + ENCODING)] * 2
    assert niceness() == before
