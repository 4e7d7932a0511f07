"""Streams: words go out at once, the last chunk carries the account, the usage is not forced."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from sidecar import answer
from sidecar.dispatch import Told
from sidecar.streams import relayed, replayed

BODY: dict[str, Any] = {
    "id": "x",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "a b"}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
}


def summary() -> dict[str, Any]:
    return {"cost_usd": "0.1"}


async def told(*, breaks: bool = False) -> AsyncIterator[Told]:
    for chunk in answer.chunks(BODY, include_usage=True):
        if breaks and chunk["choices"] and chunk["choices"][0]["finish_reason"]:
            raise ConnectionError
        yield Told(orjson.dumps(chunk), chunk, 0, {})


@pytest.mark.parametrize("include_usage", [True, False])
async def test_relayed_and_replayed_tell_the_same(include_usage: bool) -> None:  # noqa: FBT001 - a parameter
    """Live or from the cache, the caller cannot tell by the chunks."""
    live = [p async for p in relayed(told(), include_usage=include_usage, summary=summary)]
    kept = list(replayed(BODY, include_usage=include_usage, summary=summary))
    assert [orjson.loads(p) for p in live] == [orjson.loads(p) for p in kept]
    assert orjson.loads(live[-1])["sidecar"] == summary()
    assert ("usage" in orjson.loads(live[-1])) == include_usage
    assert not any("sidecar" in orjson.loads(p) for p in live[:-1])


async def test_a_stream_that_breaks_has_no_last_chunk() -> None:
    """What came goes out, the account does not, and the fault is raised."""
    heard: list[dict[str, Any]] = []

    async def hear() -> None:
        async for payload in relayed(told(breaks=True), include_usage=True, summary=summary):
            heard.append(orjson.loads(payload))  # noqa: PERF401 - what came before the fault counts

    with pytest.raises(ConnectionError):
        await hear()
    assert heard
    assert not any("sidecar" in payload for payload in heard)
