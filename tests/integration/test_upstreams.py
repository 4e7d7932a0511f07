"""Upstreams that fail, over HTTP: who stands in, what the caller sees, and what is kept."""

from __future__ import annotations

import asyncio
import json
import tomllib
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from sidecar.assembly.pipeline import build_pipeline
from sidecar.config.file import parse_config
from sidecar.errors import ConfigError
from sidecar.traffic.reader import read_folder
from sidecar.traffic.record import RequestRecord
from tests.integration.conftest import Answer, Running, Start
from tests.integration.vendor import TEXT, Vendors
from tests.patience import until

QUESTION = "What is two and two?"


def config(root: str, **fields: str) -> str:
    """Two tiers: small at `a`, then `b`; large at `c`."""
    upstream = fields.get("upstream", "retries = 0")
    tiers = {"small": ["a", "b"], "large": ["c"]}
    told = "".join(
        f'[[upstreams]]\nname = "{name}"\nkind = "openai"\n'
        f'base_url = "{root}/{name}/v1"\n{upstream}\n'
        for name in "abc"
    )
    for tier, upstreams in tiers.items():
        told += (
            f'[[tiers]]\nname = "{tier}"\nmodel = "m-{tier}"\nupstreams = {json.dumps(upstreams)}\n'
            f"price_in_usd_per_mtok = 1.0\nprice_out_usd_per_mtok = 1.0\n{fields.get('tier', '')}\n"
        )
    return f"[cache.lookup]\nbudget_s = 30.0\n{told}{fields.get('more', '')}"


async def ask(sidecar: Running, headers: dict[str, str] | None = None, **fields: object) -> Answer:
    return await sidecar.ask(QUESTION, headers, **{"model": "small", **fields})


@pytest.mark.parametrize("stream", [0, 1], ids=["whole", "stream"])
async def test_another_upstream_answers_and_the_header_says_so(
    start: Start, vendors: Vendors, root: str, stream: int
) -> None:
    """`x-sidecar-degraded: upstream`, for a stream as for a whole answer; and a metric."""
    sidecar = await start(config(root))
    vendors.faults["a"] = "500"
    answer = await ask(sidecar, stream=bool(stream))
    assert (answer.status, answer.headers["x-sidecar-degraded"]) == (200, "upstream")
    assert "(b)" in str(answer.body)
    assert (
        b'sidecar_degraded_total{mode="upstream"} 1.0' in sidecar.lasting.metrics.exposition.text()
    )


async def test_another_tier_answers_and_the_header_says_so(
    start: Start, vendors: Vendors, root: str
) -> None:
    """`x-sidecar-degraded: tier`; where all is well there is no such header."""
    sidecar = await start(config(root))
    past = {"cache-control": "no-store"}
    well = await ask(sidecar, past, model="auto")
    assert "x-sidecar-degraded" not in well.headers
    entered = well.headers["x-sidecar-tier"]
    vendors.faults |= dict.fromkeys("ab" if entered == "small" else "c", "500")
    answer = await ask(sidecar, past, model="auto")
    assert (answer.status, answer.headers.get("x-sidecar-degraded")) == (200, "tier")
    assert answer.headers["x-sidecar-tier"] != entered


STATIC = """
[degraded]
answers = [
  { match = "(?i)two and two", text = "Please ask again later." },
]
"""


@pytest.mark.parametrize("stream", [0, 1], ids=["whole", "stream"])
async def test_the_static_answer_is_told_as_what_it_is(
    start: Start, vendors: Vendors, root: str, tmp_path: Path, stream: int
) -> None:
    """Its own model, no cost, never kept; a question that does not fit hears the error."""
    async with AsyncExitStack() as stack:
        extra = f'[traffic]\ndir = "{tmp_path}"\n'
        sidecar = await start(config(root, more=STATIC), extra=extra, until=stack)
        vendors.faults |= dict.fromkeys("abc", "503")
        answer = await ask(sidecar, stream=bool(stream))
        assert answer.status == 200
        assert answer.headers["x-sidecar-degraded"] == "static"
        assert answer.headers["x-sidecar-model"] == "sidecar-static"
        assert answer.headers["x-sidecar-cost-usd"] == "0"
        assert "Please ask again later." in str(answer.body)
        assert len(sidecar.lasting.store) == 0
        other = await sidecar.ask("Who are you?", model="small")
        assert (other.status, other.headers["retry-after"]) == (503, "3")
    first, _ = [each for each in read_folder(tmp_path) if isinstance(each, RequestRecord)]
    assert (first.status, first.degraded, first.served_model) == (200, "static", "sidecar-static")
    assert first.cost_usd == "0"


