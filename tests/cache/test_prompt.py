"""The version of a prompt that nobody manages: the digest of what it says."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.prompt import prompt_version

USER = {"role": "user", "content": "What is 2 + 2?"}


def system(content: Any, role: str = "system") -> dict[str, Any]:
    return {"role": role, "content": content}


def test_no_prompt_has_no_version() -> None:
    """Whatever the user says."""
    assert prompt_version([]) == ""
    assert prompt_version([USER, {"role": "assistant", "content": "4"}]) == ""


@given(st.text())
def test_it_is_the_digest_of_the_text(text: str) -> None:
    """As `sha256sum` gives it, whoever says it and in whichever shape."""
    expected = "sha-" + sha256(text.encode()).hexdigest()[:12]
    assert prompt_version([system(text), USER]) == expected
    assert prompt_version([system(text, "developer"), USER]) == expected
    assert prompt_version([system([{"type": "text", "text": text}])]) == expected


@pytest.mark.parametrize(
    "other",
    [
        pytest.param([system("Be brief. "), USER], id="a-blank-more"),
        pytest.param([system("Be brief."), system("")], id="an-empty-one-more"),
        pytest.param([system("Be"), system(" brief.")], id="cut-in-two"),
        pytest.param([system(None)], id="nothing-said"),
        pytest.param([system([{"type": "text", "text": "Be brief."}] * 2)], id="said-twice"),
    ],
)
def test_another_prompt_has_another_version(other: list[Any]) -> None:
    """The order and the borders of messages count."""
    assert prompt_version(other) != prompt_version([system("Be brief."), USER])


def test_what_no_caller_should_send_has_a_version_too() -> None:
    """It is computed before anybody refuses the request."""
    deep: Any = "x"
    for _ in range(400):
        deep = [deep]
    assert prompt_version([system(deep)]).startswith("sha-")
    assert prompt_version([system("\ud800")]).startswith("sha-")
    assert prompt_version(["no message", 7]) == ""
