"""Options: they are found, and how a working bears on the chosen one is told."""

from __future__ import annotations

from router.options import NO_CHOICE, options_of, split_options, terms_of

QUESTION = "How many metres?\nA. 3 metres\nB. 4.5 metres\nC. none of these"


def test_options_are_parted_from_the_question() -> None:
    """Letters, texts and first numbers; a question without options has none."""
    stem, told = split_options(QUESTION)
    assert stem.strip() == "How many metres?"
    assert [letter for letter, _ in told] == ["a", "b", "c"]
    options = options_of(QUESTION)
    assert [option.number for option in options.all] == [3.0, 4.5, None]
    assert options_of("A. only one").all == ()


def test_choice_that_the_working_reached_stands_nearer_than_its_rivals() -> None:
    """The number worked out is held against the option chosen and against the others."""
    options = options_of(QUESTION)
    body = terms_of("so it comes to 4.5 metres")
    place, own, rival, numeric, near, far = options.choice("b", body, [9.0, 4.5])
    assert (place, own) == (1.0, 1.0)
    assert rival < own
    assert numeric == 2 / 3
    assert near < -3 < far
    assert options.choice("z", body, [4.5]) == NO_CHOICE
