"""What the budget's bench draws, and what an artifact keeps of its rows."""

from __future__ import annotations

import numpy as np

from router.artifact import plans_above
from train.fitting.known import CENTROIDS, known_arrays
from train.samples.examples import Answered, Example
from train.weighing.pacing import MOSTLY, traffic


def example(domain: str) -> Example:
    told = Answered(text="4", tokens_in=1, tokens_out=1, cost_usd=0.0, correct=1.0)
    return Example(query="q", answers={"small": told}, domain=domain)


def test_the_domains_change_in_the_middle() -> None:
    """Most of each half are of its own group, either way round, and a seed gives the same again."""
    examples = [example("math_word")] * 30 + [example("law")] * 70
    for knowledge_first in (False, True):
        rows = traffic(examples, 4_000, 1, knowledge_first=knowledge_first)
        is_law = rows >= 30
        shares = is_law[:2_000].mean(), is_law[2_000:].mean()
        assert abs(shares[not knowledge_first] - MOSTLY) < 0.03
        assert abs(shares[knowledge_first] - (1 - MOSTLY)) < 0.03
        assert np.array_equal(rows, traffic(examples, 4_000, 1, knowledge_first=knowledge_first))


def test_what_is_kept_of_the_rows_is_the_same_each_time() -> None:
    """Shapes, order and values; so that an artifact can be made again."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(400, 16)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    right = {0: rng.uniform(size=400), 1: rng.uniform(size=400)}
    gain = {plan: rng.normal(size=400) for plan in plans_above((), 2)}
    first, again = (known_arrays(rows, right, gain, 0) for _ in range(2))
    assert first["known_centroids"].shape == (CENTROIDS, 16)
    assert np.all(np.diff(first["known_similarity"]) <= 0)
    assert np.all(np.diff(first["known_scores"], axis=1) >= 0)
    assert first["known_gain"].tolist() == [gain[plan].mean() for plan in plans_above((), 2)]
    assert all(np.allclose(first[name], again[name], atol=1e-3) for name in first)
