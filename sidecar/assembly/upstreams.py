"""The config's upstreams and tiers in, who asks them out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

from router.tiers import Ladder
from sidecar.config.sections import Config
from sidecar.config.upstreams import UpstreamConfig
from sidecar.providers.client import EndpointConfig, HttpUpstream
from sidecar.providers.pool import Pools
from sidecar.providers.replay import ReplayUpstream, load_recording
from sidecar.providers.wire import Upstream
from sidecar.replicas.fleet import Fleet
from sidecar.replicas.hedge import Hedge
from sidecar.replicas.replicas import Replicas
from sidecar.telemetry.metrics import Metrics

MAX_CONNECTIONS: Final = 512
"""Chosen: to one upstream, so that one that hangs takes no place from the others; a vendor's own
limit is met long before. How many there are in all is bounded by `max_in_flight`."""


class Means(Protocol):
    """Of what lasts, what asking takes."""

    @property
    def fleet(self) -> Fleet:
        """Knows how each upstream does."""
        ...

    @property
    def metrics(self) -> Metrics:
        """Where counts go."""
        ...

    @property
    def dice(self) -> Callable[[], float]:
        """Gives a uniform draw in [0, 1)."""
        ...


def build_tiers(
    config: Config, ladder: Ladder, upstreams: Mapping[str, Upstream], lasting: Means
) -> list[Replicas]:
    """Who asks each tier's upstreams. Cannot fail: the fleet forgets whoever is not in `config`."""
    manners = {each.name: each.manner() for each in config.upstreams}
    mustered = lasting.fleet.muster(
        [(upstreams[name], tier.model, manners[name]) for name in tier.upstreams]
        for tier in config.tiers
    )
    return [
        Replicas(
            price=ladder[place].price,
            replicas=replicas,
            meter=lasting.metrics,
            clock=time.monotonic,
            dice=lasting.dice,
            pause=asyncio.sleep,
            balance=tier.balance,
            hedge=Hedge.parse(tier.hedge_after),
        )
        for place, (tier, replicas) in enumerate(zip(config.tiers, mustered, strict=True))
    ]


def build_upstream(config: UpstreamConfig, pools: Pools) -> Upstream:
    """The upstream that one `[[upstreams]]` describes.

    Raises:
        ConfigError: A recording cannot be read.
    """
    match config.kind:
        case "demo":
            # Its questions take a tenth of all imports, and nobody serves them in earnest.
            from sidecar.providers.demo import DemoUpstream  # noqa: PLC0415 - as said above

            return DemoUpstream(config.name, speed=config.speed)
        case "replay":
            return ReplayUpstream(config.name, load_recording(Path(config.path)))
        case "openai":
            endpoint = EndpointConfig(
                name=config.name,
                base_url=config.base_url,
                api_key=config.api_key,
                timeouts=config.timeouts,
                headers=config.headers,
                usage_in_streams=config.usage_in_streams,
            )
            return HttpUpstream(endpoint, pools)
