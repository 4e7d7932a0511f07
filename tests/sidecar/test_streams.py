"""Streams: words go out at once, the last chunk carries the account, the usage is not forced."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import orjson
import pytest

from sidecar import answer
from sidecar.answer import Kind
from sidecar.dispatch import Told, Voice
from sidecar.streams import Relayed, replayed

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


def told() -> list[Told]:
    kinds: dict[bool, Kind] = {True: "end", False: "words"}
    return [
        Told(
            [orjson.dumps(chunk)],
            kinds[chunk["choices"][0]["finish_reason"] is not None]
            if chunk["choices"]
            else "usage",
            Voice(0, {}),
        )
        for chunk in answer.chunks(BODY, include_usage=True)
    ]


def runs(news: list[Told]) -> list[Told]:
    """The same, those of one kind together."""
    return [
        Told([data for each in run for data in each.chunks], kind, Voice(0, {}))
        for kind, run in groupby(news, key=lambda each: each.kind)
    ]


@pytest.mark.parametrize("include_usage", [True, False])
@pytest.mark.parametrize("at_once", [1, 2, 100])
def test_relayed_and_replayed_tell_the_same(include_usage: bool, at_once: int) -> None:  # noqa: FBT001 - a parameter
    """Live or from the cache, and however many come at a time, the chunks are the same."""
    relayed, news = Relayed(include_usage=include_usage), told()
    batches = [news[place : place + at_once] for place in range(0, len(news), at_once)]
    live = [payload for batch in batches for payload in relayed.passed(runs(batch))]
    live += relayed.last(summary)
    kept = list(replayed(BODY, include_usage=include_usage, summary=summary))
    assert [orjson.loads(p) for p in live] == [orjson.loads(p) for p in kept]
    assert orjson.loads(live[-1])["sidecar"] == summary()
    assert ("usage" in orjson.loads(live[-1])) == include_usage
    assert not any("sidecar" in orjson.loads(p) for p in live[:-1])


def test_a_stream_that_breaks_has_told_its_words_and_no_account() -> None:
    """What came before its end goes out at once; the end waits for the account."""
    relayed = Relayed(include_usage=True)
    heard = relayed.passed([each for each in told() if each.kind == "words"])
    assert heard
    assert relayed.last(summary) == []
    assert relayed.passed([each for each in told() if each.kind == "end"]) == []
