"""Guardrails over HTTP: what goes in, what comes out, and what is never kept."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from sidecar.traffic.reader import read_folder
from sidecar.traffic.record import RequestRecord
from tests.integration.conftest import Answer, Running, Start

GOOD, BAD = '{"age": 7}', "He is seven."
SCHEMA = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "age", "schema": SCHEMA}}
QUESTION = "How old is the child in the picture book?"
DEBUG = {"x-sidecar-debug": "1"}


class Vendor:
    """Says what it is told to, one thing after the other and the last for ever, by model."""

    def __init__(self) -> None:
        self.says: dict[str, list[str]] = {"s": [BAD], "l": [BAD]}
        self.asked: list[dict[str, Any]] = []

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.asked.append(body)
        says = self.says[body["model"]]
        text = says.pop(0) if len(says) > 1 else says[0]
        head = {"id": "x", "created": 1, "model": body["model"]}
        usage = {"prompt_tokens": 10, "completion_tokens": 5}
        if not body.get("stream"):
            choice = {"index": 0, "message": {"role": "assistant", "content": text}}
            choices = [{**choice, "finish_reason": "stop"}]
            whole = {**head, "object": "chat.completion", "choices": choices, "usage": usage}
            return web.json_response(whole)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for delta, finish_reason in (({"content": text}, None), ({}, "stop")):
            choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
            chunk = {**head, "object": "chat.completion.chunk", "choices": [choice]}
            await response.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        await response.write(b"data: [DONE]\n\n")
        return response


@pytest.fixture
def vendor() -> Vendor:
    return Vendor()


@pytest.fixture
async def ladder(vendor: Vendor) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", vendor.chat)
    async with TestServer(app) as server:
        yield f"""
[cache.lookup]
budget_s = 30.0
[[upstreams]]
name = "vendor"
kind = "openai"
base_url = "{server.make_url("/v1")}"
[[tiers]]
name = "small"
model = "s"
upstreams = ["vendor"]
price_out_usd_per_mtok = 1.0
[[tiers]]
name = "large"
model = "l"
upstreams = ["vendor"]
price_out_usd_per_mtok = 10.0
[[tenants]]
name = "shop"
keys = ["sk-shop"]
"""


async def ask(sidecar: Running, headers: dict[str, str] | None = None, **fields: Any) -> Answer:
    """To the cheapest tier first."""
    told = {"authorization": "Bearer sk-shop", "x-sidecar-quality": "economy", **DEBUG}
    return await sidecar.ask(QUESTION, {**told, **(headers or {})}, **fields)


def said(answer: Answer) -> str:
    return str(answer.body["choices"][0]["message"]["content"])


async def test_a_schema_is_mended_by_asking_once_more(
    start: Start, vendor: Vendor, ladder: str
) -> None:
    """The same tier hears what is wrong, and its second answer is served, billed and kept."""
    sidecar = await start(ladder)
    vendor.says["s"] = [BAD, GOOD]
    answer = await ask(sidecar, response_format=FORMAT)
    assert (answer.status, said(answer)) == (200, GOOD)
    assert [call["model"] for call in vendor.asked] == ["s", "s"]
    assert vendor.asked[1]["messages"][1] == {"role": "assistant", "content": BAD}
    assert "cannot be used" in vendor.asked[1]["messages"][2]["content"]
    assert answer.headers["x-sidecar-guardrails"] == "answer-schema@small"
    assert answer.headers["x-sidecar-escalations"] == "0"
    assert answer.headers["x-sidecar-cost-usd"] == "0.00001"
    again = await ask(sidecar, response_format=FORMAT)
    assert (again.headers["x-sidecar-cache"], said(again)) == ("hit-exact", GOOD)


async def test_a_schema_that_one_tier_cannot_keep_is_the_next_ones(
    start: Start, vendor: Vendor, ladder: str
) -> None:
    """One repair in all, then the tier above; and nobody repairs twice."""
    sidecar = await start(ladder)
    vendor.says["l"] = [GOOD]
    answer = await ask(sidecar, response_format=FORMAT)
    assert said(answer) == GOOD
    assert [call["model"] for call in vendor.asked] == ["s", "s", "l"]
    assert answer.headers["x-sidecar-tier"] == "large"


async def test_the_best_of_them_is_served_and_never_kept_where_the_wish_was_the_callers(
    start: Start, vendor: Vendor, ladder: str
) -> None:
    """`mend` loses no answer that the bare vendor would have given; `enforce` refuses it."""
    for mode, status in (("mend", 200), ("enforce", 502)):
        sidecar = await start(f'{ladder}\n[guardrails]\njson_schema = "{mode}"\n')
        answer = await ask(sidecar, response_format=FORMAT)
        assert answer.status == status
        if status != 200:
            assert answer.body["error"]["code"] == "guardrail_answer_schema"
        assert len(sidecar.lasting.store) == 0


@pytest.mark.parametrize(
    ("action", "asked", "status"),
    [
        pytest.param("repair", ["s", "s", "l"], 502, id="repair"),
        pytest.param("escalate", ["s", "l"], 502, id="escalate"),
        pytest.param("block", ["s"], 502, id="block"),
        pytest.param("flag", ["s"], 200, id="flag"),
    ],
)
async def test_what_an_answer_may_not_say(
    start: Start, vendor: Vendor, ladder: str, action: str, asked: list[str], status: int
) -> None:
    """As far as the config says, and no further; what is flagged is told and not kept."""
    rules = f'[guardrails]\ndeny_answer = ["(?i)seven"]\non_violation = "{action}"\n'
    sidecar = await start(ladder + rules)
    answer = await ask(sidecar)
    assert [call["model"] for call in vendor.asked] == asked
    assert answer.status == status
    if status == 200:
        assert answer.headers["x-sidecar-guardrails"] == "answer-denied@small"
    else:
        assert answer.body["error"]["type"] == "guardrail_error"
        assert "seven" not in answer.body["error"]["message"]
    assert len(sidecar.lasting.store) == 0
    exposed = sidecar.lasting.metrics.exposition.text().decode()
    count = f'sidecar_guardrail_violations_total{{rule="answer-denied"}} {len(asked)}.0'
    assert count in exposed


async def test_a_repair_that_the_callers_budget_does_not_bear_is_not_asked(
    start: Start, vendor: Vendor, ladder: str
) -> None:
    """`x-sidecar-max-cost-usd` holds, repairs and escalations included."""
    sidecar = await start(ladder)
    answer = await ask(sidecar, {"x-sidecar-max-cost-usd": "0.000006"}, response_format=FORMAT)
    assert [call["model"] for call in vendor.asked] == ["s"]
    assert answer.headers["x-sidecar-cost-usd"] == "0.000005"


async def test_a_stream_to_which_a_rule_applies_is_held(
    start: Start, vendor: Vendor, ladder: str
) -> None:
    """No forbidden word goes out; told as a stream all the same once an answer stands."""
    sidecar = await start(f'{ladder}\n[guardrails]\ndeny_answer = ["seven"]\n')
    vendor.says = {"s": [BAD], "l": ["He is 7."]}
    for model in ("auto", "large"):
        answer = await ask(sidecar, {"cache-control": "no-store"}, stream=True, model=model)
        assert "seven" not in answer.body
        assert "He is 7." in answer.body
        assert answer.body.endswith("data: [DONE]\n\n")
    refused = await ask(sidecar, stream=True, model="small")
    assert (refused.status, refused.body["error"]["code"]) == (502, "guardrail_answer_denied")


async def test_a_live_stream_can_only_be_flagged(start: Start, vendor: Vendor, ladder: str) -> None:
    """`streams = "flag"`: relayed as it comes, told in log and metrics, never kept."""
    rules = '[guardrails]\ndeny_answer = ["seven"]\nstreams = "flag"\n'
    sidecar = await start(ladder + rules)
    answer = await ask(sidecar, stream=True, model="small")
    assert "seven" in answer.body
    assert answer.body.endswith("data: [DONE]\n\n")
    assert len(vendor.asked) == 1
    assert len(sidecar.lasting.store) == 0


async def test_a_new_rule_does_not_serve_what_was_kept_under_the_old(
    start: Start, vendor: Vendor, ladder: str, tmp_path: Path
) -> None:
    """The rules for answers are part of the cache's key."""
    extra = f'[cache.disk]\npath = "{tmp_path}/cache.sqlite"\n'
    async with AsyncExitStack() as until:
        sidecar = await start(ladder, extra, until)
        assert said(await ask(sidecar)) == BAD
    vendor.says["s"] = ["He is 7."]
    ruled = await start(f'{ladder}\n[guardrails]\ndeny_answer = ["seven"]\n', extra)
    assert said(await ask(ruled)) == "He is 7."


