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


def test_letter_in_plain_words_is_told_from_one_in_markup() -> None:
    """Whoever reads answers by a pattern finds the one and not the other."""
    asked, place = signals.read_question("Which?\nA. x\nB. y"), "letter_is_plain"
    for text, plain in (("The answer is (B).", 1.0), ("The answer is **B. y**.", 0.0)):
        reading = signals.read_answer(asked, text, 5)
        assert reading.conclusion == "b"
        assert reading.signals[signals.ANSWER_SIGNALS.index(place)] == plain


def test_answers_lean_to_the_option_that_their_working_holds() -> None:
    """What one tier works out may speak for what the other chose."""
    asked = signals.read_question("What is 2 + 2?\nA. 3 apples\nB. 4 pears")
    lower = signals.read_answer(asked, "It is 4 pears. The answer is (A).", 9)
    upper = signals.read_answer(asked, "It is 4 pears. The answer is (B).", 9)
    told = dict(zip(signals.PAIR_SIGNALS, signals.pair_signals(lower, upper), strict=True))
    assert told["lower_backs_upper"] > 0 > told["upper_backs_lower"]
    assert told["disagree"] == 1.0


def test_who_concludes_twice_and_differently_says_so() -> None:
    """A change of mind in the midst of an answer is a signal."""
    asked = signals.read_question("q")
    names = signals.ANSWER_SIGNALS
    wavering = signals.read_answer(asked, "The answer is (A). No: the answer is (B).", 9).signals
    steady = signals.read_answer(asked, "The answer is (B). So: the answer is (B).", 9).signals
    assert wavering[names.index("finals_differ")] == 1.0
    assert steady[names.index("finals_differ")] == 0.0
    assert steady[names.index("finals")] == wavering[names.index("finals")]
