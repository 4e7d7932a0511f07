"""A tier's replicas in, the order in which this request asks them out.

- `order`: as the config names them; the next is asked where one fails.
- `weighted`: drawn by weight without replacement. Source: P. Efraimidis, P. Spirakis, "Weighted
  random sampling with a reservoir", 2006: sort by u^(1/weight), u uniform.
- `latency`: two are drawn, the one with the smaller cost is asked first, the others follow by cost.
  Source: M. Mitzenmacher, "The power of two choices in randomized load balancing", 2001: always
  asking the best would send everybody to the same one between two measurements.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from sidecar.replicas.fleet import Replica

Balance = Literal["order", "weighted", "latency"]


def ordered(
    balance: Balance, replicas: Sequence[Replica], now_s: float, dice: Callable[[], float]
) -> list[Replica]:
    """Every replica once. Where they are equals, those whose breaker is open come last."""
    if balance == "order":
        return list(replicas)
    if balance == "weighted":
        drawn = sorted(replicas, key=lambda replica: -(dice() ** (1.0 / replica.weight)))
    else:
        drawn = _better_of_two(replicas, now_s, dice)
    return sorted(drawn, key=lambda replica: not replica.breaker.may_admit(now_s))


def _better_of_two(
    replicas: Sequence[Replica], now_s: float, dice: Callable[[], float]
) -> list[Replica]:
    shuffled = sorted(replicas, key=lambda _: dice())
    ready = [replica for replica in shuffled if replica.breaker.may_admit(now_s)]
    ranked = sorted(shuffled, key=lambda replica: replica.load.cost(now_s))
    if not ready:
        return ranked
    first = min(ready[:2], key=lambda replica: replica.load.cost(now_s))
    return [first, *(replica for replica in ranked if replica is not first)]