async def test_a_refusal_of_the_request_itself_is_never_papered_over(
    start: Start, vendors: Vendors, root: str
) -> None:
    """A 400 reaches the caller at once, from the one upstream that was asked."""
    sidecar = await start(config(root, more=STATIC, upstream="retries = 3"))
    vendors.faults["a"] = "400"
    assert (await ask(sidecar)).status == 400
    assert vendors.calls == {"a": 1}


async def test_a_stale_answer_says_that_it_stands_in(
    start: Start, vendors: Vendors, root: str
) -> None:
    """`degraded: stale` beside `cache: stale`."""
    sidecar = await start(config(root), extra="[cache]\nttl_s = 0.05\nttl_jitter_ratio = 0.0\n")
    await ask(sidecar)
    vendors.faults |= dict.fromkeys("abc", "500")
    while True:  # until the entry has expired, which nothing announces
        answer = await ask(sidecar)
        if answer.headers["x-sidecar-cache"] == "stale":
            break
        await asyncio.sleep(0.01)
    assert answer.headers["x-sidecar-degraded"] == "stale"


# Streams.


def events(answer: Answer) -> list[str]:
    return [line[6:] for line in str(answer.body).splitlines() if line.startswith("data: ")]


BEFORE_THE_FIRST_WORDS = [
    *("reset", "html", "500", "truncate-0", "reset-0", "stall-0", "garbage-0", "odd-0", "error-0"),
    *("truncate-1", "reset-1", "stall-1", "garbage-1", "odd-1", "error-1"),
]
AFTER_THE_FIRST_WORDS = [
    *("truncate-2", "reset-2", "stall-2", "garbage-2", "odd-2", "error-2", "truncate-3"),
    *("reset-3", "stall-3"),
]
IMPATIENT = "retries = 0\ntimeouts = { first_token_s = 0.2, read_s = 0.2 }"


@pytest.mark.parametrize("fault", BEFORE_THE_FIRST_WORDS)
async def test_until_the_first_words_another_upstream_answers(
    start: Start, vendors: Vendors, root: str, fault: str
) -> None:
    """Whatever the fault, the caller sees one whole stream of the other one, and it is kept."""
    sidecar = await start(config(root, upstream=IMPATIENT))
    vendors.faults["a"] = fault
    answer = await ask(sidecar, stream=True)
    assert events(answer)[-1] == "[DONE]"
    assert "(b)" in str(answer.body)
    assert "(a)" not in str(answer.body)
    assert len(sidecar.lasting.store) == 1


@pytest.mark.parametrize("fault", AFTER_THE_FIRST_WORDS)
async def test_after_the_first_words_the_stream_ends_as_an_error(
    start: Start, vendors: Vendors, root: str, tmp_path: Path, fault: str
) -> None:
    """Nobody else is asked, no `[DONE]`, nothing kept, and the account says that it broke."""
    async with AsyncExitStack() as stack:
        extra = f'[traffic]\ndir = "{tmp_path}"\n'
        sidecar = await start(config(root, upstream=IMPATIENT), extra=extra, until=stack)
        vendors.faults["a"] = fault
        answer = await ask(sidecar, stream=True)
        assert "error" in json.loads(events(answer)[-1])
        assert (vendors.calls, len(sidecar.lasting.store)) == ({"a": 1}, 0)
    (record,) = read_folder(tmp_path)
    assert isinstance(record, RequestRecord)
    assert (record.status, record.error) == (200, "StreamBroken")
    assert [attempt.outcome for attempt in record.attempts] == ["StreamBroken"]


