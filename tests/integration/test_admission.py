"""Admission over HTTP: places, rates and budgets, held whatever comes at once."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import openai
import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from sidecar.assembly.gatehouse import FILE
from sidecar.web.budgets_api import BudgetsApi
from sidecar.web.middleware import errors_told
from sidecar.web.token import OperatorToken
from tests.integration.conftest import DEMO, Answer, Running, Start
from tests.patience import until

SHOP = """
[[tenants]]
name = "shop"
keys = ["sk-shop"]
"""
KEY = {"authorization": "Bearer sk-shop"}
SUM = "What is 12 plus 7?"


def sums(count: int, first: int = 100) -> list[str]:
    """Questions that no other one answers."""
    return [f"What is {first + number} plus 7?" for number in range(count)]


PRICES = {"s": (Decimal(1), Decimal(2)), "l": (Decimal(10), Decimal(40))}
"""Of each model, in and out, in USD per million tokens; those of `ladder`."""


class Vendor:
    """An upstream that answers with as many tokens as it may, and keeps the bill.

    Attributes:
        billed_usd: At `PRICES`.
        asked: Models, in the order asked.
        hold: Until it is set, those of `holds` get no answer.
        spends: Of the tokens that an answer may have it has this share.
    """

    def __init__(self) -> None:
        self.billed_usd = Decimal(0)
        self.asked: list[str] = []
        self.hold = asyncio.Event()
        self.hold.set()
        self.holds = set(PRICES)
        self.spends = 1.0

    async def chat(self, request: web.Request) -> web.Response:
        """One answer of `max_tokens` tokens, to a prompt of a token a letter."""
        body = await request.json()
        self.asked.append(body["model"])
        if body["model"] in self.holds:
            await self.hold.wait()
        tokens_in = sum(len(message["content"]) for message in body["messages"])
        tokens_out = int(self.spends * body.get("max_tokens", 100))
        price_in, price_out = PRICES[body["model"]]
        self.billed_usd += (price_in * tokens_in + price_out * tokens_out) / 1_000_000
        choice = {"index": 0, "message": {"role": "assistant", "content": "So."}}
        usage = {"prompt_tokens": tokens_in, "completion_tokens": tokens_out}
        answer = {"id": "x", "object": "chat.completion", "created": 1, "model": body["model"]}
        answer |= {"choices": [{**choice, "finish_reason": "stop"}], "usage": usage}
        return web.Response(body=orjson.dumps(answer), content_type="application/json")


async def opened(stack: AsyncExitStack, vendor: Vendor) -> str:
    """The vendor's address."""
    app = web.Application()
    app.router.add_post("/v1/chat/completions", vendor.chat)
    server = TestServer(app)
    await stack.enter_async_context(server)
    return str(server.make_url("/v1"))


def ladder(url: str) -> str:
    """Two tiers at the vendor, at its prices."""
    return f"""
[cache.lookup]
budget_s = 30.0

[[upstreams]]
name = "vendor"
kind = "openai"
base_url = "{url}"

[[tiers]]
name = "small"
model = "s"
upstreams = ["vendor"]
price_in_usd_per_mtok = 1.0
price_out_usd_per_mtok = 2.0

[[tiers]]
name = "large"
model = "l"
upstreams = ["vendor"]
price_in_usd_per_mtok = 10.0
price_out_usd_per_mtok = 40.0
"""


async def told(sidecar: Running, questions: list[str], **fields: Any) -> list[Answer]:
    """All of them asked at once by the shop."""
    return await asyncio.gather(*(sidecar.ask(q, KEY, **fields) for q in questions))


