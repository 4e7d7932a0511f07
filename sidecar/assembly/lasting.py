"""A config in; the parts that outlive a reload out, started.

Encoder, cache, log, connections: each is handed to the next one's constructor, and `stack` ends
them in reverse order. What a reload replaces is built of them in `pipeline.py`.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cache.semantic import SemanticCache
from cache.stores.memory import MemoryStore
from cache.trust import Trust
from router.artifact import Artifacts
from sidecar import __version__
from sidecar.admission.admission import Admission
from sidecar.assembly.gatehouse import build_admission
from sidecar.assembly.overseeing import build_overseer, build_reviewing
from sidecar.assembly.releasing import build_rollout, build_shadows
from sidecar.assembly.storage import build_storage
from sidecar.assembly.upstreams import MAX_CONNECTIONS
from sidecar.caching.keeper import Keeper
from sidecar.config.sections import Config
from sidecar.disk.sealing import cipher_of
from sidecar.encoder.batcher import Batcher
from sidecar.encoder.lanes import batcher_for
from sidecar.encoder.memo import Memo
from sidecar.encoder.onnx import OnnxEncoder
from sidecar.errors import ConfigError, EncoderError
from sidecar.flights.coalesce import Coalesce
from sidecar.flights.nearby import Nearby
from sidecar.flights.refresh import Refreshes
from sidecar.front.display import Display
from sidecar.overrides.board import FILE, Board
from sidecar.overrides.override import SWITCHES
from sidecar.oversight.budget import Budget
from sidecar.oversight.drifting import Drifting
from sidecar.oversight.notebook import SUFFIX, Notebook
from sidecar.oversight.overseer import Overseer
from sidecar.oversight.reviewing import Reviewing
from sidecar.oversight.shadows import Shadows
from sidecar.providers.pool import Pools
from sidecar.replicas.fleet import Fleet
from sidecar.rollout.rollout import Rollout
from sidecar.routing.routes import TextEncoder
from sidecar.routing.sessions import Sessions
from sidecar.routing.steering import Steering
from sidecar.telemetry.metrics import Metrics
from sidecar.traffic.writer import NoLog, TrafficWriter


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Lasting:
    """The parts that outlive a reload.

    Attributes:
        display: What fronts may give away; None where there are none.
        opening: Ends when the encoder is open, on its own thread; raises EncoderError.
    """

    metrics: Metrics
    log: TrafficWriter | NoLog
    encoder_id: str
    artifacts: Artifacts
    batcher: Batcher
    memo: Memo
    index: SemanticCache
    store: MemoryStore
    keeper: Keeper
    trust: Trust
    overseer: Overseer
    coalesce: Coalesce
    nearby: Nearby
    refreshes: Refreshes
    pools: Pools
    fleet: Fleet
    board: Board
    steering: Steering
    drifting: Drifting
    sessions: Sessions
    encoder: TextEncoder
    admission: Admission
    refresh_budget: Budget
    rollout: Rollout
    shadows: Shadows
    reviewing: Reviewing
    dice: Callable[[], float]
    logger: logging.Logger
    display: Display | None
    opening: Awaitable[None]


async def build_lasting(
    config: Config,
    stack: AsyncExitStack,
    logger: logging.Logger,
    display: Display | None = None,
) -> Lasting:
    """All that outlives a reload, started; `stack` ends it in reverse order.

    `display` hears of what may not be given away any more.

    Raises:
        ConfigError: A part cannot start.
    """
    metrics, dice = Metrics(), random.Random().random  # noqa: S311 - sampling is no secret
    try:
        encoder = OnnxEncoder.found(config.encoder)
    except EncoderError as fault:
        raise ConfigError([f"encoder: {fault}"]) from fault
    log = TrafficWriter(config.traffic, metrics, dice) if config.traffic.dir else NoLog()
    log.start()
    stack.callback(log.close)
    pools = Pools(MAX_CONNECTIONS)
    stack.push_async_callback(pools.close)
    batcher = batcher_for(encoder, config.encoder, hook=metrics)
    batcher.start()
    opening = batcher.begin(encoder.open)
    stack.push_async_callback(batcher.close)
    storage = await build_storage(
        config,
        stack,
        batcher=batcher,
        encoder_id=encoder.encoder_id,
        metrics=metrics,
        logger=logger,
        display=display,
    )
    store, index, keeper = storage.store, storage.index, storage.keeper
    trust = Trust(
        bound=config.semantic.max_false_hit_rate,
        risk_limit=index.statistics().risk_limit or 0.0,
    )
    notebook = Notebook(trust=trust, hook=metrics, logger=logger, cipher=cipher_of(config.disk.key))
    stack.push_async_callback(notebook.close)
    if config.disk.path:
        path = Path(config.disk.path + SUFFIX)
        await notebook.start(path, encoder.encoder_id, keeper.next_id())
    nearby = Nearby(
        owner=batcher,
        judge=index,
        trust=trust,
        budget_s=config.lookup.budget_s,
        is_on=config.semantic.mode == "on",
    )
    coalesce = Coalesce()
    stack.push_async_callback(coalesce.close)
    refreshes = Refreshes(metrics, logger)
    stack.push_async_callback(refreshes.close)
    admission = await build_admission(config, stack, metrics=metrics, logger=logger)
    overseer = build_overseer(
        config,
        stack,
        trust=trust,
        store=store,
        keeper=keeper,
        batcher=batcher,
        admission=admission,
        metrics=metrics,
        dice=dice,
        logger=logger,
    )
    artifacts = Artifacts()
    rollout = await build_rollout(
        config,
        stack,
        artifacts=artifacts,
        encoder_id=encoder.encoder_id,
        metrics=metrics,
        logger=logger,
    )
    reviewing = await build_reviewing(config, stack, metrics=metrics, dice=dice, logger=logger)
    shadows = build_shadows(
        config,
        stack,
        admission=admission,
        listeners=(rollout.labelled, reviewing.differs),
        log=log,
        metrics=metrics,
        dice=dice,
        logger=logger,
    )
    board = await _build_board(config, stack, metrics=metrics, logger=logger, display=display)
    fleet = Fleet(time.monotonic)
    metrics.exposition.table(
        "sidecar_breaker_state",
        "Of each model at each upstream: 0 closed, 1 half open, 2 open",
        ("upstream", "model"),
        lambda: [((at.upstream, at.model), at.state.gauge) for at in fleet.standings()],
    )
    if off := index.why_off():
        logger.warning("nothing is served by meaning: %s", off)
    metrics.exposition.gauge(
        "sidecar_semantic_risk_limit",
        "Risk up to which hits by meaning are served; 0 where none are",
        lambda: 0.0 if index.why_off() else index.statistics().risk_limit or 0.0,
    )
    metrics.exposition.gauge(
        "sidecar_coalesce_listeners",
        "Requests that wait for a climb, whoever leads it",
        lambda: coalesce.listeners,
    )
    facts = {"version": __version__, "encoder": encoder.encoder_id, "device": encoder.device}
    metrics.exposition.info("sidecar_build_info", "What runs here", facts)
    return Lasting(
        metrics=metrics,
        log=log,
        encoder_id=encoder.encoder_id,
        artifacts=artifacts,
        batcher=batcher,
        memo=Memo(batcher),
        index=index,
        store=store,
        keeper=keeper,
        trust=trust,
        overseer=overseer,
        coalesce=coalesce,
        nearby=nearby,
        refreshes=refreshes,
        pools=pools,
        fleet=fleet,
        board=board,
        steering=_build_steering(metrics),
        drifting=_build_drifting(metrics, logger),
        sessions=Sessions(time.monotonic),
        encoder=encoder,
        admission=admission,
        refresh_budget=Budget(config.admission.refresh_budget_usd_per_hour, time.monotonic),
        rollout=rollout,
        shadows=shadows,
        reviewing=reviewing,
        dice=dice,
        logger=logger,
        display=display,
        opening=opening,
    )


def _build_steering(metrics: Metrics) -> Steering:
    """Who holds goals, on the gauges."""
    steering = Steering()
    told = "Points of quality that a dollar must buy, by whose goal it is"
    metrics.exposition.table("sidecar_router_lambda", told, ("tenant",), steering.prices)
    told = "What was had over what was wanted: dollars, or the estimated gain"
    metrics.exposition.table("sidecar_router_goal_ratio", told, ("tenant",), steering.ratios)
    return steering


def _build_drifting(metrics: Metrics, logger: logging.Logger) -> Drifting:
    """Who watches the traffic move away from the artifact, on the gauges."""
    drifting = Drifting(logger)
    told = "How far traffic is from what the router was fitted on, by kind"
    metrics.exposition.table("sidecar_router_drift", told, ("kind",), drifting.rows)
    told = "1 while the alarm of that kind is raised"
    metrics.exposition.table("sidecar_router_drift_alarm", told, ("kind",), drifting.alarms)
    return drifting


async def _build_board(
    config: Config,
    stack: AsyncExitStack,
    *,
    metrics: Metrics,
    logger: logging.Logger,
    display: Display | None,
) -> Board:
    """The operator's switches, restored, and on the gauges."""
    folder = config.state_dir
    board = Board(
        folder / FILE if folder is not None else None,
        time.time,
        logger,
        on_change=lambda: _show_ruled(board, display),
    )
    await board.start()
    _show_ruled(board, display)
    stack.push_async_callback(board.close)
    metrics.exposition.gauges(
        "sidecar_override_active",
        "Switches of the operator that hold, whomever for",
        "switch",
        {switch: partial(board.active, switch) for switch in SWITCHES},
    )
    return board


def _show_ruled(board: Board, display: Display | None) -> None:
    if display is not None:
        display.ruled(is_ruled=bool(board.held))
