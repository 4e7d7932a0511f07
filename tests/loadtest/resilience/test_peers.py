"""What a caller saw is read right, and a break that he cannot see is told as such."""

from __future__ import annotations

import pytest

from loadtest.resilience.peers import Seen, read

WORD = b'data: {"choices": [{"delta": {"content": "Hi"}, "finish_reason": null}]}\n\n'
END = b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
ERROR = b'data: {"error": {"message": "broken"}}\n\n'


@pytest.mark.parametrize(
    ("raw", "looks_whole"),
    [
        pytest.param(WORD + END + DONE, True, id="whole"),
        pytest.param(WORD, False, id="just-ends"),
        pytest.param(WORD + ERROR, False, id="error"),
        pytest.param(WORD + END + ERROR, False, id="error-at-the-end"),
        pytest.param(WORD + DONE, True, id="done-without-a-reason"),
        pytest.param(b'{"error": {"message": "no"}}', False, id="error-body"),
        pytest.param(
            b'{"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}', True
        ),
        pytest.param(b"<html>", False, id="no-answer"),
    ],
)
def test_only_what_shows_its_end_looks_whole(raw: bytes, *, looks_whole: bool) -> None:
    """An end that is told, and nothing that speaks against it."""
    assert read(200, raw, is_cut=False).looks_whole is looks_whole
    assert not read(200, raw, is_cut=True).looks_whole


def test_the_words_are_put_together() -> None:
    """Of a stream as of a body."""
    assert read(200, WORD + WORD + END, is_cut=False).text == "HiHi"
    assert str(Seen()) == "no answer"
