"""Rules: the first that holds is the one, and what binds never hangs on meaning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.language import LANGUAGES, language
from router.policy import RouterConfig
from router.rules import Facts, Met, Route, Rule, RuleConfig, When, first_meant, first_met, likeness

FACTS = Facts(
    texts=["You are kind.", "Is this contract binding?"],
    question="Is this contract binding?",
    path="/v1/chat/completions",
    tags=["legal", "eu"],
    tenant="shop",
    headers={"x-app": "office"},
    capabilities=frozenset({"tools", "vision"}),
    tokens=120,
)


def rule(name: str, route: Route | None = None, **when: Any) -> Rule:
    config = RuleConfig(name=name, when=When(**when), route=route or Route(tier="large"))
    word = config.when.regex
    return Rule(config, (lambda text: word in text) if word else None)


@pytest.mark.parametrize(
    ("when", "other"),
    [
        pytest.param({"regex": "contract"}, {"regex": "recipe"}, id="regex"),
        pytest.param({"path": "/v1/chat"}, {"path": "/v1/messages"}, id="path"),
        pytest.param({"tags": ("x", "legal")}, {"tags": ("x",)}, id="tags"),
        pytest.param({"tenants": ("shop",)}, {"tenants": ("bank",)}, id="tenants"),
        pytest.param({"languages": ("en",)}, {"languages": ("de",)}, id="languages"),
        pytest.param({"headers": {"x-app": "office"}}, {"headers": {"x-app": "b"}}, id="headers"),
        pytest.param(
            {"capabilities": frozenset({"tools"})}, {"capabilities": frozenset({"n"})}, id="needs"
        ),
        pytest.param({"min_tokens": 120}, {"min_tokens": 121}, id="long"),
        pytest.param({"max_tokens": 120}, {"max_tokens": 119}, id="short"),
    ],
)
def test_a_rule_is_met_where_its_condition_holds(
    when: Mapping[str, Any], other: Mapping[str, Any]
) -> None:
    """Each condition by itself, and together with one that does not hold."""
    facts = FACTS._replace(question="What is the answer to this?")
    assert first_met([rule("other", **other), rule("own", **when)], facts).mark == "own"
    both = {"regex": "contract", **when, "tenants": ("bank",)}
    assert first_met([rule("both", **both)], facts) == Met()


@given(st.lists(st.booleans(), max_size=8))
def test_the_first_that_holds_is_the_one(holds: list[bool]) -> None:
    """Rules behind it change nothing."""
    rules = [rule(str(n), min_tokens=1 if h else 999) for n, h in enumerate(holds)]
    met = first_met(rules, FACTS)
    assert met.mark == (str(holds.index(True)) if True in holds else "")


def test_rules_by_meaning_stand_in_their_place_until_they_are_settled() -> None:
    """Those before the first that holds are candidates; those behind it are not."""
    rules = [
        rule("chat", examples=("hello",)),
        rule("elsewhere", examples=("hello",), tenants=("bank",)),
        rule("legal", tags=("legal",)),
        rule("late", examples=("hello",)),
    ]
    met = first_met(rules, FACTS)
    assert (met.mark, [each.name for each in met.candidates]) == ("chat\nlegal", ["chat"])
    assert first_met(rules, FACTS._replace(question="")).candidates == ()
    unit = np.eye(3, dtype=np.float32)
    assert first_meant(met.candidates, {"chat": unit[:2]}, unit[1]) is met.candidates[0]
    assert first_meant(met.candidates, {"chat": unit[:2]}, unit[2]) is None
    assert first_meant(met.candidates, {"chat": unit[:2]}, None) is None
    assert first_meant(met.candidates, {}, unit[0]) is None


@given(st.integers(0, 1_000))
def test_the_nearest_is_at_least_as_near_as_all_on_average(seed: int) -> None:
    """And both are cosines."""
    rows = np.random.default_rng(seed).normal(size=(5, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    nearest, mean = likeness(rows[1:], rows[0], "max"), likeness(rows[1:], rows[0], "mean")
    assert -1.001 <= mean <= nearest + 1e-6 <= 1.002


@pytest.mark.parametrize(
    ("told", "says"),
    [
        pytest.param({"when": {}}, "asks for nothing", id="empty"),
        pytest.param({"when": {"languages": ("xx",)}}, "languages", id="language"),
        pytest.param({"when": {"capabilities": frozenset({"x"})}}, "capabilities", id="capability"),
        pytest.param({"when": {"headers": {"authorization": "x"}}}, "headers", id="header"),
        pytest.param({"when": {"headers": {"x-api-key": "x"}}}, "headers", id="key"),
        pytest.param({"when": {"min_tokens": 5, "max_tokens": 4}}, "range", id="range"),
        pytest.param({"when": {"examples": ("",)}}, "examples", id="empty example"),
        pytest.param({"when": {"examples": ("x",) * 65}}, "examples", id="many examples"),
        pytest.param({"when": {"min_tokens": 1, "min_similarity": 0.0}}, "similarity", id="like"),
        pytest.param({"name": "a\nb", "when": {"tags": ("x",)}}, "name", id="name"),
        pytest.param({"when": {"tags": ("x",)}, "route": {}}, "says nothing", id="no route"),
        pytest.param({"when": {"tags": ("x",)}, "route": {"quality": 2}}, "quality", id="quality"),
        pytest.param(
            {"when": {"tags": ("x",)}, "route": {"tier": "a", "min_tier": "b"}}, "tier", id="both"
        ),
        pytest.param(
            {"when": {"examples": ("x",)}, "upstreams": ("a",)}, "cannot hang", id="bound by chance"
        ),
    ],
)
def test_a_rule_that_cannot_be_kept_is_refused(told: dict[str, Any], says: str) -> None:
    """With what is wrong with it."""
    with pytest.raises(ValueError, match=says):
        RuleConfig(
            name=told.get("name", "r"),
            when=When(**told["when"]),
            route=Route(**told.get("route", {"tier": "large"})),
            upstreams=told.get("upstreams", ()),
        )


def test_rules_of_one_name_or_too_many_are_refused() -> None:
    """A name is what metrics and headers call it."""
    one = rule("a", tags=("x",)).config
    with pytest.raises(ValueError, match="same name"):
        RouterConfig(rules=(one, one))
    many = [rule(str(n), examples=tuple("x" * 60)).config for n in range(9)]
    with pytest.raises(ValueError, match="examples in all"):
        RouterConfig(rules=tuple(many))
    with pytest.raises(ValueError, match="at most 64"):
        RouterConfig(rules=tuple(rule(str(n), tags=("x",)).config for n in range(65)))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("What is the capital of France and how do I get there?", "en"),
        ("Wie komme ich mit der Bahn nach Hamburg und was kostet das?", "de"),
        ("Quelle est la capitale de la France et pour qui est-ce ?", "fr"),
        ("¿Cuál es la capital de España y cómo son los trenes?", "es"),
        ("Qual è la capitale del paese e come sono i treni per una notte?", "it"),
        ("Qual é a capital do Brasil e como são os trens para uma noite?", "pt"),
        ("Wat is de hoofdstad van het land en hoe kom ik er met de trein?", "nl"),
        ("Какой город является столицей?", "ru"),
        ("日本の首都はどこですか", "ja"),
        ("中国的首都是哪里", "zh"),
        ("대한민국의 수도는 어디입니까", "ko"),
        ("ما هي عاصمة مصر", "ar"),
        ("x = 4", ""),
        ("", ""),
    ],
)
def test_language_is_told_where_it_is_clear(text: str, told: str) -> None:
    """By script, else by common words; empty where unsure."""
    assert language(text) == told


@given(st.text(max_size=200))
def test_any_text_has_a_known_language_or_none(text: str) -> None:
    """Nothing is raised, and no other word comes out."""
    assert language(text) in {"", *LANGUAGES}
