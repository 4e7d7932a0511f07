"""The verbs against a sidecar that does as the contract says, over real loopback HTTP."""

from __future__ import annotations

import json
import sys
import tomllib
from argparse import ArgumentParser, Namespace
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType

import pytest
from aiohttp.test_utils import TestServer

from loadtest import run
from loadtest.callers.answers import Reply
from loadtest.hits import qqp
from loadtest.learning import replay
from loadtest.questions.tier3 import TIERS
from loadtest.resilience import kill
from loadtest.servers.processes import NotReady, free_port, openai_upstream, sidecar_config
from loadtest.speed import hops
from loadtest.speed.hops import hop_times
from loadtest.vendors.provider import answer_to
from sidecar.providers.demo_questions import understand
from tests.loadtest.fake_sidecar import FakeSidecar


def _args(verb: ModuleType, base_url: str, *words: str) -> Namespace:
    parser = ArgumentParser()
    parser.add_argument("--base-url", default=base_url)
    parser.add_argument("--seed", type=int, default=0)
    verb.add_arguments(parser)
    return parser.parse_args(words)


@pytest.fixture
def echo() -> FakeSidecar:
    return FakeSidecar(answer_to, tier="medium")


@pytest.fixture
async def echo_url(echo: FakeSidecar) -> AsyncIterator[str]:
    async with TestServer(echo.app()) as server:
        yield str(server.make_url("/v1"))


def _write(path: Path, rows: list[dict[str, object]]) -> str:
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


async def test_replay_takes_quality_from_the_rows_and_cost_from_the_headers(
    echo: FakeSidecar, echo_url: str, tmp_path: Path
) -> None:
    """Each row is judged by the tier that served it; feedback tells the truth; no cache."""
    rows: list[dict[str, object]] = [
        {
            "query": f"question {n}",
            "gold": "A",
            "answers": {
                tier: {"correct": int(tier != "small" and n % 4 > 0), "cost_usd": 0.001}
                for tier in TIERS
            },
        }
        for n in range(20)
    ]
    data = _write(tmp_path / "rows.jsonl", rows)
    words = ("--data", data, "--feedback", "1.0", "--quality", "0.5", "1")
    found = await replay.report(_args(replay, echo_url, *words))
    own = found.figures["sidecar"]["sidecar, auto, quality 0.5"]
    assert own["quality"] == 0.75
    assert own["cost_usd_per_1k"] == pytest.approx(1.0)
    assert own["unanswered"] == 0
    assert found.figures["baselines"]["always small"]["quality"] == 0.0
    assert len(echo.judged) == 40
    assert sum(float(str(told["score"])) for told in echo.judged) == 30
    assert all("no-store" in headers["cache-control"] for headers in echo.seen_headers)
    assert {headers["x-sidecar-quality"] for headers in echo.seen_headers} == {"0.5", "1"}


async def test_qqp_counts_no_wrong_hit_where_only_the_same_text_hits(
    echo_url: str, tmp_path: Path
) -> None:
    """An exact cache serves hits and never another cluster's answer."""
    rows: list[dict[str, object]] = [
        {"text_a": f"a{n}", "text_b": f" b{n}", "label": n % 2} for n in range(40)
    ]
    data = _write(tmp_path / "pairs.jsonl", rows)
    found = await qqp.report(_args(qqp, echo_url, "--data", data, "--requests", "200"))
    rates = found.figures["pairs.jsonl"]["rates"]
    assert rates["exact hits"]["value"] > 0.5
    assert rates["wrong hits over all hits"]["value"] == 0.0
    assert rates["no answer, or a fresh one to another question"]["value"] == 0.0


async def test_qqp_finds_a_cache_that_serves_anything() -> None:
    """A hit on another cluster's answer is wrong, by similarity band and in all."""
    seen = [
        qqp.Seen(
            question="a",
            reply=Reply(
                status=200,
                headers={"x-sidecar-cache": "hit-semantic", "x-sidecar-similarity": "0.97"},
            ),
            owner="b",
            is_right=is_right,
        )
        for is_right in (True, False)
    ]
    assert qqp._rates(seen)["wrong hits over semantic hits"].value == 0.5
    assert qqp._band_table(seen).rows[0][0] == "from 0.95"


