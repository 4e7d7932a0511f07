"""Coalesce: one climb for many, and nobody's leaving harms another."""

from __future__ import annotations

import asyncio
import gc
from typing import Any, cast
from weakref import ref

import pytest

from sidecar.dispatch import Publish, Told, Voice
from sidecar.errors import ProviderError
from sidecar.flights.coalesce import Coalesce, Flight
from sidecar.outcome import Outcome

OUTCOME = cast(Outcome, object())
"""Never looked into here."""


class Climb:
    """A climb that waits to be told how to end; counts how often it was begun and cancelled."""

    def __init__(self) -> None:
        self.begun = 0
        self.cancelled = 0
        self.publish: Publish | None = None
        self.end: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    async def __call__(self, publish: Publish) -> Outcome:
        self.begun += 1
        self.publish = publish
        try:
            return await self.end
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


def told(number: int) -> Told:
    return Told([b"%d" % number], "words", Voice(0, {}))


async def heard(flight: Flight, who: object, *, leads: bool = False) -> Outcome:
    with flight.heard_by(who, leads=leads):
        return await flight.outcome()


async def test_the_same_key_is_asked_once() -> None:
    """Twenty who ask the same share one call, and one of them is billed."""
    coalesce, climb = Coalesce(), Climb()
    joined = [coalesce.join(b"k", climb) for _ in range(20)]
    listeners = [
        asyncio.create_task(heard(flight, n, leads=leads))
        for n, (flight, leads) in enumerate(joined)
    ]
    await asyncio.sleep(0)
    climb.end.set_result(OUTCOME)
    assert all(outcome is OUTCOME for outcome in await asyncio.gather(*listeners))
    assert climb.begun == 1
    assert [leads for _, leads in joined] == [True] + [False] * 19
    assert [joined[0][0].bill(n) for n in range(20)] == [True] + [False] * 19
    assert len(coalesce) == 0


async def test_no_key_is_never_shared() -> None:
    """What may not be cached may not be shared either."""
    coalesce, climb = Coalesce(), Climb()
    first, second = coalesce.join(None, climb)[0], coalesce.join(None, climb)[0]
    assert first is not second
    await coalesce.close()


async def test_a_leader_who_leaves_takes_nothing_along() -> None:
    """The flight goes on for who still listens, and he gets the bill."""
    coalesce, climb = Coalesce(), Climb()
    flight, _ = coalesce.join(b"k", climb)
    leader = asyncio.create_task(heard(flight, "leader", leads=True))
    follower = asyncio.create_task(heard(flight, "follower"))
    await asyncio.sleep(0)
    leader.cancel()
    await asyncio.sleep(0)
    climb.end.set_result(OUTCOME)
    assert await follower is OUTCOME
    assert flight.bill("follower")


async def test_the_last_one_to_leave_ends_it() -> None:
    """Nobody pays for an answer that nobody waits for."""
    coalesce, climb = Coalesce(), Climb()
    flight, _ = coalesce.join(b"k", climb)
    listener = asyncio.create_task(heard(flight, "leader", leads=True))
    await asyncio.sleep(0)
    listener.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listener
    await asyncio.sleep(0)
    assert climb.cancelled == 1


async def test_a_fault_is_told_to_all_and_the_next_one_tries_anew() -> None:
    """A failed flight is not joined."""
    coalesce, climb = Coalesce(), Climb()
    flight, _ = coalesce.join(b"k", climb)
    climb.end.set_exception(ProviderError("down"))
    for who in ("a", "b"):
        with pytest.raises(ProviderError):
            await heard(flight, who)
    assert coalesce.join(b"k", Climb())[1]
    await coalesce.close()


async def test_a_stream_is_heard_from_its_beginning_whenever_one_comes() -> None:
    """A follower who joins late hears every chunk, then those that come live."""
    coalesce, climb = Coalesce(), Climb()
    flight, _ = coalesce.join(b"k", climb)
    await asyncio.sleep(0)
    publish = cast(Publish, climb.publish)
    publish([told(1), told(2)])

    async def listen() -> list[bytes]:
        with flight.heard_by(object(), leads=False):
            early = flight.told(0)
            await flight.until(lambda: flight.is_done)
            return [data for each in (*early, *flight.told(len(early))) for data in each.chunks]

    late = asyncio.create_task(listen())
    await asyncio.sleep(0)
    publish([told(3)])
    climb.end.set_result(OUTCOME)
    assert await late == [b"1", b"2", b"3"]


async def test_a_flight_without_chunks_has_no_first() -> None:
    """A held-back answer is told whole once it stands."""
    climb: Any = Climb()
    flight = Flight(climb)
    climb.end.set_result(OUTCOME)
    assert await flight.first() is None


@pytest.mark.parametrize("key", [b"k", None], ids=["shared", "alone"])
async def test_a_flight_that_landed_leaves_nothing_to_the_collector(key: bytes | None) -> None:
    """It goes with its last listener: at each miss the collector would have a hundred objects."""
    coalesce = Coalesce()

    async def climb(_publish: Publish) -> Outcome:
        return OUTCOME

    flight, _ = coalesce.join(key, climb)
    assert await heard(flight, "caller", leads=True) is OUTCOME
    gone = ref(flight)
    gc.disable()
    try:
        del flight
        await asyncio.sleep(0)
        assert gone() is None
    finally:
        gc.enable()
    assert not len(coalesce)