async def test_a_chunk_that_comes_twice_is_passed_on_and_breaks_nothing(
    start: Start, vendors: Vendors, root: str
) -> None:
    """A vendor may say a word twice and mean it; an end told twice is still one end."""
    sidecar = await start(config(root))
    vendors.faults["a"] = "twice-3"
    answer = await ask(sidecar, stream=True)
    assert events(answer)[-1] == "[DONE]"
    kept = await ask(sidecar)
    assert kept.headers["x-sidecar-cache"] == "hit-exact"
    assert kept.body["choices"][0]["message"]["content"] == f"{TEXT} (a)"


# Breakers, retries, and the operator.


async def test_a_breaker_opens_and_says_so_in_the_metrics(
    start: Start, vendors: Vendors, root: str
) -> None:
    """After its run of failures the upstream hears nothing more, and b answers at once."""
    sidecar = await start(
        config(root, upstream="retries = 0\nbreaker = { run = 2, open_s = 60.0 }")
    )
    vendors.faults["a"] = "500"
    for number in range(4):
        answer = await sidecar.ask(f"{QUESTION} {number}", model="small")
        assert answer.headers["x-sidecar-degraded"] == "upstream"
    assert vendors.calls == {"a": 2, "b": 4}
    exposition = sidecar.lasting.metrics.exposition.text()
    assert b'sidecar_breaker_state{model="m-small",upstream="a"} 2.0' in exposition
    assert b'sidecar_breaker_state{model="m-small",upstream="b"} 0.0' in exposition


async def test_a_reload_leaves_an_open_breaker_open(
    start: Start, vendors: Vendors, root: str
) -> None:
    """Valid or not: a config that is refused changes nothing of what is known."""
    text = config(root, upstream="retries = 0\nbreaker = { run = 1, open_s = 60.0 }")
    sidecar = await start(text)
    vendors.faults["a"] = "500"
    await ask(sidecar)

    def states() -> dict[str, str]:
        return {at.upstream: at.state.value for at in sidecar.lasting.fleet.standings()}

    assert states() == {"a": "open", "b": "closed", "c": "closed"}
    build_pipeline(parse_config(tomllib.loads(text)), sidecar.lasting)
    assert states() == {"a": "open", "b": "closed", "c": "closed"}
    odd = text + '[router]\nartifact = "/nowhere"\n'
    with pytest.raises(ConfigError):
        build_pipeline(parse_config(tomllib.loads(odd)), sidecar.lasting)
    assert states() == {"a": "open", "b": "closed", "c": "closed"}


async def test_all_shut_is_a_503_with_its_time(start: Start, vendors: Vendors, root: str) -> None:
    """In OpenAI's shape; what is kept is still served."""
    sidecar = await start(
        config(root, upstream="retries = 0\nbreaker = { run = 1, open_s = 60.0 }")
    )
    await ask(sidecar)
    vendors.faults |= dict.fromkeys("abc", "500")
    assert (await sidecar.ask("Another?", model="small")).status == 500
    shut = await sidecar.ask("Another?", model="small")
    assert (shut.status, shut.body["error"]["code"]) == (503, "upstream_shut")
    assert 1 <= int(shut.headers["retry-after"]) <= 60
    assert (await ask(sidecar)).headers["x-sidecar-cache"] == "hit-exact"


async def test_a_retry_saves_the_answer(start: Start, vendors: Vendors, root: str) -> None:
    """One connection is reset, the same upstream answers the second call; nobody stands in."""
    sidecar = await start(config(root, upstream="retries = 1"))
    vendors.faults |= {"a": "reset", "b": "500"}
    asking = asyncio.create_task(ask(sidecar, {"x-sidecar-debug": "1"}))
    await until(lambda: vendors.calls["b"] > 0)
    vendors.faults.clear()
    answer = await asking
    assert answer.status == 200
    assert "outcome=UpstreamUnreachable" in answer.headers["x-sidecar-attempts"]
    assert b'sidecar_retries_total{outcome="made"} 1.0' in sidecar.lasting.metrics.exposition.text()


