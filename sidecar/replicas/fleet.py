"""What is known of each model at each upstream: kept over a reload, for whoever asks it next."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from sidecar.providers.breaker import Breaker, BreakerConfig, State
from sidecar.providers.wire import Upstream
from sidecar.replicas.load import Load
from sidecar.replicas.retries import RetryBudget


class Identity(NamedTuple):
    """What makes an upstream the same before and after a reload.

    Attributes:
        upstream: The config's name for it.
        base_url: Where it is.
        key: Digest of its key: a new one is tried at once, whatever the old one met.
    """

    upstream: str
    base_url: str
    key: str

    @classmethod
    def of(cls, upstream: str, base_url: str, api_key: str) -> Identity:
        """The identity of what the config describes; the key itself is not held."""
        return cls(upstream, base_url, hashlib.sha256(api_key.encode()).hexdigest()[:16])


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Replica:
    """One upstream as one tier asks it.

    Attributes:
        upstream: Who is asked.
        retries: How often one request may ask it again after it failed.
        weight: Its share of a tier balanced by weight.
        breaker: Whether it may be asked now; of this upstream and the tier's model.
        load: How long it takes; of the same.
        budget: How many further calls it may be sent; of the upstream, whatever the model.
    """

    upstream: Upstream
    retries: int
    weight: float
    breaker: Breaker
    load: Load
    budget: RetryBudget


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How an upstream is treated: the part of its config that this room reads.

    Attributes:
        identity: See Identity.
        retries: See Replica.
        retry_ratio: Share of its traffic that retries may add.
        weight: See Replica.
        breaker: See BreakerConfig.
    """

    identity: Identity
    retries: int = 0
    retry_ratio: float = 0.1
    weight: float = 1.0
    breaker: BreakerConfig


class Standing(NamedTuple):
    """One line of what the operator sees.

    Attributes:
        upstream: The config's name.
        model: The vendor's model id.
        state: Of the breaker.
        retry_after_s: Until it may be tried again.
        in_flight: Calls under way.
        latency_ms: The moving average.
        retries_left: Of the upstream's budget.
    """

    upstream: str
    model: str
    state: State
    retry_after_s: float
    in_flight: int
    latency_ms: float
    retries_left: float


class Fleet:
    """Hands out replicas, and remembers. Owned by the event loop's thread; read from any.

    Both mappings are replaced whole and never changed in place: who reads from another thread sees
    the old ones or the new ones.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` is monotonic, in seconds."""
        self._clock = clock
        self._known: Mapping[tuple[Identity, str], tuple[Breaker, Load]] = {}
        self._budgets: Mapping[Identity, RetryBudget] = {}

    def muster(
        self, wanted: Iterable[Iterable[tuple[Upstream, str, Manner]]]
    ) -> list[list[Replica]]:
        """The replicas of each tier, from (upstream, model, manner); all others are forgotten."""
        known: dict[tuple[Identity, str], tuple[Breaker, Load]] = {}
        budgets: dict[Identity, RetryBudget] = {}
        tiers: list[list[Replica]] = []
        for tier in wanted:
            tiers.append([])
            for upstream, model, manner in tier:
                identity = manner.identity
                at = identity, model
                known[at] = (
                    known.get(at) or self._known.get(at) or (Breaker(manner.breaker), Load())
                )
                known[at][0].config = manner.breaker
                budgets[identity] = (
                    budgets.get(identity)
                    or self._budgets.get(identity)
                    or RetryBudget(manner.retry_ratio, self._clock())
                )
                budgets[identity].ratio = manner.retry_ratio
                tiers[-1].append(
                    Replica(
                        upstream=upstream,
                        retries=manner.retries,
                        weight=manner.weight,
                        breaker=known[at][0],
                        load=known[at][1],
                        budget=budgets[identity],
                    )
                )
        self._known, self._budgets = known, budgets
        return tiers

    def standings(self) -> list[Standing]:
        """Every model at every upstream, as it stands now; changes nothing."""
        now_s, budgets = self._clock(), self._budgets
        return [
            Standing(
                upstream=identity.upstream,
                model=model,
                state=breaker.state(now_s),
                retry_after_s=breaker.retry_after_s(now_s),
                in_flight=load.in_flight,
                latency_ms=load.latency_s(now_s) * 1e3,
                retries_left=budgets[identity].tokens(now_s) if identity in budgets else 0.0,
            )
            for (identity, model), (breaker, load) in self._known.items()
        ]
