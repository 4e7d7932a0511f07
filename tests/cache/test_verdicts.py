"""A verdict is asked for once: of one entry, for one text."""

from __future__ import annotations

from cache.verdicts import MAX_REMEMBERED, Verdicts
from tests.cache.test_look import FakeVerifier


def test_a_pair_that_comes_again_is_not_put_to_the_verifier_again() -> None:
    """Another entry with the same words is: it may be another's."""
    verifier = FakeVerifier(3.0)
    verdicts = Verdicts(verifier)
    said = [verdicts.verdict(1, "kept", "asked"), verdicts.verdict(1, "kept", "asked")]
    said += [verdicts.verdict(2, "kept", "asked"), verdicts.verdict(1, "kept", "asked too")]
    assert said == [3.0] * 4
    assert verifier.asked == [("kept", "asked"), ("kept", "asked"), ("kept", "asked too")]


def test_where_one_text_ends_and_the_other_begins_is_told_apart() -> None:
    """Two texts are not one long one."""
    verifier = FakeVerifier(3.0)
    verdicts = Verdicts(verifier)
    for kept, asked in (("ab", "c"), ("a", "bc")):
        verdicts.verdict(1, kept, asked)
    assert len(verifier.asked) == 2


def test_no_verdict_is_asked_for_again() -> None:
    """A session that failed may be well again; and what is no entry is not remembered."""
    verifier = FakeVerifier(None)
    verdicts = Verdicts(verifier)
    assert [verdicts.verdict(1, "kept", "asked") for _ in range(2)] == [None, None]
    verifier.says = 1.0
    assert [verdicts.verdict(None, "kept", "asked") for _ in range(2)] == [1.0, 1.0]
    assert len(verifier.asked) == 4


def test_no_more_than_so_many_are_remembered() -> None:
    """The one that was longest unused leaves first."""
    verifier = FakeVerifier(1.0)
    verdicts = Verdicts(verifier)
    for number in range(MAX_REMEMBERED):
        verdicts.verdict(number, "kept", "asked")
    verdicts.verdict(0, "kept", "asked")
    verdicts.verdict(MAX_REMEMBERED, "kept", "asked")
    assert len(verifier.asked) == MAX_REMEMBERED + 1
    verdicts.verdict(0, "kept", "asked")
    assert len(verifier.asked) == MAX_REMEMBERED + 1
    verdicts.verdict(1, "kept", "asked")
    assert len(verifier.asked) == MAX_REMEMBERED + 2
