"""Balancing: everybody once, and the right one first."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from sidecar.providers.breaker import BreakerConfig
from sidecar.replicas.balance import Balance, ordered
from sidecar.replicas.fleet import Fleet, Replica
from tests.sidecar.replicas.fakes import FakeClock, FakeUpstream, manner

DICE = Random(1).random  # noqa: S311 - the test's own dice


def members(*weights: float) -> list[Replica]:
    clock = FakeClock()
    wanted = [
        (upstream, "m", manner(upstream, weight=weight, breaker=BreakerConfig(run=1)))
        for number, weight in enumerate(weights)
        for upstream in [FakeUpstream("x", name=f"u{number}")]
    ]
    return Fleet(clock).muster([wanted])[0]


def firsts(balance: Balance, replicas: list[Replica], turns: int = 4_000) -> Counter[str]:
    dice = Random(7).random  # noqa: S311 - the test's own dice
    return Counter(ordered(balance, replicas, 0.0, dice)[0].upstream.name for _ in range(turns))


@pytest.mark.parametrize("balance", ["order", "weighted", "latency"])
def test_everybody_stands_in_the_order_once(balance: Balance) -> None:
    """Whoever is last is still asked when the others failed."""
    replicas = members(1.0, 2.0, 3.0)
    assert set(ordered(balance, replicas, 0.0, DICE)) == set(replicas)


def test_order_is_the_configs() -> None:
    """Also where the first is shut: that it was passed over is then told."""
    replicas = members(1.0, 1.0)
    shut(replicas[0])
    assert ordered("order", replicas, 0.0, DICE) == replicas


def test_weights_are_shares() -> None:
    """1 : 3 within three standard deviations of 4,000 draws."""
    share = firsts("weighted", members(1.0, 3.0))["u1"] / 4_000
    assert share == pytest.approx(0.75, abs=3 * (0.75 * 0.25 / 4_000) ** 0.5)


def test_the_slow_one_is_asked_first_only_where_two_draws_miss_the_others() -> None:
    """Of three, the slowest is never the better of two; the other two share the traffic."""
    replicas = members(1.0, 1.0, 1.0)
    for replica, latency_s in zip(replicas, (0.1, 0.2, 5.0), strict=True):
        replica.load.answered(latency_s, 0.0, whole=True)
    told = firsts("latency", replicas)
    assert told["u2"] == 0
    assert told["u0"] > told["u1"] > 1_000


@pytest.mark.parametrize("balance", ["weighted", "latency"])
def test_a_shut_one_comes_last(balance: Balance) -> None:
    """It would only be passed over."""
    replicas = members(1.0, 1.0)
    shut(replicas[0])
    assert firsts(balance, replicas, 50) == {"u1": 50}
    shut(replicas[1])
    assert sum(firsts(balance, replicas, 50).values()) == 50


def shut(replica: Replica) -> None:
    ticket = replica.breaker.admit(0.0)
    assert ticket is not None
    replica.breaker.failed(ticket, 0.0)