async def test_two_hundred_at_once_spend_no_cent_too_much(start: Start) -> None:
    """What the vendor bills stays within the budget, and what was refused was not asked."""
    async with AsyncExitStack() as stack:
        vendor = Vendor()
        url = await opened(stack, vendor)
        limit = Decimal("0.02")
        sidecar = await start(ladder(url), SHOP + f"budget_usd = {limit}\n")
        for first in (1000, 3000):
            answers = await told(sidecar, sums(200, first), model="large", max_tokens=20)
            assert {answer.status for answer in answers} <= {200, 429}
        assert vendor.billed_usd <= limit
        # What was reserved and not needed came back: less than one more request is left.
        purse = sidecar.lasting.admission.purses.peek(("shop", None, None))
        assert purse.spent == vendor.billed_usd
        assert purse.reserved == Decimal(0)
        assert limit - purse.spent < Decimal("0.004")
        refused = await sidecar.ask("And now?", KEY, model="large", max_tokens=1000)
        assert refused.status == 429
        assert refused.body["error"]["code"] == "insufficient_quota"
        assert refused.body["error"]["type"] == "insufficient_quota"
        assert refused.headers["x-should-retry"] == "false"


async def test_a_budget_that_runs_low_leaves_the_cheap_tiers(start: Start) -> None:
    """The ceiling comes down before anybody is refused, and says so; such an answer is not kept."""
    async with AsyncExitStack() as stack:
        vendor = Vendor()
        url = await opened(stack, vendor)
        sidecar = await start(ladder(url), SHOP + "budget_usd_per_day = 0.005\n")
        first = await sidecar.ask(SUM, {**KEY, "x-sidecar-quality": "best"}, max_tokens=100)
        assert first.headers["x-sidecar-narrowed"] == "budget"
        assert first.headers["x-sidecar-tier"] == "small"
        again = await sidecar.ask(SUM, {**KEY, "x-sidecar-quality": "best"}, max_tokens=100)
        assert again.headers["x-sidecar-cache"] == "miss"
        pinned = await sidecar.ask(SUM, KEY, model="large", max_tokens=1000)
        assert pinned.status == 429
        assert int(pinned.headers["retry-after"]) <= 86_400
        assert set(vendor.asked) == {"s"}


async def test_a_hit_is_served_though_no_money_is_left(start: Start) -> None:
    """It costs nothing; and a follower whose leader cannot pay tries for himself."""
    sidecar = await start(DEMO, SHOP + "budget_usd = 0.000001\nuser_budget_usd_per_day = 1.0\n")
    refused = await sidecar.ask(SUM, KEY, model="small", max_tokens=50)
    assert refused.status == 429
    sidecar = await start(DEMO, SHOP + "budget_usd = 0.0001\n")
    assert (await sidecar.ask(SUM, KEY, model="small", max_tokens=50)).status == 200
    questions = sums(20)
    statuses = Counter([(await sidecar.ask(q, KEY, model="small")).status for q in questions])
    assert set(statuses) == {429}
    hit = await sidecar.ask(SUM, KEY, model="small", max_tokens=50)
    assert (hit.status, hit.headers["x-sidecar-cache"]) == (200, "hit-exact")


async def test_what_was_spent_survives_a_restart(start: Start, tmp_path: Path) -> None:
    """In a file among the state, reservations of calls under way included."""
    extra = f'[cache.disk]\npath = "{tmp_path / "cache.sqlite"}"\n' + SHOP + "budget_usd = 1.0\n"
    async with AsyncExitStack() as stack:
        sidecar = await start(DEMO, extra, stack)
        assert (await sidecar.ask(SUM, KEY, model="large")).status == 200
        spent = sidecar.lasting.admission.purses.peek(("shop", None, None)).spent
    assert spent > 0
    assert (tmp_path / FILE).exists()
    again = await start(DEMO, extra)
    assert again.lasting.admission.purses.peek(("shop", None, None)).spent == spent


async def until_refused(client: openai.AsyncOpenAI) -> None:
    """The rate gives requests back while a slow machine comes from one to the next: spend them."""
    for _ in range(200):
        await client.chat.completions.create(
            model="auto", messages=[{"role": "user", "content": SUM}]
        )


async def test_requests_a_minute_are_told_and_held(start: Start) -> None:
    """In OpenAI's headers; hits count."""
    sidecar = await start(DEMO, SHOP + "requests_per_minute = 2\n")
    first = await sidecar.ask(SUM, KEY)
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    assert 0 < seconds(first.headers["x-ratelimit-reset-requests"]) <= 30
    while (last := await sidecar.ask(SUM, KEY)).status == 200:
        assert last.headers["x-sidecar-cache"] == "hit-exact"
    assert last.status == 429
    assert last.body["error"]["code"] == "rate_limit_exceeded"
    assert 0 < int(last.headers["retry-after"]) <= 30
    assert last.headers["x-ratelimit-remaining-requests"] == "0"


