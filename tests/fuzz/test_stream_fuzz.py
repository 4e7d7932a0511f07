"""Bytes that no vendor would send as a stream: chunks, or a provider's fault, and nothing else."""

from __future__ import annotations

import collections
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import UpstreamGarbled
from sidecar.providers import openai
from sidecar.providers.openai import EventSplitter

_ENOUGH = openai.MAX_EVENT_BYTES // openai.LINE_BYTES + 1

lines = st.sampled_from(
    [
        b"data:",
        b"data: {}",
        b"data",
        b":",
        b": ping",
        b"event: x",
        b"id",
        b"",
        b"\r",
        b"\x00",
        b"\xff",
    ]
) | st.binary(max_size=12)
ends = st.sampled_from([b"\n", b"\r\n", b"\r", b"\n\n", b""])
streams = st.lists(st.tuples(lines, ends), max_size=40).map(
    lambda pairs: b"".join(line + end for line, end in pairs)
)


def _events(parts: list[bytes]) -> list[bytes]:
    splitter = EventSplitter("u")
    return [*(event for part in parts for event in splitter.feed(part)), *splitter.finish()]


def _by_the_book(stream: bytes) -> list[bytes]:
    """The same in the plainest words: whole, line by line."""
    events: list[bytes] = []
    data: list[bytes] = []
    for raw in [*stream.split(b"\n"), b""]:
        line = raw.removesuffix(b"\r")
        if line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
        elif not line and data:
            events.append(b"\n".join(data))
            data = []
    return events


@pytest.mark.fuzz
@pytest.mark.timeout(7_200)
@given(streams, st.lists(st.integers(0, 400), max_size=20))
def test_any_bytes_cut_anywhere_give_the_events_of_the_whole(
    stream: bytes, cuts: list[int]
) -> None:
    """The splitter against a plain reading of the same bytes."""
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    assert _events([stream[start:end] for start, end in pairwise(edges)]) == _by_the_book(stream)


@pytest.mark.fuzz
@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(b"data:\n", id="empty-lines-of-one-event"),
        pytest.param(b"data: " + b"x" * 1_000 + b"\n", id="lines-of-one-event"),
        pytest.param(b"x" * 1_000, id="one-line"),
    ],
)
def test_what_never_ends_is_given_up(packet: bytes) -> None:
    """However small its packets, and even if they hold nothing."""
    splitter = EventSplitter("u")
    with pytest.raises(UpstreamGarbled):
        collections.deque((event for _ in range(_ENOUGH) for event in splitter.feed(packet)), 0)


@pytest.mark.fuzz
def test_a_long_stream_of_short_events_is_no_long_event() -> None:
    """What was given out is held no more."""
    splitter, event = EventSplitter("u"), b"data: " + b"x" * 100_000 + b"\n\n"
    for _ in range(2 * openai.MAX_EVENT_BYTES // len(event)):
        assert len(list(splitter.feed(event))) == 1
