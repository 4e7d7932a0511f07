"""What a caller heard, in one word; and what makes a row of the matrix a bad one."""

from __future__ import annotations

from typing import Any

import pytest

from loadtest.callers.answers import read
from loadtest.resilience.faults import felt
from loadtest.resilience.stage import outcome, problem_of

ANSWER = b'{"choices": [{"message": {"content": "Four."}}]}'
ERROR = b'{"error": {"message": "no"}}'
CHUNK = b'data: {"choices": [{"delta": {"content": "Four."}}]}\n\n'
STREAM = "text/event-stream"


@pytest.mark.parametrize(
    ("status", "kind", "body", "word"),
    [
        pytest.param(200, "application/json", ANSWER, "answered", id="whole"),
        pytest.param(200, "application/json", ANSWER[:20], "torn", id="half"),
        pytest.param(502, "application/json", ERROR, "502", id="error"),
        pytest.param(502, "text/html", b"<html>", "odd error", id="another-shape"),
        pytest.param(200, STREAM, CHUNK + b"data: [DONE]\n\n", "answered", id="stream"),
        pytest.param(200, STREAM, CHUNK, "torn", id="stream-without-an-end"),
        pytest.param(
            200, STREAM, CHUNK + b"data: " + ERROR + b"\n\n", "broken stream", id="broken"
        ),
    ],
)
def test_every_end_has_its_word(status: int, kind: str, body: bytes, word: str) -> None:
    """A refusal that says so is no torn answer, and a stream without an end is one."""
    reply = read(status, {"content-type": kind}, body, latency_ms=0.0)
    assert outcome(reply, body, {"Four."}) == word


def test_an_answer_that_the_vendor_never_gave_is_foreign() -> None:
    """However whole it looks."""
    reply = read(200, {"content-type": "application/json"}, ANSWER, latency_ms=0.0)
    assert outcome(reply, ANSWER, {"Five."}) == "foreign"


GOOD: dict[str, Any] = {
    **dict.fromkeys(("lost", "kept_wrong", "odd"), 0),
    **dict.fromkeys(("under_billed", "kept_refused", "noticed", "may_lose"), False),
    "recovery_s": 0.1,
}


@pytest.mark.parametrize(
    "field",
    ["lost", "kept_wrong", "under_billed", "odd", "kept_refused", "noticed", "recovery_s"],
)
def test_each_fault_of_ours_makes_a_row_bad(field: str) -> None:
    """And nothing else does."""
    assert problem_of(GOOD) == ""
    assert problem_of({**GOOD, field: None if field == "recovery_s" else 1}) != ""


def test_what_dies_with_a_process_is_no_fault_of_ours() -> None:
    """Of a `kill -9` alone."""
    assert problem_of({**GOOD, "lost": 1, "may_lose": True}) == ""


def test_what_was_felt_is_what_grew() -> None:
    """Of those counters that tell of faults; a restart, which sets them back, tells nothing."""
    lost = "sidecar_cache_lost_writes_total"
    assert felt({lost: 1.0}, {lost: 3.0, "sidecar_requests_total": 9.0}) == {"cache_lost_writes": 2}
    assert felt({lost: 5.0}, {lost: 3.0}) == {}
