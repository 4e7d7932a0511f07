"""Clusters: connected components, their look-alikes, and the stream over them."""

from __future__ import annotations

from itertools import islice
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from loadtest.questions.clusters import clustered, popular, questions

_PAIRS = [
    ("a", "b", True),
    ("b", "c", True),
    ("d", "e", True),
    ("a", "x", False),
    ("c", "d", False),
]


def test_what_is_the_same_by_steps_is_one_cluster() -> None:
    """A = b and b = c make a = c; x is alone."""
    clusters = clustered(_PAIRS)
    assert clusters.of["a"] == clusters.of["c"] != clusters.of["d"]
    assert sorted(map(sorted, clusters.members.values())) == [["a", "b", "c"], ["d", "e"], ["x"]]
    assert sorted(clusters.lookalikes[clusters.of["a"]]) == ["d", "x"]


_NAMES = st.sampled_from("abcdefgh")


@given(st.lists(st.tuples(_NAMES, _NAMES, st.booleans())))
def test_clusters_share_no_question_and_lose_none(pairs: list[tuple[str, str, bool]]) -> None:
    """The members are a partition, and pairs that are the same never straddle."""
    clusters = clustered(pairs)
    listed = [question for members in clusters.members.values() for question in members]
    assert sorted(listed) == sorted({q for one, other, _ in pairs for q in (one, other)})
    assert all(clusters.of[one] == clusters.of[other] for one, other, same in pairs if same)
    for number, others in clusters.lookalikes.items():
        assert all(clusters.of[other] != number for other in others)


def test_distractors_come_from_elsewhere_and_the_rest_from_popular_clusters() -> None:
    """Only clusters of two and more are popular; look-alikes are asked in their share."""
    clusters = clustered(_PAIRS)
    order = popular(clusters, 10, Random(0))  # noqa: S311 - dice, no secret
    assert len(order) == 2
    rng = Random(1)  # noqa: S311 - as above
    stream = questions(clusters, order, distractor_ratio=0.5, exponent=1.0, rng=rng)
    assert "x" in set(islice(stream, 200))
    stream = questions(clusters, order, distractor_ratio=0.0, exponent=1.0, rng=rng)
    assert set(islice(stream, 200)) == set("abcde")