def seconds(told: str) -> float:
    """Of a duration in OpenAI's words, less than a minute."""
    return float(told[:-2]) / 1_000 if told.endswith("ms") else float(told.removesuffix("s"))


async def test_the_vendors_client_waits_as_long_as_it_is_told(start: Start) -> None:
    """Until the rate gives a request back; who does not wait hears a 429."""
    sidecar = await start(DEMO, SHOP + "requests_per_minute = 60\n")
    async with openai.AsyncOpenAI(
        base_url=sidecar.url + "/v1", api_key="sk-shop", max_retries=0
    ) as client:
        with pytest.raises(openai.RateLimitError) as caught:
            await until_refused(client)
        assert caught.value.code == "rate_limit_exceeded"
        patient = client.with_options(max_retries=2)
        whole = await patient.chat.completions.create(
            model="auto", messages=[{"role": "user", "content": SUM}]
        )
        assert whole.choices


async def test_tokens_a_minute_are_reserved_then_settled(start: Start) -> None:
    """The answer's limit is taken, what was not needed comes back; a hit takes none."""
    limits = "tokens_per_minute = 1000\nuser_tokens_per_minute = 500\n"
    async with AsyncExitStack() as stack:
        sidecar, vendor = await paying(start, stack, limits)
        vendor.spends = 0.75  # no more would be whole again before a slow machine looks
        user = {**KEY, "x-sidecar-user": "ann"}
        greedy = await sidecar.ask(SUM, user, model="small", max_tokens=501)
        assert greedy.status == 429
        assert "retry-after" not in greedy.headers
        first = await sidecar.ask(SUM, user, model="small", max_tokens=400)
        left = int(first.headers["x-ratelimit-remaining-tokens"])
        assert first.headers["x-ratelimit-limit-tokens"] == "500"
        assert 500 - 300 - len(SUM) <= left < 500
        hit = await sidecar.ask(SUM, user, model="small", max_tokens=400)
        assert hit.headers["x-sidecar-cache"] == "hit-exact"
        assert int(hit.headers["x-ratelimit-remaining-tokens"]) >= left


async def test_a_user_has_limits_of_his_own(start: Start) -> None:
    """By the header, else by the body; another one is not held by them."""
    sidecar = await start(DEMO, SHOP + "user_requests_per_minute = 1\n")
    assert (await sidecar.ask(SUM, {**KEY, "x-sidecar-user": "ann"})).status == 200
    assert (await sidecar.ask(SUM, KEY, user="ann")).status == 429
    assert (await sidecar.ask(SUM, KEY, user="bob")).status == 200


async def test_who_finds_no_place_waits_and_batch_waits_longer(start: Start) -> None:
    """Places come free in turns; nobody is refused who can be served in time."""
    server = "[server]\nmax_in_flight = 2\nmax_queued = 50\nqueue_timeout_s = 60.0\n"
    async with AsyncExitStack() as stack:
        vendor, ended = Vendor(), list[str]()
        sidecar = await start(ladder(await opened(stack, vendor)), server)
        admission = sidecar.lasting.admission
        vendor.hold.clear()

        async def ask(number: int, priority: str) -> None:
            headers = {"x-sidecar-priority": priority, "authorization": f"Bearer {number % 3}"}
            answer = await sidecar.ask(f"What is {number} plus 7?", headers, model="small")
            assert answer.status == 200
            ended.append(priority)

        def here() -> int:
            return (
                admission.in_flight + admission.waiting("batch") + admission.waiting("interactive")
            )

        batch = [asyncio.create_task(ask(number, "batch")) for number in range(6)]
        await until(lambda: here() == 6)
        others = [asyncio.create_task(ask(number, "interactive")) for number in range(100, 106)]
        await until(lambda: here() == 12)
        vendor.hold.set()
        await asyncio.gather(*batch, *others)
        assert admission.in_flight == 0
        assert ended.count("batch") == 6
        assert ended[-1] == "batch"


