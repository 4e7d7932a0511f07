"""Sessions: one conversation, one key; what it had is known for a while."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from sidecar.admission.tenants import Caller
from sidecar.chat import parse
from sidecar.deadline import Deadline
from sidecar.ledger import Inquiry
from sidecar.options import parse_options
from sidecar.routing.sessions import IDLE_S, Sessions, is_under_way, session_key
from sidecar.stopwatch import Stopwatch

SYSTEM = {"role": "system", "content": "be kind"}


def inquiry(
    *turns: str, headers: dict[str, str] | None = None, tenant: str = "t", **fields: Any
) -> Inquiry:
    told: list[dict[str, str]] = [SYSTEM]
    for place, text in enumerate(turns):
        told.append({"role": "assistant" if place % 2 else "user", "content": text})
    body = {"model": "auto", "messages": told, **fields}
    return Inquiry(
        request_id="r",
        received_at=0.0,
        request=parse(orjson.dumps(body)),
        options=parse_options(headers or {}),
        caller=Caller(tenant=tenant),
        deadline=Deadline.after_s(1.0),
        watch=Stopwatch(),
    )


def test_later_turns_belong_to_the_same_conversation() -> None:
    """Told by tenant, system prompt and first turn."""
    first, later = inquiry("hello"), inquiry("hello", "hi", "and now?")
    assert session_key(first) == session_key(later)
    assert (is_under_way(first), is_under_way(later)) == (False, True)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(inquiry("hello there"), id="another first turn"),
        pytest.param(inquiry("hello", tenant="u"), id="another tenant"),
        pytest.param(inquiry("hello", user="bob"), id="another user"),
        pytest.param(inquiry("hello", headers={"x-sidecar-namespace": "n"}), id="namespace"),
        pytest.param(inquiry("hello", headers={"x-sidecar-session": "s"}), id="named"),
    ],
)
def test_others_are_other_conversations(other: Inquiry) -> None:
    """Nothing of one tenant's or user's is known of another's."""
    assert session_key(inquiry("hello")) != session_key(other)


def test_the_callers_own_name_tells_it_alone() -> None:
    """Whatever the turns are; and it is under way from its first request on."""
    named = {"x-sidecar-session": "s-1"}
    first, other = inquiry("a", headers=named), inquiry("b", headers=named)
    assert session_key(first) == session_key(other)
    assert is_under_way(first)
    assert session_key(inquiry("a", headers=named, tenant="u")) != session_key(first)


def test_what_it_had_is_forgotten_when_idle_or_crowded_out() -> None:
    """An hour, and so many conversations."""
    now_s = 0.0
    sessions = Sessions(lambda: now_s, size=2)
    sessions.keep(b"a", "small", "t")
    assert sessions.find(b"a") == "small"
    now_s = IDLE_S + 1.0
    assert sessions.find(b"a") == ""
    for key in (b"b", b"c", b"d"):
        sessions.keep(key, "large", "t")
    assert [sessions.find(key) for key in (b"b", b"d")] == ["", "large"]
