"""The relay: held until the first words, whole or broken, whatever a stranger sends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.deadline import Deadline
from sidecar.errors import ProviderError, UpstreamGarbled
from sidecar.providers.errors import StreamBroken
from sidecar.providers.wire import Call, Completion, Hear, Tell
from sidecar.replicas.relay import MAX_HELD, Voice, relay


class FakeStream:
    """Sends what it was given, so many chunks at once."""

    name = "u"

    def __init__(self, chunks: Sequence[bytes], at_once: int) -> None:
        self._chunks = chunks
        self._at_once = at_once

    async def ask(self, call: Call) -> Completion:
        raise NotImplementedError

    async def stream(self, call: Call, hear: Hear, tell: Tell) -> None:
        for place in range(0, len(self._chunks), self._at_once):
            tell(self._chunks[place : place + self._at_once])


def chunk(finish_reason: str | None = None, **delta: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return orjson.dumps({"choices": [choice]})


async def relayed(chunks: Sequence[bytes], told: list[bytes], at_once: int = 1) -> Completion:
    call = Call(body={}, tier="small", deadline=Deadline.after_s(60.0))
    stream = FakeStream(chunks, at_once)
    return await relay(
        stream,
        call,
        Voice(0, {}),
        lambda: None,
        lambda news: told.extend(data for each in news for data in each.chunks),
    )


ROLE, WORD, END = chunk(role="assistant", content=""), chunk(content="a"), chunk("stop")


async def test_the_role_waits_for_the_first_words_and_nothing_is_lost() -> None:
    """Every chunk goes out, in order."""
    told: list[bytes] = []
    await relayed([ROLE, WORD, WORD, END], told)
    assert told == [ROLE, WORD, WORD, END]


@pytest.mark.parametrize("chunks", [[ROLE], [ROLE, b"<"], [], [b"{}"]])
async def test_before_the_first_words_nothing_was_told(chunks: list[bytes]) -> None:
    """The fault is like any other, so that somebody else may be asked."""
    told: list[bytes] = []
    with pytest.raises(UpstreamGarbled):
        await relayed(chunks, told)
    assert told == []


@pytest.mark.parametrize("at_once", [1, 2, 3])
@pytest.mark.parametrize("after", [[], [b"<"]])
async def test_after_them_it_is_broken(after: list[bytes], at_once: int) -> None:
    """Words were sent, those also that came together with what is no chunk."""
    told: list[bytes] = []
    with pytest.raises(StreamBroken):
        await relayed([ROLE, WORD, *after], told, at_once)
    assert told == [ROLE, WORD]


async def test_chunks_without_words_are_not_held_for_ever() -> None:
    """A stream of nothing else goes out as it comes."""
    told: list[bytes] = []
    with pytest.raises(StreamBroken):
        await relayed([ROLE] * (MAX_HELD + 3), told)
    assert len(told) == MAX_HELD + 3


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
ODD = st.one_of(
    st.binary(max_size=12),
    JSON.map(orjson.dumps),
    st.fixed_dictionaries(
        {"choices": JSON | st.lists(st.fixed_dictionaries({"index": JSON, "delta": JSON}))}
    ).map(orjson.dumps),
    st.sampled_from([ROLE, WORD, END]),
)


@given(st.lists(ODD, max_size=6), st.integers(1, 6))
async def test_whatever_is_sent_is_an_answer_or_a_providers_fault(
    chunks: list[bytes], at_once: int
) -> None:
    """No chunk of a stranger's makes the sidecar fail, however many come at once."""
    told: list[bytes] = []
    try:
        await relayed(chunks, told, at_once)
    except StreamBroken:
        assert told
    except ProviderError:
        assert told == []
