"""Admission: places are given back, whoever leaves; refusals are counted by whom and why."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from random import Random

import pytest

from sidecar.admission.admission import Admission
from sidecar.admission.tenants import Caller
from sidecar.deadline import Deadline
from sidecar.errors import AdmissionRefused, RateLimited, UnknownCaller
from sidecar.options import Priority
from tests.sidecar.admission.fakes import FakeMeter, admission, tenant

SHOP, BANK = Caller(tenant="shop"), Caller(tenant="bank")
FAR = Deadline(float("inf"))


async def stand(
    door: Admission, caller: Caller, until: asyncio.Event, priority: Priority | None = None
) -> str:
    """Take a place and hold it until told."""
    with await door.place(caller, priority, FAR):
        await until.wait()
    return caller.tenant


async def wait_until(is_so: Callable[[], bool]) -> None:
    """Let the others run."""
    for _ in range(1000):
        if is_so():
            return
        await asyncio.sleep(0)
    raise AssertionError


async def test_one_more_waits_and_goes_when_a_place_is_free() -> None:
    """It is told as in flight only then."""
    meter, over = FakeMeter(), asyncio.Event()
    door = admission(meter=meter)
    first = asyncio.create_task(stand(door, SHOP, over))
    await wait_until(lambda: door.in_flight == 1)
    second = asyncio.create_task(stand(door, SHOP, over))
    await wait_until(lambda: door.waiting("interactive") == 1)
    assert door.in_flight == 1
    over.set()
    await asyncio.gather(first, second)
    assert (door.in_flight, door.waiting("interactive")) == (0, 0)
    assert meter.waits == Counter(interactive=1)


async def test_beyond_the_line_one_is_refused_at_once() -> None:
    """And told when to come back; where no config names him he is counted as `other`."""
    meter = FakeMeter()
    door = admission(tenant("shop"), max_queued=0, meter=meter)
    with await door.place(SHOP, None, FAR):
        for caller in (SHOP, BANK):
            with pytest.raises(AdmissionRefused) as caught:
                await door.place(caller, None, FAR)
            assert caught.value.retry_after_s == 1.0
    assert meter.refusals == Counter({("shop", "queue_full"): 1, ("other", "queue_full"): 1})


@pytest.mark.parametrize(
    ("queue_timeout_s", "deadline"),
    [
        pytest.param(0.0, FAR, id="the-line's"),
        pytest.param(60.0, Deadline(0.0), id="the-caller's-own"),
    ],
)
async def test_nobody_waits_longer_than_he_may(queue_timeout_s: float, deadline: Deadline) -> None:
    """By the config, and by his own deadline."""
    meter = FakeMeter()
    door = admission(queue_timeout_s=queue_timeout_s, meter=meter)
    with await door.place(SHOP, None, FAR):
        with pytest.raises(AdmissionRefused):
            await door.place(SHOP, None, deadline)
        assert door.waiting("interactive") == 0
    assert meter.refusals == Counter({("other", "queue_timeout"): 1})


async def test_who_leaves_while_he_waits_frees_his_place_in_the_line() -> None:
    """The next one in the line is the next to go."""
    door, over = admission(max_queued=2), asyncio.Event()
    tasks = [asyncio.create_task(stand(door, SHOP, over)) for _ in range(3)]
    await wait_until(lambda: door.waiting("interactive") == 2)
    tasks[1].cancel()
    await wait_until(lambda: door.waiting("interactive") == 1)
    over.set()
    await asyncio.gather(tasks[0], tasks[2])
    assert door.in_flight == 0


async def test_a_place_kept_for_one_who_leaves_that_instant_is_not_lost() -> None:
    """1. A leaves, the place is kept for B. 2. B is cancelled before he runs. 3. C gets it."""
    door, over, never = admission(max_queued=2), asyncio.Event(), asyncio.Event()
    first = asyncio.create_task(stand(door, SHOP, over))
    await wait_until(lambda: door.in_flight == 1)
    second = asyncio.create_task(stand(door, SHOP, never))
    third = asyncio.create_task(stand(door, SHOP, over))
    await wait_until(lambda: door.waiting("interactive") == 2)
    over.set()
    await wait_until(lambda: door.waiting("interactive") == 1)  # kept for the second
    second.cancel()
    await asyncio.gather(first, third)
    assert second.cancelled()
    assert door.in_flight == 0


async def test_places_come_out_even_whatever_the_callers_do() -> None:
    """Never more inside than may be; at the end nobody inside, nobody waiting, nobody lost."""
    for seed in range(20):
        dice = Random(seed)  # noqa: S311 - a test's
        door = admission(max_in_flight=3, max_queued=5)
        most = 0

        async def one(dice: Random = dice, door: Admission = door) -> None:
            nonlocal most
            caller = Caller(tenant=dice.choice("ab"), max_in_flight=dice.choice([None, 1, 2]))
            try:
                with await door.place(caller, dice.choice(["batch", None]), FAR):
                    most = max(most, door.in_flight)
                    for _ in range(dice.randrange(5)):
                        await asyncio.sleep(0)
            except AdmissionRefused:
                pass

        tasks = [asyncio.create_task(one()) for _ in range(60)]
        for _ in range(40):
            dice.choice(tasks).cancel()
            await asyncio.sleep(0)
        await asyncio.gather(*tasks, return_exceptions=True)
        assert most <= 3
        assert (door.in_flight, door.waiting("batch"), door.waiting("interactive")) == (0, 0, 0)


async def test_a_tenants_own_limit_is_its_own() -> None:
    """Its next request waits while others find room."""
    door, over = admission(max_in_flight=9), asyncio.Event()
    one = Caller(tenant="shop", max_in_flight=1)
    tasks = [asyncio.create_task(stand(door, one, over)) for _ in range(2)]
    await wait_until(lambda: door.waiting("interactive") == 1)
    tasks.append(asyncio.create_task(stand(door, BANK, over)))
    await wait_until(lambda: door.in_flight == 2)
    over.set()
    assert sorted(await asyncio.gather(*tasks)) == ["bank", "shop", "shop"]


async def test_batch_leaves_places_for_interactive() -> None:
    """However much of it comes first."""
    door, over = admission(max_in_flight=10), asyncio.Event()
    tasks = [asyncio.create_task(stand(door, SHOP, over, "batch")) for _ in range(12)]
    await wait_until(lambda: door.waiting("batch") == 4)
    assert door.in_flight == 8
    with await door.place(BANK, None, FAR):
        assert door.in_flight == 9
    over.set()
    await asyncio.gather(*tasks)


async def test_a_tenant_that_is_batch_cannot_ask_for_more() -> None:
    """The header lowers, and never raises."""
    door, over = admission(), asyncio.Event()
    night = Caller(tenant="night", priority="batch")
    tasks = [asyncio.create_task(stand(door, night, over, "interactive")) for _ in range(2)]
    await wait_until(lambda: door.waiting("batch") == 1)
    over.set()
    await asyncio.gather(*tasks)


async def test_the_tenants_may_change_while_requests_are_inside() -> None:
    """A reload replaces who is known; nobody's place, minute or money is forgotten."""
    limits = {"requests_per_minute": 2.0, "budget_usd": 1}
    door = admission(tenant("shop", **limits), max_in_flight=9)
    hold = door.hold(
        SHOP,
        "",
        tokens_in=1,
        answer_tokens=1,
        worst_usd=[door.purses.peek(("shop", None, None)).spent + 1],
    )
    with await door.place(SHOP, None, FAR):
        door.know([tenant("bank")])
        assert door.in_flight == 1
        with pytest.raises(UnknownCaller):
            door.identify({"x-api-key": "sk-shop"})
        door.know([tenant("shop", **limits)])
        assert door.purses.peek(("shop", None, None)).reserved == 1
        with await door.place(SHOP, None, FAR), pytest.raises(RateLimited):
            await door.place(SHOP, None, FAR)
    door.settle(hold, tokens=0, cost_usd=hold.reservation.worst_usd)
    assert door.purses.peek(("shop", None, None)).spent == 1


