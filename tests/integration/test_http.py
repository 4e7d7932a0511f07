"""The main job over HTTP: an answer, both kinds of hit, a stream, and every error."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import openai
import pytest

from sidecar.traffic.reader import read_folder
from sidecar.traffic.record import FeedbackRecord, RequestRecord
from tests.integration.conftest import DEMO, Start

SUM = "What is 12 plus 7?"
PARAPHRASE = "How much is 12 plus 7?"


async def test_the_same_question_is_answered_once(start: Start) -> None:
    """A miss, then an exact hit: the same choices, a fresh id, nothing to pay."""
    sidecar = await start()
    first, second = await sidecar.ask(SUM), await sidecar.ask(SUM)
    assert (first.status, second.status) == (200, 200)
    assert first.headers["x-sidecar-cache"] == "miss"
    assert second.headers["x-sidecar-cache"] == "hit-exact"
    assert second.body["choices"] == first.body["choices"]
    assert second.body["id"] != first.body["id"]
    assert second.headers["x-sidecar-cost-usd"] == "0"
    assert "age" in second.headers
    assert first.headers["x-sidecar-request-id"] != second.headers["x-sidecar-request-id"]


async def test_a_paraphrase_is_a_semantic_hit_and_a_look_alike_is_not(start: Start) -> None:
    """The same meaning is served; another number never is."""
    sidecar = await start()
    first = await sidecar.ask(SUM)
    await sidecar.settled()
    hit = await sidecar.ask(PARAPHRASE)
    assert hit.headers["x-sidecar-cache"] == "hit-semantic"
    assert float(hit.headers["x-sidecar-similarity"]) < 1
    assert hit.body["choices"] == first.body["choices"]
    other = await sidecar.ask("How much is 12 plus 8?")
    assert other.headers["x-sidecar-cache"] == "miss"


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"model": "large"}, id="other-alias"),
        pytest.param({"response_format": {"type": "json_object"}}, id="other-format"),
        pytest.param({"headers": {"x-sidecar-namespace": "b"}}, id="other-namespace"),
        pytest.param({"headers": {"authorization": "Bearer other"}}, id="other-tenant"),
        pytest.param({"headers": {"x-sidecar-quality": "best"}}, id="other-quality"),
        pytest.param({"headers": {"x-sidecar-bypass": "1"}}, id="bypass"),
        pytest.param({"headers": {"cache-control": "no-cache"}}, id="no-cache"),
        pytest.param({"temperature": 1.5}, id="sampled"),
    ],
)
async def test_what_differs_is_not_shared(start: Start, fields: dict[str, Any]) -> None:
    """Even the identical text is another question to another tenant, tier or format."""
    sidecar = await start()
    await sidecar.ask(SUM)
    await sidecar.settled()
    other = await sidecar.ask(SUM, **fields)
    assert other.headers["x-sidecar-cache"] in {"miss", "bypass"}


async def test_the_system_prompt_is_part_of_the_question(start: Start) -> None:
    """The same words under other instructions are another question."""
    sidecar = await start()
    await sidecar.ask(SUM)
    await sidecar.settled()
    messages = [
        {"role": "system", "content": "Answer in French."},
        {"role": "user", "content": SUM},
    ]
    other = await sidecar.ask("", messages=messages)
    assert other.headers["x-sidecar-cache"] == "miss"


async def test_stream_and_json_share_one_entry(start: Start) -> None:
    """Asked as JSON, served as a stream, word for word, and the other way round."""
    sidecar = await start()
    async with openai.AsyncOpenAI(
        base_url=sidecar.url + "/v1", api_key="k", max_retries=0
    ) as client:
        messages: Any = [{"role": "user", "content": SUM}]
        whole = await client.chat.completions.create(model="auto", messages=messages)
        stream = await client.chat.completions.with_raw_response.create(
            model="auto", messages=messages, stream=True, stream_options={"include_usage": True}
        )
        assert stream.headers["x-sidecar-cache"] == "hit-exact"
        assert stream.headers["x-accel-buffering"] == "no"
        chunks = [chunk async for chunk in stream.parse()]
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        assert text == whole.choices[0].message.content
        assert chunks[-1].usage is not None
        assert (chunks[-1].model_extra or {})["sidecar"]["cache"] == "hit-exact"


async def test_a_live_stream_tells_its_cost_at_the_end(start: Start) -> None:
    """A pinned tier is relayed as it comes; what is known last rides in the last chunk."""
    sidecar = await start()
    async with openai.AsyncOpenAI(
        base_url=sidecar.url + "/v1", api_key="k", max_retries=0
    ) as client:
        stream = await client.chat.completions.with_raw_response.create(
            model="large", messages=[{"role": "user", "content": SUM}], stream=True
        )
        assert stream.headers["x-sidecar-tier"] == "large"
        chunks = [chunk async for chunk in stream.parse()]
        assert all(chunk.choices for chunk in chunks)
        summary = (chunks[-1].model_extra or {})["sidecar"]
        assert float(summary["cost_usd"]) > 0
        assert "19" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


async def test_twenty_who_ask_at_once_are_one_call(start: Start) -> None:
    """One is billed; the others are told that they followed."""
    sidecar = await start(DEMO.replace("speed = 0.0", "speed = 3.0"))
    answers = await asyncio.gather(*(sidecar.ask(SUM) for _ in range(20)))
    statuses = [answer.headers["x-sidecar-cache"] for answer in answers]
    assert statuses.count("miss") == 1
    assert set(statuses) - {"miss", "hit-exact"} == {"coalesced"}
    paid = [a for a in answers if float(a.headers["x-sidecar-cost-usd"]) > 0]
    assert len(paid) == 1
    assert len({str(answer.body["choices"]) for answer in answers}) == 1


@pytest.mark.parametrize(
    ("fields", "headers", "status", "code", "param"),
    [
        pytest.param({"model": "gpt-7"}, {}, 404, "model_not_found", "model", id="unknown-model"),
        pytest.param({"messages": []}, {}, 400, None, "messages", id="no-messages"),
        pytest.param(
            {}, {"x-sidecar-quality": "top"}, 400, None, "x-sidecar-quality", id="quality"
        ),
        pytest.param({}, {"cache-control": "only-if-cached"}, 504, "not_cached", None, id="cached"),
        pytest.param({}, {"x-sidecar-min-tier": "xl"}, 400, None, "x-sidecar-min-tier", id="tier"),
    ],
)
async def test_errors_are_in_openais_shape(
    start: Start,
    fields: dict[str, Any],
    headers: dict[str, str],
    status: int,
    code: str | None,
    param: str | None,
) -> None:
    """The client library finds what it looks for, and the request id is there."""
    sidecar = await start()
    answer = await sidecar.ask(SUM, headers, **fields)
    assert answer.status == status
    assert set(answer.body["error"]) == {"message", "type", "param", "code"}
    assert (answer.body["error"]["code"], answer.body["error"]["param"]) == (code, param)
    assert answer.headers["x-sidecar-request-id"]


async def test_what_is_not_built_says_so(start: Start) -> None:
    """A path of the contract is refused by name, any other is not found; both as JSON."""
    sidecar = await start()
    absent = await sidecar.post("/v1/embeddings", {})
    assert (absent.status, absent.body["error"]["code"]) == (404, "not_built")
    unknown = await sidecar.post("/v2/anything", {})
    assert (unknown.status, unknown.body["error"]["code"]) == (404, "not_found")


async def test_models_are_listed(start: Start) -> None:
    """Aliases, tiers and upstream models, each to be asked for by its name."""
    sidecar = await start()
    async with openai.AsyncOpenAI(base_url=sidecar.url + "/v1", api_key="k") as client:
        names = [model.id async for model in await client.models.list()]
        assert names == ["auto", *names[1:]]
        assert {"small", "medium", "large", "demo-large"} <= set(names)
        assert (await client.models.retrieve("demo-large")).id == "demo-large"


async def test_one_record_a_request_and_feedback_beside_it(start: Start, tmp_path: Path) -> None:
    """The log holds what training needs: question, vector, decision, attempts, outcome."""
    async with AsyncExitStack() as stack:
        sidecar = await start(extra=f'[traffic]\ndir = "{tmp_path}"\n', until=stack)
        first = await sidecar.ask(SUM)
        await sidecar.ask(SUM)
        request_id = first.headers["x-sidecar-request-id"]
        said = await sidecar.post("/v1/feedback", {"request_id": request_id, "label": "good"})
        assert said.status == 200
    records = list(read_folder(tmp_path))
    requests = [r for r in records if isinstance(r, RequestRecord)]
    feedback = [r for r in records if isinstance(r, FeedbackRecord)]
    assert [r.cache for r in requests] == ["miss", "hit-exact"]
    assert requests[0].question == SUM
    assert len(requests[0].vector) == 768
    assert requests[0].attempts[0].answer
    assert requests[0].entry_id == requests[1].entry_id is not None
    assert [(f.request_id, f.score) for f in feedback] == [(request_id, 1.0)]


async def test_answers_live_on_after_a_restart(start: Start, tmp_path: Path) -> None:
    """Both kinds of hit, from disk."""
    extra = f'[cache.disk]\npath = "{tmp_path}/cache.sqlite"\n'
    async with AsyncExitStack() as stack:
        sidecar = await start(extra=extra, until=stack)
        first = await sidecar.ask(SUM)
    again = await start(extra=extra)
    exact, by_meaning = await again.ask(SUM), await again.ask(PARAPHRASE)
    assert exact.headers["x-sidecar-cache"] == "hit-exact"
    assert by_meaning.headers["x-sidecar-cache"] == "hit-semantic"
    assert exact.body["choices"] == first.body["choices"]


@pytest.mark.parametrize(
    ("fault", "status"),
    [pytest.param("500", 500, id="500"), pytest.param("garbage", 502, id="garbage")],
)
async def test_a_failing_vendor_is_told_and_not_kept(start: Start, fault: str, status: int) -> None:
    """An error is never cached: the next one who asks gets an answer."""
    sidecar = await start()
    failed = await sidecar.ask(SUM, demo_fault=fault)
    assert failed.status == status
    assert "error" in failed.body
    assert (await sidecar.ask(SUM)).headers["x-sidecar-cache"] == "miss"


async def test_a_cut_answer_is_served_and_not_kept(start: Start) -> None:
    """finish_reason `length` is half an answer."""
    sidecar = await start()
    for _ in range(2):
        answer = await sidecar.ask(SUM, model="large", max_tokens=1)
        assert answer.headers["x-sidecar-cache"] == "miss"
        assert answer.body["choices"][0]["finish_reason"] == "length"


async def test_debug_tells_the_reasons(start: Start) -> None:
    """Why a miss, why this tier, each attempt, and the time of each hop."""
    sidecar = await start()
    answer = await sidecar.ask(SUM, headers={"x-sidecar-debug": "1"})
    assert answer.headers["x-sidecar-miss-reason"]
    assert answer.headers["x-sidecar-tier-reason"]
    assert "outcome=answered" in answer.headers["x-sidecar-attempts"]
    assert "encode;dur=" in answer.headers["server-timing"]


async def test_a_body_that_is_too_large_is_refused(start: Start) -> None:
    """Sizes are bounded, and the refusal is in shape."""
    sidecar = await start(extra="[server]\nmax_body_bytes = 1000\n")
    answer = await sidecar.ask("x" * 2000)
    assert answer.status == 413
    assert answer.body["error"]["type"] == "invalid_request_error"


async def test_tenants_are_known_by_their_keys_alone(start: Start) -> None:
    """A missing or strange key is refused; a tier that is not the tenant's is not asked."""
    extra = '[[tenants]]\nname = "shop"\nkeys = ["sk-shop"]\ntiers = ["small"]\n'
    sidecar = await start(DEMO + extra)
    assert (await sidecar.ask(SUM)).status == 401
    mine = {"authorization": "Bearer sk-shop"}
    assert (await sidecar.ask(SUM, headers=mine)).headers["x-sidecar-tier"] == "small"
    assert (await sidecar.ask(SUM, headers=mine, model="large")).status == 400