async def test_equivalence_rows_are_weighted_by_their_share_of_all_questions(
    echo_url: str, tmp_path: Path
) -> None:
    """Coverage counts each band by its share; a hit on a pair with label 0 is wrong."""
    rows: list[dict[str, object]] = [
        {"cached": "a", "query": "a", "label": 1, "bucket": 0.9, "population_share": 0.2},
        {"cached": "b", "query": "c", "label": 1, "bucket": 0.9, "population_share": 0.2},
        {"cached": "d", "query": "d", "label": 0, "bucket": 0.8, "population_share": 0.3},
    ]
    data = _write(tmp_path / "equivalence.jsonl", rows)
    found = await qqp.report(_args(qqp, echo_url, "--data", data))
    rates = found.figures["equivalence.jsonl"]["rates"]
    assert found.figures["equivalence.jsonl"]["hits"] == 2
    assert rates["served, of all questions"]["value"] == pytest.approx(0.1 + 0.3)
    assert rates["wrong, of those served"]["value"] == pytest.approx(0.75)


async def test_qqp_refuses_an_upstream_whose_answers_name_no_question(tmp_path: Path) -> None:
    """Without the question's name nothing could be judged."""
    data = _write(tmp_path / "pairs.jsonl", [{"text_a": "a", "text_b": "b", "label": 1}])
    async with TestServer(FakeSidecar(lambda _: "42").app()) as server:
        with pytest.raises(NotReady, match="simulated vendor"):
            await qqp.report(_args(qqp, str(server.make_url("/v1")), "--data", data))


async def test_run_counts_hits_and_finds_every_answer_right() -> None:
    """Locust runs in its own process; feedback reaches the sidecar."""

    def solve(text: str) -> str:
        question = understand(text)
        return f"{question.meaning}. The answer is {question.value}." if question else "?"

    sidecar = FakeSidecar(solve)
    async with TestServer(sidecar.app()) as server:
        words = ("--users", "2", "--duration", "500", "--requests", "60", "--feedback-share", "0.5")
        url = str(server.make_url("/v1"))
        found = await run.report(_args(run, url, *words, "--meanings", "5"))
    rates = found.figures["rates"]
    assert found.figures["requests"] >= 60
    assert rates["right_answers"]["value"] == 1.0
    assert rates["errors"]["value"] == rates["false_hits_of_hits"]["value"] == 0.0
    assert rates["hits_exact"]["value"] > 0.2
    assert len(sidecar.judged) > 5
    assert all(told["score"] == 1.0 for told in sidecar.judged)


async def test_kill_finds_out_a_sidecar_that_forgets() -> None:
    """The fake keeps all in memory: nothing foreign, and no hit after the kill."""
    port = free_port()
    command = f"{sys.executable} -m tests.loadtest.fake_sidecar {port}"
    words = ("--command", command, "--rounds", "1", "--settle-s", "0.1", "--load-s")
    for load_s in ("1", "10", "60"):  # the least in which the fake answered something
        found = await kill.report(_args(kill, f"http://127.0.0.1:{port}/v1", *words, load_s))
        [told] = found.figures["rounds"]
        if told["asked_again"]:
            break
    assert told["answered"] > 0
    assert told["asked_again"] > 0
    assert (told["hits"], told["foreign"], told["torn"]) == (0, 0, 0)
    assert not found.is_good


async def test_hops_reads_the_timings_of_each_kind(echo_url: str) -> None:
    """Exact hits and misses stand beside the bare servers, with ratios."""
    found = await hops.report(_args(hops, echo_url, "--requests", "10", "--burst", "20"))
    assert found.figures["hops"]["hit-exact"]["dispatch"]["p50"] == 1.5
    assert found.figures["kinds"]["miss"]["overhead"]["p50"] == 0.5
    assert found.figures["ratios"]["hit-exact, rate over bare handler"] > 0


def test_hop_times_are_read_from_the_standard_header() -> None:
    """Names, durations, and parameters that are no duration."""
    told = {"server-timing": 'a;dur=1.5, b;desc="x";dur=2, c'}
    assert hop_times([Reply(status=200, headers=told)]) == {"a": [1.5], "b": [2.0]}


async def test_a_command_that_ends_at_once_is_told_with_its_words() -> None:
    """The log's end stands in the message."""
    command = f"{sys.executable} -c raise(SystemExit('no'))"
    port = free_port()
    with pytest.raises(NotReady, match="ended with 1"):
        await kill.report(_args(kill, f"http://127.0.0.1:{port}/v1", "--command", command))


def test_the_written_configuration_names_every_tier(tmp_path: Path) -> None:
    """It is TOML, and all that is written goes to the one folder."""
    text = sidecar_config(tmp_path, 1, 2, openai_upstream("http://127.0.0.1:3/v1"))
    config = tomllib.loads(text)
    assert [tier["name"] for tier in config["tiers"]] == list(TIERS)
    assert config["upstreams"][0]["kind"] == "openai"
    assert config["cache"]["disk"]["path"].startswith(str(tmp_path))
