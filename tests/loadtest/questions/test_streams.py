"""The demo stream: one oracle, another solver, and both say the same."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.questions.families import FAMILIES
from loadtest.questions.family import Family, in_words, plain
from loadtest.questions.streams import StreamConfig, demo_stream, meaning_of, value_of, zipf_weights
from sidecar.providers.demo_questions import understand

_FAMILIES = [pytest.param(family, id=family.name) for family in FAMILIES]


@pytest.mark.parametrize("family", _FAMILIES)
def test_the_demo_understands_every_phrasing_and_agrees_with_the_oracle(family: Family) -> None:
    """Two solvers that share no code give one value, for questions and their look-alikes."""
    rng = Random(11)  # noqa: S311 - dice, no secret
    for _ in range(60):
        drawn = family.draw(rng)
        for params in (drawn, family.vary(drawn, rng)):
            understood = {understand(text) for text in family.phrasings(params)}
            assert len({question and question.meaning for question in understood}) == 1
            assert {question and question.value for question in understood} == {
                family.answer(params)
            }


@pytest.mark.parametrize("family", _FAMILIES)
def test_meanings_are_the_same_to_both_sides(family: Family) -> None:
    """Where the generator sees two meanings the demo sees two, and where one, one."""
    rng = Random(12)  # noqa: S311 - dice, no secret
    pairs = set()
    for _ in range(200):
        params = family.draw(rng)
        question = understand(family.phrasings(params)[0])
        assert question is not None
        pairs.add((meaning_of(family, params), question.meaning))
    assert len({ours for ours, _ in pairs}) == len({theirs for _, theirs in pairs}) == len(pairs)


@pytest.mark.parametrize("family", _FAMILIES)
def test_a_lookalike_asks_something_else(family: Family) -> None:
    """`vary` never gives the same meaning back."""
    rng = Random(13)  # noqa: S311 - dice, no secret
    for _ in range(50):
        params = family.draw(rng)
        assert meaning_of(family, family.vary(params, rng)) != meaning_of(family, params)


@given(st.integers(0, 2**32), st.integers(0, 5))
def test_a_seed_and_a_sender_give_one_stream(seed: int, sender: int) -> None:
    """The same dice, the same questions."""
    config = StreamConfig(meanings=20)
    one, other = (list(islice(demo_stream(seed, config, sender=sender), 20)) for _ in range(2))
    assert one == other


def test_popular_questions_are_asked_by_zipf_and_shares_hold() -> None:
    """The first is asked about twice as often as the second; origins come as configured."""
    config = StreamConfig(meanings=50, new_ratio=0.2, lookalike_ratio=0.1, stream_ratio=0.3)
    asked = list(islice(demo_stream(0, config), 20_000))
    shares = Counter(one.origin for one in asked)
    assert abs(shares["new"] / len(asked) - 0.2) < 0.02
    assert abs(shares["lookalike"] / len(asked) - 0.1) < 0.02
    assert abs(sum(one.is_stream for one in asked) / len(asked) - 0.3) < 0.02
    counts = Counter(one.meaning for one in asked if one.origin == "popular").most_common(2)
    assert 1.7 < counts[0][1] / counts[1][1] < 2.3


def test_zipf_weights_fall_with_the_rank() -> None:
    """The running sums are those of 1 / rank."""
    assert zipf_weights(3, 1.0) == pytest.approx([1.0, 1.5, 1.5 + 1 / 3])


@pytest.mark.parametrize("fields", [{"new_ratio": 1.5}, {"meanings": 0}, {"new_ratio": -0.1}])
def test_an_impossible_stream_is_refused(fields: dict[str, float]) -> None:
    """Shares are shares, and something must be asked."""
    with pytest.raises(ValueError, match=r"must lie|at least"):
        StreamConfig(**fields)  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[simulated] 1 + 1. The answer is 2.", "2"),
        ("The answer is 3.5.", "3.5"),
        ("The answer is 3, 5, 9.", "3, 5, 9"),
        ("no idea", None),
    ],
)
def test_the_last_line_is_read(text: str, value: str | None) -> None:
    """The value stands after `The answer is`, without the full stop."""
    assert value_of(text) == value


def test_numbers_are_written_as_people_do() -> None:
    """Words below a hundred, two places at most."""
    assert [in_words(n) for n in (0, 13, 42, 90, 100)] == [
        *("zero", "thirteen", "forty-two", "ninety", "100"),
    ]
    assert [plain(n) for n in (5, 60, 0)] == ["5", "60", "0"]
