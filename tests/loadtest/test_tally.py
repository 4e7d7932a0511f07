"""Tallies: what is a hit, a false hit and a wrong answer."""

from __future__ import annotations

from loadtest.callers.answers import Reply
from loadtest.questions.streams import Asked
from loadtest.tally import Outcome, is_false_hit, origins, tabulate


def _outcome(meaning: str, cache: str, text: str, *, answer: str = "2") -> Outcome:
    asked = Asked(text="?", meaning=meaning, answer=answer, is_stream=False, origin="popular")
    headers = {"x-sidecar-cache": cache, "x-sidecar-tier": "small", "x-sidecar-cost-usd": "0.5"}
    reply = Reply(status=200, text=text, is_whole=True, headers=headers, latency_ms=10.0)
    return Outcome(asked=asked, reply=reply)


_FRESH = _outcome("a", "miss", "a: The answer is 2.")


def test_a_hit_on_an_answer_made_for_this_meaning_is_a_true_one() -> None:
    """Even where the answer itself is wrong: that is the tier's mistake and not the cache's."""
    fresh = _outcome("a", "miss", "a: The answer is 3.")
    hit = _outcome("a", "hit-semantic", "a: The answer is 3.")
    assert not is_false_hit(hit, origins([fresh, hit]))
    assert not hit.is_right


def test_a_hit_on_an_answer_made_for_another_meaning_is_false() -> None:
    """Even where the value happens to be right."""
    hit = _outcome("b", "hit-semantic", "a: The answer is 2.")
    assert is_false_hit(hit, origins([hit, _FRESH]))
    assert hit.is_right


def test_a_hit_whose_making_was_not_seen_is_judged_by_its_value() -> None:
    """An entry from before the run: right is true, wrong is false."""
    assert not is_false_hit(_outcome("a", "hit-exact", "The answer is 2."), {})
    assert is_false_hit(_outcome("a", "hit-exact", "The answer is 3."), {})


def test_a_fresh_answer_is_never_a_false_hit() -> None:
    """Only what was kept can be served to the wrong question."""
    assert not is_false_hit(_FRESH, origins([_FRESH]))


def test_the_table_counts_each_kind_once() -> None:
    """Rates are over what was answered; errors stand apart."""
    broken = Outcome(asked=_FRESH.asked, reply=Reply(status=502))
    outcomes = [
        _FRESH,
        _outcome("a", "hit-exact", "a: The answer is 2."),
        _outcome("b", "hit-semantic", "a: The answer is 2."),
        _outcome("c", "miss", "c: The answer is 3."),
        broken,
    ]
    figures = tabulate(outcomes, elapsed_s=2.0).figures
    rates = {name: rate["value"] for name, rate in figures["rates"].items()}
    assert figures["requests"] == 5
    assert rates["hits"] == 0.5
    assert rates["hits_exact"] == rates["hits_semantic"] == 0.25
    assert rates["false_hits_of_hits"] == 0.5
    assert rates["false_hits_of_requests"] == 0.25
    assert rates["errors"] == 0.2
    assert rates["right_answers"] == 0.75
    assert figures["cost_usd_per_1k"] == 500.0
    assert figures["tiers"]["small"]["requests"] == 2
    assert figures["latency_ms"]["hit-exact"]["p50"] == 10.0


def test_nothing_asked_is_a_table_all_the_same() -> None:
    """A run that was cut short at once still reports."""
    assert tabulate([], elapsed_s=0.0).figures["requests"] == 0
