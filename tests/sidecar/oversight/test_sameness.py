"""Sameness: what close reading settles, and what it leaves open."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.oversight.sameness import Sameness, compare, contradicts

SAME, DIFFERENT, UNSURE = Sameness


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        pytest.param("Paris.", "**paris**", SAME, id="only-type"),
        pytest.param("12 plus 7 is 19.", "19", SAME, id="bare-result"),
        pytest.param("The answer is 42.", "So: final answer: **42**", SAME, id="final-answer"),
        pytest.param("It is \\boxed{3}", "#### 3", SAME, id="final-answer-in-marks"),
        pytest.param("The answer is 42", "The answer is 43", DIFFERENT, id="other-final-answer"),
        pytest.param("It takes 19 days", "It takes 20 days", DIFFERENT, id="other-number"),
        pytest.param("From 3 to 5 days", "From 4 to 5 days", DIFFERENT, id="other-working"),
        pytest.param("Yes, you may.", "No, you may not.", DIFFERENT, id="yes-and-no"),
        pytest.param("", "Paris", DIFFERENT, id="nothing"),
        pytest.param("12 and 7 make 19", "12 plus 7 is 19", UNSURE, id="same-numbers"),
        pytest.param("Press the button.", "You press it.", UNSURE, id="words"),
    ],
)
def test_close_reading(left: str, right: str, expected: Sameness) -> None:
    """Numbers and a yes against a no decide; other words do not."""
    assert compare(left, right) is expected
    assert compare(right, left) is expected


@given(st.text())
def test_every_answer_is_the_same_as_itself(text: str) -> None:
    """Whatever it is made of."""
    assert compare(text, text) is SAME


@pytest.mark.parametrize(
    ("answer", "correct", "expected"),
    [
        pytest.param("12 plus 7 is 19.", "19", False, id="within"),
        pytest.param("Paris", "It is Paris", False, id="around"),
        pytest.param("12 plus 7 is 21.", "19", True, id="other-number"),
        pytest.param("It is Lyon.", "Paris", True, id="other-word"),
        pytest.param("12 and 7 make 19", "12 plus 7 is 19", False, id="same-numbers"),
        pytest.param("It is Lyon.", "", False, id="nothing-said"),
        pytest.param("a b", " ".join("abcdefghijklmnop"), False, id="too-long-to-tell"),
    ],
)
def test_a_correct_answer_speaks_against_another(answer: str, correct: str, expected: bool) -> None:  # noqa: FBT001 - a parameter
    """Only where reading can tell."""
    assert contradicts(answer, correct) is expected
