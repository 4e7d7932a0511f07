"""The static answers: the first that fits, for whom it is meant."""

from __future__ import annotations

import pytest

from sidecar.degraded import MAX_MATCHED, DegradedConfig, StaticAnswerConfig, StaticAnswers

ANSWERS = StaticAnswers(
    DegradedConfig(
        answers=(
            StaticAnswerConfig(match="(?i)opening hours", tenant="shop", text="9 to 17"),
            StaticAnswerConfig(match="hours", text="some"),
        )
    )
)


@pytest.mark.parametrize(
    ("question", "tenant", "text"),
    [
        pytest.param("Opening hours?", "shop", "9 to 17", id="first-that-fits"),
        pytest.param("opening hours?", "bank", "some", id="anothers"),
        pytest.param("Who are you?", "shop", None, id="unforeseen"),
        pytest.param(None, "shop", None, id="no-question"),
        pytest.param("x" * MAX_MATCHED + "hours", "shop", None, id="far-behind"),
    ],
)
def test_the_first_that_fits_is_told(question: str | None, tenant: str, text: str | None) -> None:
    """By its pattern and its tenant; a pattern sees no more than it may."""
    assert ANSWERS.find(question, tenant) == text


@pytest.mark.parametrize(("match", "text"), [("(", "x"), ("x", "")])
def test_what_can_never_be_told_is_refused(match: str, text: str) -> None:
    """At the start, not in the outage."""
    with pytest.raises(ValueError, match=r"match|text"):
        StaticAnswerConfig(match=match, text=text)
