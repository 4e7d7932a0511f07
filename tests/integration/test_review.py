"""Over HTTP: what waits for a person, the person's verdict, and what training makes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from sidecar.app import listeners
from sidecar.web.listen import MainLoop
from sidecar.web.middleware import errors_told
from sidecar.web.review_api import ReviewApi
from sidecar.web.token import OperatorToken
from tests.integration.conftest import DEMO, Running, Start
from train.samples.traffic import read_traffic

TOKEN = {"authorization": "Bearer secret"}


class Desk:
    """A reviewer's door to a running sidecar."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url, self._session = url, session

    async def waiting(self, query: str = "") -> list[dict[str, Any]]:
        url = f"{self._url}/admin/review{query}"
        async with self._session.get(url, headers=TOKEN) as response:
            return list((await response.json())["items"])

    async def judge(self, body: dict[str, Any], token: dict[str, str] = TOKEN) -> int:
        url = f"{self._url}/admin/review"
        async with self._session.post(url, json=body, headers=token) as response:
            await response.read()
            return response.status


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def desk(sidecar: Running, stack: AsyncExitStack) -> Desk:
    """The operator's application with the reviewers' routes."""
    lasting = sidecar.lasting
    api = ReviewApi(
        queue=lasting.reviewing,
        log=lasting.log,
        listeners=listeners(lasting),
        rulings=lasting.board.ruling,
        main=MainLoop(asyncio.get_running_loop()),
        token=OperatorToken("secret"),
    )
    app = web.Application(middlewares=[errors_told(lasting.logger)])
    app.add_routes(api.routes())
    server = await stack.enter_async_context(TestServer(app))
    return Desk(str(server.make_url("")).rstrip("/"), sidecar.session)


def config(folder: Path, more: str = "", review: str = "") -> str:
    traffic = f'[traffic]\ndir = "{folder / "traffic"}"\n{more}\n'
    return f'[server]\nstate_dir = "{folder}"\n\n{traffic}\n[review]\nsample = 0.0\n{review}\n\n'


async def complaint(sidecar: Running, question: str, **headers: str) -> str:
    """Ask, and call the answer bad; the request's id."""
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = await sidecar.ask(question, told)
    request_id = answer.headers["x-sidecar-request-id"]
    body = {"request_id": request_id, "label": "bad", "comment": "call 030 1234567"}
    await sidecar.post("/v1/feedback", body, told)
    return request_id


async def test_a_verdict_is_the_surest_label(
    start: Start, tmp_path: Path, stack: AsyncExitStack
) -> None:
    """The caller called it bad, the reviewer good, the caller bad again: the reviewer's counts."""
    sidecar = await start(DEMO, config(tmp_path))
    door = await desk(sidecar, stack)
    request_id = await complaint(sidecar, "What is 3 plus 4?")
    (item,) = await door.waiting()
    assert (item["request_id"], item["why"]) == (request_id, "complaint")
    assert item["question"] == "What is 3 plus 4?"
    verdict = {"request_id": request_id, "tenant": item["tenant"], "label": "good"}
    assert await door.judge(verdict, {}) == 401
    assert await door.judge({**verdict, "tenant": "another"}) == 404
    assert await door.judge(verdict) == 200
    assert await door.judge(verdict) == 404  # it waits no more
    assert await door.waiting() == []
    await sidecar.post("/v1/feedback", {"request_id": request_id, "label": "bad"})
    sidecar.lasting.log.close()
    (example,) = read_traffic(tmp_path / "traffic", sidecar.lasting.encoder_id)
    assert [told.correct for told in example.answers.values() if told.correct is not None] == [1.0]
    exposition = sidecar.lasting.metrics.exposition.text().decode()
    assert 'sidecar_reviews_total{label="good"} 1.0' in exposition


async def test_texts_are_covered_as_in_the_log(
    start: Start, tmp_path: Path, stack: AsyncExitStack
) -> None:
    """What the log may not hold the queue may not; where all is covered nothing waits."""
    sidecar = await start(DEMO, config(tmp_path, 'redact = ["phone"]'))
    await complaint(sidecar, "What is 3 plus 4? My number is 030 1234567.")
    (item,) = await (await desk(sidecar, stack)).waiting()
    assert "1234567" not in f"{item['question']} {item['comment']}"
    other = await start(DEMO, config(tmp_path / "other", 'redact = ["all"]'))
    await complaint(other, "What is 3 plus 5?")
    assert await (await desk(other, stack)).waiting() == []


@pytest.mark.parametrize(
    ("headers", "more"),
    [
        pytest.param({"cache_control": "no-store"}, "", id="not to be kept"),
        pytest.param({}, "max_items = 0", id="switched off"),
    ],
)
async def test_some_never_wait(
    start: Start, tmp_path: Path, stack: AsyncExitStack, headers: dict[str, str], more: str
) -> None:
    """The caller forbade that it be kept, or the operator wants no queue."""
    sidecar = await start(DEMO, config(tmp_path, review=more))
    await complaint(sidecar, "What is 3 plus 4?", **headers)
    assert await (await desk(sidecar, stack)).waiting() == []


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"tenant": "t", "label": "good"}, id="no request"),
        pytest.param({"request_id": "r", "label": "good"}, id="no tenant"),
        pytest.param({"request_id": "r", "tenant": "t"}, id="no verdict"),
        pytest.param({"request_id": "r", "tenant": "t", "label": "so-so"}, id="no such label"),
        pytest.param({"request_id": "r", "tenant": "t", "label": "bad", "who": "me"}, id="strange"),
    ],
)
async def test_a_verdict_that_says_nothing_is_refused(
    start: Start, tmp_path: Path, stack: AsyncExitStack, body: dict[str, Any]
) -> None:
    """With the field named, and nothing written."""
    sidecar = await start(DEMO, config(tmp_path))
    assert await (await desk(sidecar, stack)).judge(body) == 400


async def test_doubt_and_other_tiers_words_are_worth_a_look(
    start: Start, tmp_path: Path, stack: AsyncExitStack
) -> None:
    """Answers of little confidence wait, and those that the next tier contradicts."""
    asks = "shadow_share = 1.0\nshadow_budget_usd_per_hour = 10.0\nquality = 0\n"
    review = f"min_confidence = 0.5\n\n[router]\n{asks}"
    sidecar = await start(DEMO, config(tmp_path, review=review))
    for number in range(8):
        await sidecar.ask(f"What is {97 + number} times {13 + number} minus {number}?")
    await sidecar.lasting.shadows.settled()
    door = await desk(sidecar, stack)
    assert {item["why"] for item in await door.waiting()} >= {"differs"}
    assert await door.waiting("?why=differs&limit=1") == (await door.waiting("?why=differs"))[:1]