async def test_a_prompt_beyond_the_window_is_cached_exactly_only(start: Start) -> None:
    """Half a prompt's vector must not stand for the whole."""
    sidecar = await start()
    long = "word " * 600
    first = await sidecar.ask(long + "one?", headers={"x-sidecar-debug": "1"})
    await sidecar.settled()
    other = await sidecar.ask(long + "two?")
    assert first.headers["x-sidecar-miss-reason"].startswith("no_meaning")
    assert other.headers["x-sidecar-cache"] == "miss"
    assert (await sidecar.ask(long + "one?")).headers["x-sidecar-cache"] == "hit-exact"


@pytest.mark.parametrize("streams", ["live", "held"])
async def test_a_stream_is_relayed_or_judged_first_as_the_config_says(
    start: Start, streams: str
) -> None:
    """Held, its confidence is known before the first word; live, nobody judged it."""
    sidecar = await start(extra=f'[router]\nstreams = "{streams}"\n')
    answer = await sidecar.ask(SUM, stream=True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert ("x-sidecar-confidence" in answer.headers) == (streams == "held")
    assert answer.body.rstrip().endswith("data: [DONE]")


async def test_who_leaves_a_stream_leaves_nothing_behind(start: Start, tmp_path: Path) -> None:
    """The call upstream ends, nothing half is kept, and the log says who left."""
    async with AsyncExitStack() as stack:
        slow = DEMO.replace("speed = 0.0", "speed = 5.0")
        sidecar = await start(slow, extra=f'[traffic]\ndir = "{tmp_path}"\n', until=stack)
        body = {
            "model": "large",
            "stream": True,
            "messages": [{"role": "user", "content": SUM}],
        }
        async with sidecar.session.post(sidecar.url + "/v1/chat/completions", json=body) as told:
            await told.content.readline()
            told.close()
        while sidecar.lasting.admission.in_flight or len(sidecar.lasting.coalesce):
            await asyncio.sleep(0.01)
        assert len(sidecar.lasting.store) == 0
    (record,) = read_folder(tmp_path)
    assert isinstance(record, RequestRecord)
    assert (record.status, record.error) == (499, "CallerLeft")
