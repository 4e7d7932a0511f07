"""The generator's laws: what is called the same keeps its words, what is not has lost one."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.similarity.lookalikes import CHANGES, generate, reword
from train.similarity.pairs import plain


def dice(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - no secret


QUESTIONS = (
    "How do I send 20 dollars from London to Paris?",
    "Can I cancel my order before it ships?",
    "what is the minimum balance of a savings account",
    "Is it not legal to import a dog into Japan",
)
seeds = st.integers(0, 2**32)
texts = st.lists(
    st.sampled_from(" ".join((*QUESTIONS, "not 7 before")).split()), min_size=1, max_size=12
).map(" ".join)


@given(texts, seeds)
def test_a_seed_makes_the_same_pairs_again(text: str, seed: int) -> None:
    """Whatever the text."""
    assert list(generate([text], seed)) == list(generate([text], seed))


@given(texts, seeds)
def test_a_change_says_something_else(text: str, seed: int) -> None:
    """Never the same words: a look-alike that is none would teach the opposite."""
    for change in CHANGES.values():
        changed = change(text, dice(seed))
        assert changed is None or plain(changed) != plain(text)


@given(texts, seeds)
def test_a_rewording_keeps_its_numbers(text: str, seed: int) -> None:
    """Manners have none."""
    said = reword(text, dice(seed))
    assert Counter(re.findall(r"\d+", said)) == Counter(re.findall(r"\d+", text))


@given(texts, seeds)
def test_only_rewordings_are_called_the_same(text: str, seed: int) -> None:
    """One of them for each question."""
    pairs = list(generate([text], seed))
    assert [pair.kind for pair in pairs if pair.is_same] == ["reword"]
    assert all(pair.one == text for pair in pairs)


@pytest.mark.parametrize(
    ("kind", "question", "changed"),
    [
        ("direction", "bus from London to Paris", "bus from Paris to London"),
        ("negation", "can I cancel my order", "can I not cancel my order"),
        ("negation", "it is not legal", "it is legal"),
        ("sibling", "how to enable it", "how to disable it"),
        ("number", "what is love", None),
    ],
)
def test_what_each_change_does(kind: str, question: str, changed: str | None) -> None:
    """And that it knows when it cannot."""
    assert CHANGES[kind](question, dice(0)) == changed
