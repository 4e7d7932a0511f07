"""What breaks which rule, what is asked to mend it, and what the checks themselves may cost."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.chat import parse
from sidecar.errors import RequestRefused
from sidecar.guardrails.guardrails import AnswerGuard, Guardrails
from sidecar.guardrails.rules import RULES, GuardrailsConfig
from sidecar.guardrails.schemas import MAX_SCHEMA_BYTES, SchemaUnusable, misfit
from sidecar.patterns import MAX_TEXT_CHARACTERS, Patterns

SCHEMA = {
    "type": "object",
    "properties": {"age": {"type": "integer"}},
    "required": ["age"],
    "additionalProperties": False,
}


def request(*contents: Any, **fields: Any) -> Any:
    messages = [{"role": "user", "content": content} for content in contents or ("q",)]
    return parse(orjson.dumps({"model": "auto", "messages": messages, **fields}))


def wanting(schema: Any) -> Any:
    told = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    return request(response_format=told)


def body(text: str | None, **message: Any) -> dict[str, Any]:
    told = {"role": "assistant", "content": text, **message}
    return {"choices": [{"index": 0, "message": told, "finish_reason": "stop"}]}


def guard(schema: Any = None, **config: Any) -> AnswerGuard:
    asked = request() if schema is None else wanting(schema)
    found = Guardrails(GuardrailsConfig(**config)).of_answers(asked)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("config", "contents", "rule"),
    [
        pytest.param({"max_messages": 1}, ("a", "b"), "max-messages", id="messages"),
        pytest.param({"roles": ("system",)}, ("a",), "roles", id="role"),
        pytest.param({"max_characters": 3}, ("ab", "cd"), "max-characters", id="characters"),
        pytest.param({"deny": ("(?i)hunter2",)}, ("a", "HUNTER2!"), "deny", id="deny"),
        pytest.param(
            {"deny": ("bomb",)}, ([{"type": "text", "text": "a bomb"}],), "deny", id="deny-in-part"
        ),
        pytest.param(
            {"deny": ("bomb",)},
            ([{"type": "text", "text": "a bomb"}, {"type": "image_url"}],),
            "deny",
            id="deny-beside-an-image",
        ),
        pytest.param({"require": ("^ticket ",)}, ("a",), "require", id="require"),
        pytest.param(
            {"deny": ("x",)}, ("a" * (MAX_TEXT_CHARACTERS + 1),), "max-characters", id="too-long"
        ),
    ],
)
def test_a_request_that_breaks_a_rule_is_refused_by_its_name(
    config: dict[str, Any], contents: tuple[Any, ...], rule: str
) -> None:
    """400, the field named; what it said, and the pattern, are not told."""
    with pytest.raises(RequestRefused) as told:
        Guardrails(GuardrailsConfig(**config)).check_request(request(*contents))
    assert (told.value.rule, told.value.status) == (rule, 400)
    assert told.value.code == f"guardrail_{rule.replace('-', '_')}"
    assert rule in RULES
    assert "hunter2" not in str(told.value).lower()


def test_a_tool_calls_arguments_are_words_too() -> None:
    """A rule on texts is not passed by putting the text elsewhere."""
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a":"bomb"}'}}
    messages = [{"role": "assistant", "content": "", "tool_calls": [call]}]
    asked = parse(orjson.dumps({"model": "auto", "messages": messages}))
    with pytest.raises(RequestRefused):
        Guardrails(GuardrailsConfig(deny=("bomb",))).check_request(asked)
    assert guard(deny_answer=("bomb",)).check(body(None, tool_calls=[call])) is not None


def test_without_rules_nothing_is_looked_at() -> None:
    """No guard, no cost, no key of its own; a schema asked for is looked at."""
    rules = Guardrails(GuardrailsConfig())
    rules.check_request(request("anything"))
    assert rules.of_answers(request()) is None
    assert rules.of_answers(wanting(SCHEMA)) is not None
    assert rules.keyed == {}
    assert Guardrails(GuardrailsConfig(json_schema="off")).of_answers(wanting(SCHEMA)) is None
    assert Guardrails(GuardrailsConfig(deny_answer=("x",))).keyed


@pytest.mark.parametrize(
    ("config", "schema", "answer", "rule"),
    [
        pytest.param({}, SCHEMA, body('{"age": 7}'), None, id="fits"),
        pytest.param({}, SCHEMA, body('{"age": "7"}'), "answer-schema", id="other-type"),
        pytest.param({}, SCHEMA, body('{"age": 7, "x": 1}'), "answer-schema", id="one-too-many"),
        pytest.param({}, SCHEMA, body("Sure: 7"), "answer-schema", id="no-json"),
        pytest.param({}, SCHEMA, body(None, refusal="No."), None, id="vendor-refuses"),
        pytest.param({}, SCHEMA, body(None, tool_calls=[{}]), None, id="calls-a-tool"),
        pytest.param({"max_answer_characters": 3}, None, body("abcd"), "answer-length", id="long"),
        pytest.param({"deny_answer": ("b",)}, None, body("abc"), "answer-denied", id="denied"),
        pytest.param({"deny_answer": ("x",)}, None, body("abc"), None, id="not-denied"),
        pytest.param({"allow_empty_answer": False}, None, body(" "), "answer-empty", id="empty"),
        pytest.param(
            {"allow_empty_answer": False}, None, body(None, tool_calls=[{}]), None, id="only-calls"
        ),
    ],
)
def test_an_answer_is_held_to_the_rules(
    config: dict[str, Any], schema: Any, answer: dict[str, Any], rule: str | None
) -> None:
    """The rule is named, or nothing is wrong."""
    violation = guard(schema, **config).check(answer)
    assert (violation.rule if violation else None) == rule


def test_every_choice_is_looked_at() -> None:
    """The third of three may be the one."""
    told = {"choices": [*body("a")["choices"], *body("a")["choices"], *body("b")["choices"]]}
    assert guard(deny_answer=("b",)).check(told) is not None


def test_the_request_to_mend_says_what_is_wrong_and_ends() -> None:
    """The caller's own messages, the wrong answer cut short, and the fault of it."""
    watched, wrong = guard(SCHEMA), body("x" * 100_000)
    violation = watched.check(wrong)
    assert violation is not None
    again = watched.mending(wanting(SCHEMA).body, wrong, violation)
    assert again is not None
    first, said, asked = again["messages"]
    assert first == {"role": "user", "content": "q"}
    assert len(said["content"]) < 10_000
    assert "no valid JSON" in asked["content"]
    assert again["response_format"]["type"] == "json_schema"


