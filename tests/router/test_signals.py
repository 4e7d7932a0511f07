"""Signals: conclusions are found, long texts are bounded, every number is finite."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router import signals


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param("So it is. The answer is (C).", "c", id="letter"),
        pytest.param("The answer is **G**.", "g", id="bold letter"),
        pytest.param('{"reasoning": "...", "answer": "$1,200"}', "1200", id="json"),
        pytest.param('{"answer": 7.50}', "7.5", id="json number"),
        pytest.param("Thus \\boxed{3 + \\sqrt{97}}", "3+\\sqrt97", id="box"),
        pytest.param("work\n#### 42", "42", id="hashes"),
        pytest.param("The answer is (A). No: the answer is (B).", "b", id="last"),
        pytest.param("It depends.", "", id="none"),
    ],
)
def test_conclusion_is_the_last_one_told(text: str, found: str) -> None:
    """The final answer is found wherever models are asked to put it."""
    assert signals.conclusion(text) == found


@given(st.text(), st.text(), st.integers(0, 10**6))
def test_every_signal_is_finite_whatever_the_text(question: str, text: str, tokens: int) -> None:
    """The rows have their stated width, without NaN or infinity."""
    asked = signals.question_signals(question)
    reading = signals.read_answer(signals.read_question(question), text, tokens)
    pair = signals.pair_signals(reading, reading)
    assert len(asked) == len(signals.QUESTION_SIGNALS)
    assert len(reading.signals) == len(signals.ANSWER_SIGNALS)
    assert len(pair) == len(signals.PAIR_SIGNALS)
    assert all(map(math.isfinite, (*asked, *reading.signals, *pair)))


@given(st.integers(0, 20_000))
def test_only_head_and_tail_are_looked_at(length: int) -> None:
    """However long a text is, what is looked at has a bound, and keeps both ends."""
    part = signals.seen("a" + "x" * length + "z")
    assert len(part) <= signals.HEAD_CHARACTERS + signals.TAIL_CHARACTERS + 1
    assert (part[0], part[-1]) == ("a", "z")


def test_answers_that_agree_say_so() -> None:
    """Equal conclusions agree, different ones disagree, and none is neither."""
    told = [
        signals.read_answer(signals.read_question("q"), text, 5)
        for text in ("The answer is (B).", 'x {"answer": "b"}', "The answer is (C).", "Who knows")
    ]
    assert signals.pair_signals(told[0], told[1])[:2] == (1.0, 0.0)
    assert signals.pair_signals(told[0], told[2])[:2] == (0.0, 1.0)
    assert signals.pair_signals(told[0], told[3])[:2] == (0.0, 0.0)


def test_option_that_the_working_reached_is_backed() -> None:
    """The chosen option's own words in the answer count for it, a rival's against it."""
    question = "What is 2 + 2?\nA. 3\nB. 4\nC. 5"
    names = signals.ANSWER_SIGNALS
    good = signals.read_answer(
        signals.read_question(question), "2 + 2 = 4. The answer is (B).", 9
    ).signals
    bad = signals.read_answer(
        signals.read_question(question), "2 + 2 = 4. The answer is (C).", 9
    ).signals
    assert good[names.index("backing")] == 1.0
    assert bad[names.index("backing")] == 0.0
    assert bad[names.index("rival_backing")] == 1.0
