"""keys: what makes two requests the same, and what keeps them apart."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.key import Keys, Scope, keys

SCOPE = Scope("acme", "", 0)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


def of(question: str = "hi", scope: Scope = SCOPE, **fields: Any) -> Keys:
    body = {"model": "auto", "messages": [{"role": "user", "content": question}], **fields}
    return keys(scope, body, question.strip(), "encoder")


@given(st.dictionaries(st.text(min_size=1, max_size=6), JSON, max_size=6), st.randoms())
def test_the_order_of_fields_says_nothing(fields: dict[str, Any], dice: Any) -> None:
    """A canonical request has one fingerprint under key order and white space between tokens."""
    fields.pop("messages", None)
    items = list(fields.items())
    dice.shuffle(items)
    spaced = orjson.loads(orjson.dumps(dict(items), option=orjson.OPT_INDENT_2))
    assert of(**fields) == of(**spaced)


@given(st.text(), st.text(), st.text(), st.text())
def test_no_two_scopes_meet(tenant: str, namespace: str, other: str, other_space: str) -> None:
    """Keys agree if and only if tenant and namespace do, however their letters are split."""
    one, two = of(scope=Scope(tenant, namespace, 0)), of(scope=Scope(other, other_space, 0))
    is_same = (tenant, namespace) == (other, other_space)
    assert (one.fingerprint == two.fingerprint) is is_same
    assert (one.partition == two.partition) is is_same


@given(st.text(min_size=1), st.text(min_size=1))
def test_a_partition_knows_all_but_the_question(one: str, other: str) -> None:
    """Two questions share the partition, and the fingerprint only if they are the same."""
    first, second = of(one), of(other)
    assert first.partition == second.partition
    assert (first.fingerprint == second.fingerprint) is (one.strip() == other.strip())


@pytest.mark.parametrize(
    "fields",
    [
        {"stream": True, "stream_options": {"include_usage": True}},
        {"user": "ann", "metadata": {"a": "b"}, "store": True, "service_tier": "flex"},
        {"n": 1, "temperature": 1, "top_p": 1.0},
        {"tools": [], "response_format": {"type": "text"}, "stop": None, "logprobs": False},
    ],
)
def test_what_cannot_change_the_answer_is_left_out(fields: dict[str, Any]) -> None:
    """How the answer travels, and defaults that are spelt out."""
    assert of(**fields) == of()


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "large"},
        {"temperature": 0},
        {"max_tokens": 5},
        {"seed": 1},
        {"tools": [{"type": "function"}]},
        {"response_format": {"type": "json_object"}},
        {"prompt_variables": {"a": "b"}},
        {"n": True},
        {"never_heard_of": None},
        {"x-sidecar-quality": "best"},
    ],
)
def test_what_may_change_the_answer_stays_in(fields: dict[str, Any]) -> None:
    """Known fields and unknown ones part both keys."""
    assert of(**fields).fingerprint != of().fingerprint
    assert of(**fields).partition != of().partition


def test_one_text_part_is_the_string_it_holds() -> None:
    """In every turn; two parts are not the string that they join to."""

    def told(first: Any, last: Any) -> Keys:
        messages = [{"role": "system", "content": first}, {"role": "user", "content": last}]
        return keys(SCOPE, {"messages": messages}, "a\nb", "encoder")

    def parts(*texts: str) -> list[dict[str, str]]:
        return [{"type": "text", "text": text} for text in texts]

    assert told("be brief", "a\nb") == told(parts("be brief"), parts("a\nb"))
    assert told("s", parts("a", "b")).fingerprint != told("s", "a\nb").fingerprint
    assert told("s", parts("a", "b")).partition == told("s", "a\nb").partition


def test_the_encoder_is_in_the_partition_alone() -> None:
    """An exact hit needs no encoder; a partition never mixes two."""
    body = {"messages": [{"role": "user", "content": "hi"}]}
    one, other = (keys(SCOPE, body, "hi", encoder) for encoder in ("a", "b"))
    assert one.fingerprint == other.fingerprint
    assert one.partition != other.partition


def test_no_question_has_no_partition() -> None:
    """Such a request is found by its exact key only, and its white space counts."""
    bodies = [{"messages": [{"role": "user", "content": text}]} for text in ("a", "a ")]
    one, other = (keys(SCOPE, body, None, "encoder") for body in bodies)
    assert one.partition is None
    assert one.fingerprint != other.fingerprint


def test_deep_nesting_still_has_a_key() -> None:
    """What orjson reads and does not write is hashed all the same, and told apart."""

    def nested(leaf: str) -> Any:
        return orjson.loads(b"[" * 600 + orjson.dumps(leaf) + b"]" * 600)

    assert of(deep=nested("a")) == of(deep=nested("a"))
    assert of(deep=nested("a")) != of(deep=nested("b"))