@pytest.mark.parametrize(
    ("action", "steps"),
    [
        ("repair", (True, True, True)),
        ("escalate", (False, True, True)),
        ("block", (False, False, True)),
        ("flag", (False, False, False)),
    ],
)
def test_what_is_done_is_what_the_config_says(action: Any, steps: tuple[bool, bool, bool]) -> None:
    """Each action includes what comes after it, and a mended schema is never a lost answer."""
    mends, escalates, refuses = steps
    watched, wrong = guard(deny_answer=("b",), on_violation=action), body("b")
    violation = watched.check(wrong)
    assert violation is not None
    assert (watched.mending(request().body, wrong, violation) is not None) == mends
    assert watched.may_escalate(violation) == escalates
    assert watched.refuses(violation) == refuses
    assert watched.holds_streams == (action != "flag")
    lenient = guard(SCHEMA, on_violation=action)
    unfit = lenient.check(body("b"))
    assert unfit is not None
    assert not lenient.refuses(unfit)
    assert lenient.may_escalate(unfit)
    assert not lenient.holds_streams
    assert guard(SCHEMA, json_schema="enforce", on_violation=action).refuses(unfit) == refuses


@pytest.mark.parametrize(
    "schema",
    [
        pytest.param({"$ref": "#"}, id="itself"),
        pytest.param({"$ref": "http://127.0.0.1:1/schema.json"}, id="fetched"),
        pytest.param({"$ref": "file:///etc/passwd"}, id="read"),
        pytest.param({"$ref": "#/$defs/none"}, id="missing"),
        pytest.param(
            {
                "$defs": {
                    "40": {},
                    **{f"{n}": {"allOf": [{"$ref": f"#/$defs/{n + 1}"}] * 2} for n in range(40)},
                },
                "$ref": "#/$defs/0",
            },
            id="doubling",
        ),
        pytest.param({"items": {"allOf": [{"type": "integer"}] * 500}}, id="many-times-many"),
        pytest.param({"type": 7}, id="odd-type"),
        pytest.param({"allOf": 7}, id="odd-list"),
        pytest.param({"items": {"pattern": "("}, "minItems": "x"}, id="odd-number"),
        pytest.param({"items": {"patternProperties": {"(a+)+$": {}}}}, id="re-within"),
        pytest.param({"description": "x" * MAX_SCHEMA_BYTES}, id="long"),
    ],
)
def test_a_schema_that_cannot_be_held_within_bounds_is_not_enforced(schema: Any) -> None:
    """Nothing is fetched, nothing runs on, nothing crashes: the vendor's word stands."""
    answer = orjson.dumps(list(range(1000))).decode()
    with pytest.raises(SchemaUnusable):
        misfit(answer, schema)
    assert guard(schema).check(body(answer)) is None


def test_patterns_take_time_linear_in_the_text() -> None:
    """RE2 knows no look-around and no back-reference, and says so; it also never backtracks."""
    for pattern in (r"(?=a)b", r"(a)\1", "(", "a" * 2000, "(((a{1000}){1000}){1000})"):
        with pytest.raises(ValueError, match=r"deny\[0\]"):
            GuardrailsConfig(deny=(pattern,))
    assert Patterns(["(a+)+$"], "deny").find_first("a" * 5_000 + "!") is None
    assert misfit(orjson.dumps("a" * 5_000 + "!").decode(), {"pattern": "(a+)+$"})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
KEYWORDS = st.sampled_from(
    [
        *("type", "items", "properties", "required", "enum", "anyOf", "not", "$ref", "pattern"),
        *("if", "then", "multipleOf", "minItems", "uniqueItems", "prefixItems", "$dynamicRef"),
        *("dependentSchemas", "dependentRequired", "contains", "$id", "$anchor", "const"),
    ]
)


@given(st.dictionaries(KEYWORDS, JSON, max_size=4), JSON)
def test_no_schema_of_a_stranger_brings_the_check_down(schema: Any, instance: Any) -> None:
    """It says what is wrong, or that it cannot be said."""
    with suppress(SchemaUnusable):
        assert isinstance(misfit(orjson.dumps(instance).decode(), schema), str)
