"""The simulated vendor over real loopback HTTP: answers, streams, faults and counts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st
from openai import AsyncOpenAI

from loadtest.callers.answers import UNREACHED
from loadtest.callers.client import ask, session
from loadtest.vendors.provider import ProviderConfig, SimulatedVendor, answer_to, question_of


@pytest.fixture
async def base_url() -> AsyncIterator[str]:
    async with TestServer(SimulatedVendor(ProviderConfig(drip_s=0.0)).app()) as server:
        yield str(server.make_url("/v1"))


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with session() as opened:
        yield opened


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_names_its_question(
    base_url: str, http: aiohttp.ClientSession, *, stream: bool
) -> None:
    """As JSON and as a stream alike."""
    reply = await ask(http, base_url, "Why is the sky blue?", stream=stream)
    assert reply.is_whole
    assert question_of(reply.text) == "Why is the sky blue?"


async def test_the_real_client_reads_it(base_url: str) -> None:
    """Shape, usage and streams are such that the `openai` client takes them."""
    asked: Any = {"model": "echo", "messages": [{"role": "user", "content": "Why?"}]}
    async with AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0) as client:
        whole = await client.chat.completions.create(**asked)
        stream = await client.chat.completions.create(
            **asked, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert whole.choices[0].message.content == text == answer_to("Why?")
    assert whole.usage == chunks[-1].usage


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", ["reset", "truncate", "garbage", "status=503"])
async def test_a_fault_asked_for_in_the_question_comes(
    base_url: str, http: aiohttp.ClientSession, fault: str, *, stream: bool
) -> None:
    """None of them looks like a whole answer."""
    reply = await ask(http, base_url, f"Why? [fault:{fault}]", stream=stream)
    assert not reply.is_whole
    expected = {"garbage": 200, "status=503": 503}.get(fault, UNREACHED)
    assert reply.status == expected
    assert bool(reply.fault) == (reply.status == UNREACHED)


@pytest.mark.parametrize(
    ("fault", "stream", "told"),
    [
        pytest.param("reset", False, "unanswered: ServerDisconnectedError, head", id="no-head"),
        pytest.param("truncate", True, "unanswered: ClientPayloadError, body", id="no-end"),
        pytest.param("status=503", False, "503 none", id="an-answer"),
    ],
)
async def test_a_request_without_an_answer_tells_how_far_it_came(
    base_url: str, http: aiohttp.ClientSession, fault: str, told: str, *, stream: bool
) -> None:
    """So that nobody has to guess afterwards who ended it."""
    reply = await ask(http, base_url, f"Why? [fault:{fault}]", stream=stream)
    assert reply.outcome == told


async def test_a_fault_asked_for_by_header_comes(
    base_url: str, http: aiohttp.ClientSession
) -> None:
    """With the wait that a busy vendor asks for."""
    reply = await ask(http, base_url, "Why?", headers={"x-provider-fault": "status=429"})
    assert reply.status == 429
    assert reply.headers["retry-after"] == "1"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_drip_is_slow_and_whole(
    base_url: str, http: aiohttp.ClientSession, *, stream: bool
) -> None:
    """It loses nothing."""
    reply = await ask(http, base_url, "Why? [fault:drip]", stream=stream)
    assert reply.text == answer_to("Why? [fault:drip]")
    assert reply.is_whole


async def test_a_share_of_all_requests_can_fail(http: aiohttp.ClientSession) -> None:
    """As often as the flags say."""
    config = ProviderConfig(fault="status=500", fault_ratio=0.5, seed=1)
    async with TestServer(SimulatedVendor(config).app()) as server:
        url = str(server.make_url("/v1"))
        statuses = [(await ask(http, url, "Why?")).status for _ in range(40)]
    assert 8 < statuses.count(500) < 32
    assert statuses.count(200) + statuses.count(500) == 40


async def test_one_meaning_gets_one_answer(http: aiohttp.ClientSession) -> None:
    """What it was not told of is answered by its own words."""
    config = ProviderConfig(meanings={"Why?": "#1", "How come?": "#1"})
    async with TestServer(SimulatedVendor(config).app()) as server:
        url = str(server.make_url("/v1"))
        answers = [(await ask(http, url, text)).text for text in ("Why?", "How come?", "Who?")]
    assert answers == ["Answer to: #1", "Answer to: #1", "Answer to: Who?"]


async def test_calls_are_counted(base_url: str, http: aiohttp.ClientSession) -> None:
    """`GET /stats` tells how many there were, of which kind, and the tokens that are billed."""
    await ask(http, base_url, "Why?")
    await ask(http, base_url, "Why?", stream=True)
    await ask(http, base_url, "Why? [fault:garbage]")
    async with http.get(base_url.removesuffix("/v1") + "/stats") as response:
        assert await response.json() == {
            "calls": 3,
            "by_kind": {"json": 1, "stream": 1, "garbage": 1},
            "left": 0,
            "tokens": {"auto": [2, 8]},
        }


async def test_what_is_no_request_is_refused(base_url: str, http: aiohttp.ClientSession) -> None:
    """400, in OpenAI's shape."""
    async with http.post(f"{base_url}/chat/completions", data=b"no json") as response:
        assert response.status == 400
        assert (await response.json())["error"]["type"] == "simulated_error"


@given(st.text())
def test_the_question_is_read_back_from_its_answer(question: str) -> None:
    """`question_of(answer_to(q)) == q`."""
    assert question_of(answer_to(question)) == question
