"""Demo questions: what is understood, what means the same, and what only looks alike."""

from __future__ import annotations

import datetime as dt
import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.providers.demo_questions import MAX_QUESTION_CHARACTERS, understand
from sidecar.providers.demo_text import plain
from sidecar.providers.demo_values import shown


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("What is the sum of seven and 12?", "19", id="words"),
        pytest.param("twelve times one hundred and five", "1260", id="hundreds"),
        pytest.param("what's 2,500 - 1", "2499", id="thousands separator"),
        pytest.param("What is (3 + 4) * 5 - 2?", "33", id="precedence"),
        pytest.param("Start with 12, add 7, multiply by 3, then subtract 4.", "53", id="chain"),
        pytest.param("100 / 8", "12.5", id="division"),
        pytest.param("Convert 5 km to miles", "3.11", id="imperial"),
        pytest.param("How many minutes are there in 3 hours?", "180", id="hours"),
        pytest.param("What is 20 degrees Celsius in Fahrenheit?", "68", id="temperature"),
        pytest.param("What day of the week is March 15, 2024?", "Friday", id="weekday"),
        pytest.param("days between 1 January 2024 and 2024-03-01", "60", id="leap year"),
        pytest.param("What date is 10 days before 2024-03-06?", "2024-02-25", id="date"),
        pytest.param("Increase 80 by fifteen percent", "92", id="percent up"),
        pytest.param("What percentage of 80 is 20?", "25", id="share"),
        pytest.param("Which is smaller, 17 or 71?", "17", id="comparison"),
        pytest.param("Order the numbers 5, 3 and 9 from largest to smallest", "9, 5, 3", id="sort"),
        pytest.param("How many r's are in strawberry?", "3", id="letters"),
        pytest.param("Is 91 a prime number?", "no", id="prime"),
        pytest.param("What is the lcm of 4 and 6?", "12", id="lcm"),
        pytest.param(
            "12 sweets are shared equally among 8 children. How many does each get?", "1.5"
        ),
        pytest.param("Tom has 9 pens and gives 4 to Ann. How many pens does he have left?", "5"),
    ],
)
def test_a_question_of_a_known_family_has_its_right_answer(text: str, value: str) -> None:
    """Each family is worked out from its words."""
    question = understand(text)
    assert question is not None
    assert question.value == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "What is 2 + 2 in French?",
        "What is 1 / 0?",
        "Which weekday is 2024-02-31?",
        "Convert 5 km to kilograms",
        "((((",
        "What is 7?",
        "9" * 50 + " + 1",
        "1 + " * MAX_QUESTION_CHARACTERS + "1",
    ],
)
def test_what_makes_no_sense_is_not_half_understood(text: str) -> None:
    """The whole text must be a question of a family, or it is none."""
    assert understand(text) is None


@given(st.text(max_size=MAX_QUESTION_CHARACTERS))
def test_any_text_is_understood_or_not_and_never_an_error(text: str) -> None:
    """No text makes `understand` raise."""
    understand(text)


@given(st.text(alphabet="0123456789 +-*/().x", max_size=60))
def test_any_row_of_signs_is_understood_or_not_and_never_an_error(text: str) -> None:
    """The descent through an expression always ends."""
    understand(text)


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_paraphrases_of_a_sum_mean_the_same(a: int, b: int) -> None:
    """Wording and the order of the summands change neither meaning nor value."""
    asked = (
        f"What is {a} plus {b}?",
        f"add {b} and {a}",
        f"{b} + {a} =",
        f"the sum of {a} and {b}",
    )
    questions = {understand(text) for text in asked}
    assert len(questions) == 1
    question = questions.pop()
    assert question is not None
    assert question.value == str(a + b)


@given(st.integers(0, 999), st.integers(0, 999))
def test_direction_is_part_of_the_meaning(a: int, b: int) -> None:
    """`a - b` and `b - a` are two questions, unless they are one."""
    one, other = understand(f"subtract {a} from {b}"), understand(f"subtract {b} from {a}")
    assert one is not None
    assert other is not None
    assert (one.meaning == other.meaning) == (a == b)


@given(st.dates(dt.date(1000, 1, 1)))
def test_every_way_to_write_a_date_is_the_same_date(day: dt.date) -> None:
    """ISO, British and American dates are told alike."""
    month = day.strftime("%B")
    year = f"{day.year:04d}"
    written = (day.isoformat(), f"{day.day} {month} {year}", f"{month} {day.day}, {year}")
    questions = {understand(f"What day of the week is {text}?") for text in written}
    assert len(questions) == 1
    question = questions.pop()
    assert question is not None
    assert question.value == day.strftime("%A")


def test_a_frame_of_politeness_changes_nothing() -> None:
    """What is said around a question is dropped, and the question is not."""
    assert plain("Could you please tell me what's twenty-one plus 3?") == "21 plus 3"


@given(st.fractions(min_value=-(10**6), max_value=10**6))
def test_a_shown_number_is_within_half_a_hundredth(value: Fraction) -> None:
    """Rounding is to two places, and no zeros trail."""
    text = shown(value)
    assert math.isclose(float(text), float(value), abs_tol=0.005_001)
    assert text == "0" or "." not in text or not text.endswith("0")
