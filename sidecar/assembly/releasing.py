"""Who follows the registry and who asks next tiers in the background, built and started."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Final

from router.artifact import DEFAULT, Artifacts
from router.errors import RouterError
from router.policy import Router, RouterConfig
from router.registry import Registry
from router.tiers import Ladder
from sidecar.admission.admission import Admission
from sidecar.config.sections import Config
from sidecar.oversight.budget import Budget
from sidecar.oversight.shadows import Log, Shadows
from sidecar.rollout.released import Beginning
from sidecar.rollout.rollout import Rollout
from sidecar.telemetry.metrics import Metrics

OFF_PEAK_RATIO: Final = 0.25
"""Chosen: of `max_in_flight`, as for the cache's checks: while more is inside, shadow asks wait."""


def artifact_folder(config: RouterConfig) -> Path:
    """Where the artifact that the config begins with stands: a folder, else a version's name."""
    if not config.artifact:
        return DEFAULT
    named = Registry(Path(config.registry)).find(config.artifact) if config.registry else None
    return named or Path(config.artifact)


async def build_rollout(
    config: Config,
    stack: AsyncExitStack,
    *,
    artifacts: Artifacts,
    encoder_id: str,
    metrics: Metrics,
    logger: logging.Logger,
) -> Rollout:
    """What is released, followed; `stack` ends it."""
    folder = config.router.registry
    rollout = Rollout(
        registry=Registry(Path(folder), artifacts) if folder else None,
        encoder_id=encoder_id,
        config=config.canary,
        meter=metrics,
        clock=time.time,
        logger=logger,
    )
    stack.push_async_callback(rollout.close)
    await rollout.start(beginning(config, artifacts, encoder_id) if folder else None)
    metrics.exposition.gauges(
        "sidecar_router_rollout_state",
        "1 for the stage that a candidate is at",
        "state",
        {stage: partial(_is_at, rollout, stage) for stage in ("none", "shadow", "canary")},
    )
    metrics.exposition.gauge(
        "sidecar_router_canary_share_ratio",
        "Of routed requests, how many the candidate decides",
        lambda: rollout.state.share,
    )
    return rollout


def _is_at(rollout: Rollout, stage: str) -> float:
    return float(rollout.state.stage == stage)


def begin_anew(rollout: Rollout, config: Config, artifacts: Artifacts, encoder_id: str) -> None:
    """After a reload: have the artifact that the config now names serve. Returns at once."""
    rollout.begin_anew(beginning(config, artifacts, encoder_id))


def beginning(config: Config, artifacts: Artifacts, encoder_id: str) -> Beginning | None:
    """What the config begins with; None if it does not fit, which is told where it is built."""
    folder = artifact_folder(config.router)
    try:
        artifact = artifacts.load(folder)
        artifact.check_encoder(encoder_id)
        ladder = Ladder([tier.tier() for tier in config.tiers])
        Router(ladder=ladder, artifact=artifact, config=config.router)
    except RouterError:
        return None
    return Beginning(artifact.version, folder, is_named=bool(config.router.artifact))


def build_shadows(
    config: Config,
    stack: AsyncExitStack,
    *,
    admission: Admission,
    listeners: Sequence[Callable[[str, str, float], None]],
    log: Log,
    metrics: Metrics,
    dice: Callable[[], float],
    logger: logging.Logger,
) -> Shadows:
    """Who asks other tiers in the background, at work; `stack` ends it.

    `listeners` hear of each served answer that was found to stand (1), or not (0).
    """

    def labelled(request_id: str, tenant: str, score: float) -> None:
        for listener in listeners:
            listener(request_id, tenant, score)

    busy_from = max(1.0, OFF_PEAK_RATIO * config.server.max_in_flight)
    shadows = Shadows(
        budget=Budget(config.router.shadow_budget_usd_per_hour, time.monotonic),
        is_busy=lambda: admission.in_flight > busy_from,
        dice=dice,
        log=log,
        meter=metrics,
        labelled=labelled,
        logger=logger,
    )
    shadows.start()
    stack.push_async_callback(shadows.close)
    return shadows