async def test_beyond_the_line_callers_are_told_when_to_come_back(start: Start) -> None:
    """429 in OpenAI's shape, at once when the line is full, later when nothing came free."""
    server = "[server]\nmax_in_flight = 1\nmax_queued = 1\nqueue_timeout_s = 0.05\n"
    async with AsyncExitStack() as stack:
        vendor = Vendor()
        sidecar = await start(ladder(await opened(stack, vendor)), server)
        vendor.hold.clear()
        asking = [asyncio.create_task(sidecar.ask(q, model="large")) for q in sums(6)]
        await until(lambda: sum(task.done() for task in asking) == 5)
        vendor.hold.set()
        answers = await asyncio.gather(*asking)
    assert Counter(answer.status for answer in answers) == {429: 5, 200: 1}
    refused = next(answer for answer in answers if answer.status == 429)
    assert refused.body["error"]["code"] == "over_capacity"
    assert refused.headers["retry-after"] == "1"
    assert sidecar.lasting.admission.in_flight == 0


async def test_a_tenants_own_limit_holds_nobody_else_up(start: Start) -> None:
    """Its requests wait for each other; another tenant's go past."""
    tenants = SHOP + 'max_in_flight = 1\n[[tenants]]\nname = "bank"\nkeys = ["sk-bank"]\n'
    async with AsyncExitStack() as stack:
        vendor = Vendor()
        server = "[server]\nqueue_timeout_s = 60.0\n"
        sidecar = await start(ladder(await opened(stack, vendor)), server + tenants)
        vendor.hold.clear()
        vendor.holds = {"l"}
        shop = [asyncio.create_task(sidecar.ask(q, KEY, model="large")) for q in sums(4)]
        await until(lambda: sidecar.lasting.admission.waiting("interactive") == 3)
        bank = await sidecar.ask(SUM, {"authorization": "Bearer sk-bank"}, model="small")
        assert bank.status == 200
        assert not any(task.done() for task in shop)
        vendor.hold.set()
        assert {answer.status for answer in await asyncio.gather(*shop)} == {200}


async def test_an_unknown_priority_is_refused(start: Start) -> None:
    """The header is named."""
    sidecar = await start()
    refused = await sidecar.ask(SUM, {"x-sidecar-priority": "urgent"})
    assert (refused.status, refused.body["error"]["param"]) == (400, "x-sidecar-priority")


async def test_the_operator_sees_what_is_left(start: Start) -> None:
    """Limits, spent, reserved and remaining by tenant; his token first, and no tenant's secrets."""
    sidecar = await start(DEMO, SHOP + "budget_usd = 1.0\nuser_budget_usd_per_day = 0.5\n")
    await sidecar.ask(SUM, {**KEY, "x-sidecar-user": "ann"}, model="large")
    api = BudgetsApi(read=sidecar.lasting.admission.budgets, token=OperatorToken("t"))
    app = web.Application(middlewares=[errors_told(logging.getLogger("test"))])
    app.add_routes(api.routes())
    server = TestServer(app)
    async with server:
        url = str(server.make_url("/admin/budgets"))
        async with sidecar.session.get(url) as refused:
            assert refused.status == 401
        async with sidecar.session.get(url, headers={"authorization": "Bearer t"}) as response:
            (shop,) = (await response.json())["budgets"]
    spent = Decimal(shop["total"]["spent_usd"])
    assert spent > 0
    assert shop["total"]["limit_usd"] == "1"
    assert Decimal(shop["total"]["remaining_usd"]) == 1 - spent
    assert shop["day"]["limit_usd"] is None
    assert shop["users_today"] == [{"user": "ann", "committed_usd": str(spent.normalize())}]
    exposition = sidecar.lasting.metrics.exposition.text().decode()
    assert 'sidecar_budget_remaining_usd{period="total",tenant="shop"}' in exposition
    assert "sk-shop" not in exposition


async def paying(start: Start, stack: AsyncExitStack, limits: str) -> tuple[Running, Vendor]:
    """The shop with these limits, at a vendor of its own."""
    vendor = Vendor()
    return await start(ladder(await opened(stack, vendor)), SHOP + limits), vendor