async def test_a_request_that_breaks_a_rule_costs_nothing_and_is_told(
    start: Start, vendor: Vendor, ladder: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """400, no call; the rule's name stands in record, metrics and log, the text in none of them."""
    caplog.set_level(logging.INFO)
    rules = f'[guardrails]\ndeny = ["picture"]\n[traffic]\ndir = "{tmp_path}"\nredact = ["all"]\n'
    async with AsyncExitStack() as until:
        sidecar = await start(ladder + rules, until=until)
        answer = await ask(sidecar)
        assert (answer.status, answer.body["error"]["code"]) == (400, "guardrail_deny")
        assert answer.body["error"]["param"] == "messages[0]"
        assert vendor.asked == []
        exposed = sidecar.lasting.metrics.exposition.text()
        assert b'sidecar_guardrail_violations_total{rule="deny"} 1.0' in exposed
    (record,) = read_folder(tmp_path)
    assert isinstance(record, RequestRecord)
    assert (record.guardrail, record.error) == ("deny", "RequestRefused")
    (line,) = [one for one in caplog.records if one.message == "guardrail"]
    assert line.__dict__["facts"]["rules"] == ["deny"]
    assert "picture" not in caplog.text


async def test_violations_are_labels_in_the_record(
    start: Start, vendor: Vendor, ladder: str, tmp_path: Path
) -> None:
    """Training reads which tier broke which rule."""
    vendor.says["l"] = [GOOD]
    async with AsyncExitStack() as until:
        sidecar = await start(ladder, f'[traffic]\ndir = "{tmp_path}"\n', until)
        await ask(sidecar, response_format=FORMAT)
    (record,) = read_folder(tmp_path)
    assert isinstance(record, RequestRecord)
    told = [(attempt.tier, attempt.guardrail) for attempt in record.attempts]
    assert told == [("small", "answer-schema"), ("small", "answer-schema"), ("large", "")]