async def test_who_tries_keys_is_counted() -> None:
    """Under a label that no caller chose."""
    meter = FakeMeter()
    door = admission(tenant("shop"), meter=meter)
    assert door.identify({"authorization": "Bearer sk-shop"}).tenant == "shop"
    for key in ("sk-shoq", "", "sk-bank"):
        with pytest.raises(UnknownCaller):
            door.identify({"authorization": f"Bearer {key}"})
    assert meter.refusals == {("other", "unknown_key"): 3}


@pytest.mark.parametrize(
    ("limits", "is_limited"),
    [
        pytest.param({}, False, id="none"),
        pytest.param({"max_in_flight": 3}, False, id="places"),
        pytest.param({"budget_usd": 1}, True, id="budget"),
        pytest.param({"user_budget_usd_per_day": 1}, True, id="users-budget"),
        pytest.param({"tokens_per_minute": 9.0}, True, id="tokens"),
    ],
)
async def test_of_whom_nothing_need_be_reserved(limits: dict[str, float], is_limited: bool) -> None:  # noqa: FBT001 - a parameter
    """He has neither budget nor rate; and of whom no config names nothing is even counted."""
    door = admission(tenant("shop", **limits))
    assert door.knows(SHOP)
    assert door.is_limited(SHOP) == is_limited
    assert not door.knows(BANK)
    door.spend(SHOP, Decimal("0.25"))
    (told,) = door.budgets()
    assert (told["total"]["spent_usd"], told["total"]["reserved_usd"]) == ("0.25", "0")
