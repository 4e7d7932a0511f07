"""Simulated models: competence rises, mistakes are steady and plausible, texts can be read."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from loadtest.questions.streams import StreamConfig, demo_stream
from sidecar.providers.demo_models import MARK, MODELS, Dice, as_json, mistaken, said, unable
from sidecar.providers.demo_questions import understand
from sidecar.providers.demo_values import Question

_ASKED = [
    question
    for asked, _ in zip(
        demo_stream(5, StreamConfig(new_ratio=1.0, lookalike_ratio=0.0)), range(500), strict=False
    )
    if (question := understand(asked.text)) is not None
]


def _right_share(model: str) -> float:
    dice = Dice(0)
    right = [said(MODELS[model], q, "", dice).value == q.value for q in _ASKED]
    return sum(right) / len(right)


def test_competence_rises_with_the_tier() -> None:
    """Over 500 questions small is right less often than medium, and medium than large."""
    assert len(_ASKED) == 500
    small, medium, large = map(_right_share, ("demo-small", "demo-medium", "demo-large"))
    assert small < medium - 0.05
    assert medium < large
    assert large > 0.97
    assert small > 0.3  # a tier that is never right would make a dull ladder


@given(st.sampled_from(_ASKED), st.sampled_from(list(MODELS)), st.text(), st.text())
def test_the_value_hangs_on_the_meaning_and_never_on_the_wording(
    question: Question, model: str, one: str, other: str
) -> None:
    """The same question errs the same way in each paraphrase and each time."""
    values = {said(MODELS[model], question, wording, Dice(3)).value for wording in (one, other)}
    assert len(values) == 1


@given(st.sampled_from(_ASKED), st.sampled_from(list(MODELS)), st.integers(0, 9))
def test_each_text_announces_itself_and_ends_with_its_value(
    question: Question, model: str, seed: int
) -> None:
    """`[simulated]` stands in front, and a machine can read the last line."""
    answer = said(MODELS[model], question, "", Dice(seed))
    assert answer.text.startswith(MARK)
    assert answer.text.endswith(f"The answer is {answer.value}.")
    assert question.meaning in answer.text


@given(st.sampled_from(_ASKED), st.integers(0, 5))
def test_a_mistake_is_never_right_and_of_the_right_kind(question: Question, slip: int) -> None:
    """A wrong value is another one, and looks like the right one."""
    wrong = mistaken(question, slip)
    assert wrong != question.value
    if question.kind == "number":
        assert re.fullmatch(r"-?\d+(\.\d+)?", wrong)


def test_doubt_shows_more_often_where_the_answer_is_wrong() -> None:
    """Low log-probabilities and hedges tell something about the small model's mistakes."""
    answers = [(q, said(MODELS["demo-small"], q, "", Dice(0))) for q in _ASKED]
    wrong = [a for q, a in answers if a.value != q.value]
    right = [a for q, a in answers if a.value == q.value]
    assert sum(a.seems_sure for a in wrong) / len(wrong) < 0.4
    assert sum(a.seems_sure for a in right) / len(right) > 0.8


def test_what_is_not_understood_gets_an_honest_answer() -> None:
    """No value is made up."""
    answer = unable("Who wrote Faust?")
    assert answer.text.startswith(MARK)
    assert answer.value == ""
    assert as_json(answer, is_strict=True).startswith('{"answer": "[simulated]')