def committed(sidecar: Running) -> tuple[Decimal, Decimal]:
    """What the shop has spent in all, and reserved."""
    purse = sidecar.lasting.admission.purses.peek(("shop", None, None))
    return purse.spent, purse.reserved


async def until_asked(vendor: Vendor, times: int) -> None:
    """The vendor has been asked so often."""
    while len(vendor.asked) < times:
        await asyncio.sleep(0.001)


async def test_who_leaves_midway_has_paid_the_worst_case(start: Start) -> None:
    """Nobody knows what the vendor will bill; it is taken for spent and not reserved for ever."""
    async with AsyncExitStack() as stack:
        sidecar, vendor = await paying(start, stack, "budget_usd = 1.0\n")
        vendor.hold.clear()
        asking = asyncio.create_task(sidecar.ask(SUM, KEY, model="large", max_tokens=100))
        await until_asked(vendor, 1)
        spent, reserved = committed(sidecar)
        assert spent == 0
        assert reserved > Decimal("0.004")
        asking.cancel()
        while committed(sidecar)[1]:
            await asyncio.sleep(0.001)
        assert committed(sidecar)[0] == reserved
        vendor.hold.set()


async def test_whose_leader_cannot_pay_pays_for_himself(start: Start) -> None:
    """A user without money leads, another one follows: the first is refused, the other answered."""
    async with AsyncExitStack() as stack:
        sidecar, vendor = await paying(start, stack, "user_budget_usd_per_day = 0.0005\n")
        ann, bob = ({**KEY, "x-sidecar-user": user} for user in ("ann", "bob"))
        await sidecar.ask("Spend!", ann, model="small", max_tokens=200)
        both = (sidecar.ask(SUM, who, model="small", max_tokens=100) for who in (ann, bob))
        poor, rich = await asyncio.gather(*both)
        assert (poor.status, rich.status) == (429, 200)
        assert poor.body["error"]["code"] == "insufficient_quota"
        assert len(vendor.asked) == 2


async def test_what_is_done_behind_callers_backs_is_paid_by_no_tenant(start: Start) -> None:
    """A refresh and a check have budgets of their own."""
    async with AsyncExitStack() as stack:
        vendor = Vendor()
        url = await opened(stack, vendor)
        cache = "[cache]\nttl_s = 0.001\nttl_jitter_ratio = 0.0\nstale_while_revalidate_s = 60.0\n"
        sidecar = await start(ladder(url), cache + SHOP + "budget_usd = 1.0\n")
        await sidecar.ask(SUM, KEY, model="small", max_tokens=100)
        before = committed(sidecar)
        stale = await sidecar.ask(SUM, KEY, model="small", max_tokens=100)
        assert stale.headers["x-sidecar-cache"] == "stale"
        while len(sidecar.lasting.refreshes):
            await asyncio.sleep(0.001)
        assert len(vendor.asked) == 2
        assert committed(sidecar) == before

        broke = cache + "[admission]\nrefresh_budget_usd_per_hour = 0.0\n" + SHOP
        sidecar = await start(ladder(url), broke)
        await sidecar.ask(SUM, KEY, model="small", max_tokens=100)
        stale = await sidecar.ask(SUM, KEY, model="small", max_tokens=100)
        assert stale.headers["x-sidecar-cache"] == "stale"
        while len(sidecar.lasting.refreshes):
            await asyncio.sleep(0.001)
        assert len(vendor.asked) == 3


async def test_the_vendors_client_does_not_ask_again_where_no_money_is(start: Start) -> None:
    """`insufficient_quota` is no rate: asking again would be refused again."""
    sidecar = await start(DEMO, SHOP + "budget_usd_per_day = 0.0000001\n")
    async with openai.AsyncOpenAI(
        base_url=sidecar.url + "/v1", api_key="sk-shop", max_retries=5
    ) as client:
        with pytest.raises(openai.RateLimitError) as caught:
            await client.chat.completions.create(
                model="auto", messages=[{"role": "user", "content": SUM}], max_tokens=9
            )
        assert (caught.value.code, caught.value.type) == (
            "insufficient_quota",
            "insufficient_quota",
        )
        assert 0 < int(caught.value.response.headers["retry-after"]) <= 86_400
        exposition = sidecar.lasting.metrics.exposition.text().decode()
        told = 'sidecar_requests_refused_total{reason="budget_day",tenant="shop"} 1.0'
        assert told in exposition


