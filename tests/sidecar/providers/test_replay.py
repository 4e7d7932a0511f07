"""Replay: each tier's recorded answer, and a 404 for what was never asked."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import orjson
import pytest

from sidecar import answer
from sidecar.deadline import Deadline
from sidecar.errors import ConfigError
from sidecar.providers.errors import CallerAtFault
from sidecar.providers.replay import ReplayUpstream, load_recording
from sidecar.providers.wire import Call

ROW = {
    "query": "What is 2+2?\n",
    "answers": {
        tier: {"model": f"m-{tier}", "text": f"{tier} says 4", "tok_in": 3, "tok_out": 5}
        for tier in ("small", "large")
    },
}


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(orjson.dumps(ROW) + b"\n"))
    return path


def call(tier: str, question: str = "What is 2+2?") -> Call:
    body: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": question}]}
    return Call(body=body, tier=tier, deadline=Deadline.after_s(60.0))


async def test_each_tier_gives_its_own_recorded_answer(recording: Path) -> None:
    """Text, model and token counts are those of the recording."""
    completion = await ReplayUpstream("r", load_recording(recording)).ask(call("large"))
    assert answer.text(completion.body) == "large says 4"
    assert completion.body["model"] == "m-large"
    assert answer.tokens(completion.body, 0) == (3, 5)


async def test_a_stream_says_the_same(recording: Path) -> None:
    """Streamed or whole, the answer is one."""
    assembler = answer.Assembler("r")
    chunks: list[bytes] = []
    await ReplayUpstream("r", load_recording(recording)).stream(
        call("small"), dict[str, str]().update, chunks.extend
    )
    for data in chunks:
        assembler.add(orjson.loads(data))
    assert assembler.is_finished
    assert answer.text(assembler.body()) == "small says 4"


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(call("small", "What is 3+3?"), id="unknown-question"),
        pytest.param(call("medium"), id="unknown-tier"),
    ],
)
async def test_what_was_not_recorded_is_a_replay_miss(recording: Path, asked: Call) -> None:
    """Never an invented answer."""
    with pytest.raises(CallerAtFault) as caught:
        await ReplayUpstream("r", load_recording(recording)).ask(asked)
    assert caught.value.status == 404
    assert caught.value.body is not None
    assert caught.value.body["error"]["code"] == "replay_miss"


def test_a_file_that_is_no_recording_is_refused(tmp_path: Path) -> None:
    """The start says what is wrong, not the first request."""
    path = tmp_path / "rows.jsonl"
    path.write_text('{"query": "x"}\n')
    with pytest.raises(ConfigError):
        load_recording(path)
    with pytest.raises(ConfigError):
        load_recording(tmp_path / "absent.jsonl")
