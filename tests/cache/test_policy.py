"""The policy's tables, each rule tried both ways."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.policy import (
    CacheConfig,
    CacheControl,
    parse_cache_control,
    permit,
    storable,
)

CONFIG = CacheConfig()
PLAIN = {"messages": [{"role": "user", "content": "What is a monad?"}]}


def allowed(control: str = "", *, bypass: bool = False, **fields: Any) -> tuple[bool, bool, bool]:
    made = permit(
        {**PLAIN, **fields}, "What is a monad?", parse_cache_control(control), CONFIG, bypass=bypass
    )
    return made.read, made.write, made.semantic


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, (True, True, True)),
        ({"n": 1, "temperature": None}, (True, True, True)),
        ({"temperature": 0.5}, (True, True, True)),
        ({"temperature": 0.51}, (False, False, False)),
        ({"n": 2}, (False, False, False)),
        ({"tools": [{"type": "function"}]}, (False, False, False)),
        ({"control": "no-cache"}, (False, True, True)),
        ({"control": "no-store"}, (False, False, False)),
        ({"bypass": True}, (False, False, False)),
    ],
)
def test_permit(fields: dict[str, Any], expected: tuple[bool, bool, bool]) -> None:
    """May it read, write, and by meaning."""
    assert allowed(**fields) == expected


def test_more_than_text_is_exact_only() -> None:
    """An image anywhere in the conversation, or no question at all."""
    image = {"role": "user", "content": [{"type": "image_url", "image_url": {}}]}
    body = {"messages": [image, *PLAIN["messages"]]}
    for made in (
        permit(body, "What is a monad?", CacheControl(), CONFIG),
        permit(PLAIN, None, CacheControl(), CONFIG),
    ):
        assert (made.read, made.write, made.semantic) == (True, True, False)
        assert made.reason


def test_tools_may_be_allowed() -> None:
    """By the operator alone."""
    config = CacheConfig(cache_tool_calls=True)
    assert permit({**PLAIN, "tools": [{}]}, "What?!x", CacheControl(), config).write


def test_cache_control_is_read() -> None:
    """Names in any case, unknown directives passed over."""
    said = parse_cache_control("No-Cache, max-age=60, immutable, stale-if-error=5,only-if-cached")
    assert said == CacheControl(
        no_cache=True, only_if_cached=True, max_age_s=60.0, stale_if_error_s=5.0
    )
    assert parse_cache_control("") == CacheControl()


@pytest.mark.parametrize("header", ["max-age", "max-age=-1", "max-age=x", "stale-if-error=1e3"])
def test_a_bad_number_names_its_directive(header: str) -> None:
    """The caller is told which."""
    with pytest.raises(ValueError, match=header.partition("=")[0]):
        parse_cache_control(header)


def answer(**fields: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": "19", **fields.pop("message", {})}
    return {"choices": [{"message": message, "finish_reason": "stop", **fields}]}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (answer(), ""),
        (answer(finish_reason="length"), "not finished"),
        (answer(finish_reason=None), "not finished"),
        (answer(message={"content": " "}), "empty"),
        (answer(message={"content": None, "refusal": "no"}), "refused"),
        (answer(message={"tool_calls": [{}]}), "calls a tool"),
        ({"error": {}}, "no answer"),
        ({"choices": []}, "no answer"),
        (answer(message={"content": "x" * 2**20}), "too large"),
    ],
)
def test_storable(body: dict[str, Any], reason: str) -> None:
    """Only a complete answer is kept."""
    assert storable(body, CONFIG) == reason


@given(st.integers(1, 10**9), st.floats(0, 0.99), st.floats(0, 1e6))
def test_an_entry_lives_its_time_less_its_share(entry_id: int, ratio: float, ttl_s: float) -> None:
    """Never longer than the ttl, never shorter than the jitter allows, the same each time."""
    config = CacheConfig(ttl_s=ttl_s, ttl_jitter_ratio=ratio)
    lifetime_s = config.lifetime_s(entry_id)
    assert ttl_s * (1 - ratio) <= lifetime_s <= ttl_s
    assert lifetime_s == config.lifetime_s(entry_id)


@given(st.integers(1, 10**6))
def test_what_is_kept_together_expires_apart(first: int) -> None:
    """Of a hundred entries in a row, no tenth of the jitter's span holds more than twelve."""
    config = CacheConfig(ttl_s=1_000.0, ttl_jitter_ratio=0.1)
    lifetimes = [config.lifetime_s(first + number) for number in range(100)]
    tenths = [sum(900 + 10 * n <= one < 910 + 10 * n for one in lifetimes) for n in range(10)]
    assert max(tenths) <= 12


@pytest.mark.parametrize(
    ("header", "stale_s"),
    [
        pytest.param("", 7.0, id="the-operator's"),
        pytest.param("stale-if-error=3", 3.0, id="the-caller's"),
        pytest.param("stale-if-error=0", 0.0, id="none"),
    ],
)
def test_the_caller_says_how_stale_may_serve(header: str, stale_s: float) -> None:
    """Else the operator."""
    config = CacheConfig(stale_if_error_s=7.0)
    allowed = permit({}, "Why is the sky blue?", parse_cache_control(header), config)
    assert allowed.stale_if_error_s == stale_s