async def test_a_stream_is_paid_and_told_as_a_whole_answer_is(start: Start) -> None:
    """Its headers tell what is left, its end settles what it cost."""
    sidecar = await start(DEMO, SHOP + "budget_usd = 1.0\ntokens_per_minute = 10000\n")
    async with openai.AsyncOpenAI(
        base_url=sidecar.url + "/v1", api_key="sk-shop", max_retries=0
    ) as client:
        stream = await client.chat.completions.with_raw_response.create(
            model="large", messages=[{"role": "user", "content": SUM}], stream=True, max_tokens=50
        )
        assert int(stream.headers["x-ratelimit-remaining-tokens"]) < 10_000
        chunks = [chunk async for chunk in stream.parse()]
        cost = Decimal((chunks[-1].model_extra or {})["sidecar"]["cost_usd"])
        assert committed(sidecar) == (cost, Decimal(0))


async def test_no_tenant_waits_behind_anothers_flood(start: Start) -> None:
    """Sixty of the one, then one of the other: it goes after a turn, not after them all."""
    server = "[server]\nmax_in_flight = 2\nqueue_timeout_s = 60.0\n"
    tenants = SHOP + '[[tenants]]\nname = "bank"\nkeys = ["sk-bank"]\n'
    async with AsyncExitStack() as stack:
        vendor = Vendor()
        sidecar = await start(ladder(await opened(stack, vendor)), server + tenants)
        vendor.hold.clear()
        flood = [asyncio.create_task(sidecar.ask(q, KEY, model="small")) for q in sums(60)]
        admission = sidecar.lasting.admission
        while admission.waiting("interactive") < 58:
            await asyncio.sleep(0.001)
        bank = {"authorization": "Bearer sk-bank"}
        quiet = asyncio.create_task(sidecar.ask(SUM, bank, model="small"))
        while admission.waiting("interactive") < 59:
            await asyncio.sleep(0.001)
        vendor.hold.set()
        assert (await quiet).status == 200
        assert admission.waiting("interactive") > 40
        assert {answer.status for answer in await asyncio.gather(*flood)} == {200}


async def test_many_who_follow_one_without_money_are_refused_at_once(start: Start) -> None:
    """Each hears so for itself, and none of them begins it all again for the others."""
    async with AsyncExitStack() as stack:
        sidecar, vendor = await paying(start, stack, "budget_usd = 0.00001\n")
        answers = await told(sidecar, [SUM] * 60, model="large", max_tokens=100)
        assert {answer.status for answer in answers} == {429}
        assert not vendor.asked
        exposition = sidecar.lasting.metrics.exposition.text().decode()
        assert 'sidecar_requests_refused_total{reason="budget",tenant="shop"} 60.0' in exposition


async def test_an_answer_sent_back_to_be_mended_is_reserved_too(start: Start) -> None:
    """The reservation covers both calls; without a schema to hold it to, one."""
    async with AsyncExitStack() as stack:
        sidecar, vendor = await paying(start, stack, "budget_usd = 1.0\n")
        vendor.hold.clear()
        reserved: list[Decimal] = []
        schema = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}
        for fields in ({}, {"response_format": schema}):
            before = committed(sidecar)[1]
            asking = asyncio.create_task(
                sidecar.ask(SUM, KEY, model="large", max_tokens=100, **fields)
            )
            await until_asked(vendor, len(reserved) + 1)
            reserved.append(committed(sidecar)[1] - before)
            stack.callback(asking.cancel)
        assert reserved[1] > 2 * reserved[0]
        vendor.hold.set()
        while committed(sidecar)[1]:
            await asyncio.sleep(0.001)
        assert committed(sidecar)[0] == vendor.billed_usd
        assert len(vendor.asked) == 3
