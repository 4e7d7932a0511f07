"""Who checks hits and who gathers what a person should see, built from a `Config` and started."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import Final

from cache.standing import State
from cache.stores.memory import MemoryStore
from cache.trust import Trust
from sidecar.admission.admission import Admission
from sidecar.caching.keeper import Keeper
from sidecar.config.sections import Config
from sidecar.disk.sealing import cipher_of
from sidecar.encoder.batcher import Batcher
from sidecar.oversight.budget import Budget
from sidecar.oversight.checks import Checks
from sidecar.oversight.findings import Findings
from sidecar.oversight.overseer import Overseer
from sidecar.oversight.reviewing import FILE as REVIEWS
from sidecar.oversight.reviewing import Reviewing
from sidecar.telemetry.metrics import Metrics
from sidecar.traffic.redaction import Redaction

OFF_PEAK_RATIO: Final = 0.25
"""Chosen: of `max_in_flight`: while more is inside, hits drawn for a check wait."""


async def build_reviewing(
    config: Config,
    stack: AsyncExitStack,
    *,
    metrics: Metrics,
    dice: Callable[[], float],
    logger: logging.Logger,
) -> Reviewing:
    """The queue of answers worth a person's look; none without a log for the verdicts."""
    folder = config.state_dir
    reviewing = Reviewing(
        config=config.review if config.traffic.dir else replace(config.review, max_items=0),
        path=folder / REVIEWS if folder is not None else None,
        cipher=cipher_of(config.traffic.key),
        redaction=Redaction(config.traffic.redact),
        dice=dice,
        clock=time.time,
        meter=metrics,
        logger=logger,
    )
    await reviewing.start()
    stack.push_async_callback(reviewing.close)
    metrics.exposition.gauge(
        "sidecar_review_items", "Answers that wait for a person's verdict", lambda: len(reviewing)
    )
    return reviewing


def build_overseer(
    config: Config,
    stack: AsyncExitStack,
    *,
    trust: Trust,
    store: MemoryStore,
    keeper: Keeper,
    batcher: Batcher,
    admission: Admission,
    metrics: Metrics,
    dice: Callable[[], float],
    logger: logging.Logger,
) -> Overseer:
    """Who learns from feedback and checks hits in the background, at work and on the gauges."""
    findings = Findings(trust=trust, forget=keeper.forget, meter=metrics, logger=logger)
    busy_from = max(1.0, OFF_PEAK_RATIO * config.server.max_in_flight)
    checks = Checks(
        encoder=batcher,
        budget=Budget(config.semantic.verify_budget_usd_per_hour, time.monotonic),
        is_busy=lambda: admission.in_flight > busy_from,
        heard=findings.checked,
        logger=logger,
    )
    checks.start()
    stack.push_async_callback(checks.close)
    metrics.exposition.gauges(
        "sidecar_semantic_partitions",
        "Partitions with semantic hits of late",
        "state",
        {state.value: partial(trust.states.__getitem__, state) for state in State},
    )
    for name in ("value", "lower", "upper"):
        metrics.exposition.gauge(
            f"sidecar_semantic_false_hit_ratio{'' if name == 'value' else '_' + name}",
            f"Share of wrong hits among those checked: {name} (95 %, Clopper-Pearson)",
            partial(_estimate, trust, name),
        )
    return Overseer(
        trust=trust,
        findings=findings,
        checks=checks,
        find=store.peek,
        verify_share=config.semantic.verify_share if config.semantic.mode != "off" else 0.0,
        dice=dice,
    )


def _estimate(trust: Trust, name: str) -> float:
    return float(getattr(trust.estimate, name))