async def test_a_late_answer_is_overtaken(start: Start, vendors: Vendors, root: str) -> None:
    """The second replica's answer is served, and the prompt of both is paid."""
    sidecar = await start(config(root, tier="hedge_after = 0.05"))
    vendors.faults["a"] = "hang"
    answer = await ask(sidecar, {"x-sidecar-debug": "1"})
    assert "(b)" in str(answer.body)
    assert "upstream=a;outcome=cancelled" in answer.headers["x-sidecar-attempts"]
    assert float(answer.headers["x-sidecar-cost-usd"]) > 12e-6
    assert "x-sidecar-degraded" not in answer.headers


# Drills.

OPERATED = '[server]\nadmin_token = "operator-secret"\n'
TOKEN = {"x-sidecar-drill-token": "operator-secret"}


@pytest.mark.parametrize(
    ("extra", "headers"),
    [
        pytest.param(OPERATED, {}, id="no-token"),
        pytest.param(OPERATED, {"x-sidecar-drill-token": "guess"}, id="wrong-token"),
        pytest.param("", {"x-sidecar-drill-token": ""}, id="no-operator"),
    ],
)
async def test_a_drill_is_the_operators(
    start: Start, vendors: Vendors, root: str, extra: str, headers: dict[str, str]
) -> None:
    """403, and nobody was asked."""
    sidecar = await start(config(root), extra=extra)
    answer = await ask(sidecar, {"x-sidecar-drill": "upstream-down", **headers})
    assert (answer.status, answer.body["error"]["code"]) == (403, "drill_refused")
    assert not vendors.calls


@pytest.mark.parametrize(
    ("drill", "degraded"),
    [
        pytest.param("upstream-down@a", "upstream", id="one-down"),
        pytest.param("rate-limited@a", "upstream", id="limited"),
        pytest.param("upstream-down", "stale", id="all-down"),
    ],
)
async def test_a_drill_degrades_one_request_and_leaves_no_trace(
    start: Start, vendors: Vendors, root: str, tmp_path: Path, drill: str, degraded: str
) -> None:
    """Asked past the cache, answered by whoever stands in; not kept, logged, counted or learnt."""
    async with AsyncExitStack() as stack:
        extra = f'{OPERATED}[traffic]\ndir = "{tmp_path}"\n'
        text = config(root, upstream="retries = 0\nbreaker = { run = 1 }")
        sidecar = await start(text, extra=extra, until=stack)
        await ask(sidecar)
        answer = await ask(sidecar, {"x-sidecar-drill": drill, **TOKEN})
        assert (answer.status, answer.headers["x-sidecar-degraded"]) == (200, degraded)
        assert len(sidecar.lasting.store) == 1
        states = {at.state.value for at in sidecar.lasting.fleet.standings()}
        assert states == {"closed"}
        kind = drill.partition("@")[0]
        counted = f'sidecar_drills_total{{kind="{kind}"}} 1.0'
        assert counted.encode() in sidecar.lasting.metrics.exposition.text()
    assert len(list(read_folder(tmp_path))) == 1


async def test_a_drilled_stream_breaks_in_the_midst(
    start: Start, vendors: Vendors, root: str
) -> None:
    """As a real one would: an error as its last event, and nothing kept."""
    sidecar = await start(config(root), extra=OPERATED)
    answer = await ask(sidecar, {"x-sidecar-drill": "broken-stream", **TOKEN}, stream=True)
    assert "error" in json.loads(events(answer)[-1])
    assert (vendors.calls, len(sidecar.lasting.store)) == ({"a": 1}, 0)


async def test_an_unknown_drill_is_a_400(start: Start, root: str) -> None:
    """The known ones are named."""
    sidecar = await start(config(root), extra=OPERATED)
    answer = await ask(sidecar, {"x-sidecar-drill": "earthquake", **TOKEN})
    assert answer.status == 400
    assert "upstream-down" in answer.body["error"]["message"]
