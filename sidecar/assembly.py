"""Every part of a running sidecar, built from a `Config` and handed to the next one's constructor.

Two kinds of part: what lives as long as the process (encoder, cache, log, connections), and what a
reload replaces (ladder, router, prices, upstreams), which is one `Pipeline`.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from cache.semantic import SemanticCache
from cache.standing import State
from cache.stores.memory import MemoryStore
from cache.trust import Trust
from router.artifact import Artifacts
from router.decision import Decision
from router.errors import ArtifactError, RouterError
from router.policy import Router, quality_of
from router.tiers import Ladder
from sidecar import __version__
from sidecar.accounting import Accounting, Both
from sidecar.admission.admission import Admission
from sidecar.coalesce import Coalesce
from sidecar.config import Config
from sidecar.degraded import StaticAnswers
from sidecar.dispatch import Dispatch
from sidecar.encoder.batcher import Batcher
from sidecar.encoder.lanes import batcher_for
from sidecar.encoder.memo import Memo
from sidecar.encoder.onnx import OnnxEncoder
from sidecar.errors import ConfigError, EncoderError
from sidecar.front.display import Display
from sidecar.gatehouse import build_admission, build_till
from sidecar.guardrails.guardrails import Guardrails
from sidecar.keeper import Keeper
from sidecar.lookup import Lookup
from sidecar.nearby import Nearby
from sidecar.overrides.board import FILE, Board
from sidecar.overrides.override import SWITCHES
from sidecar.oversight.asking import Asking
from sidecar.oversight.budget import Budget
from sidecar.oversight.checks import Checks
from sidecar.oversight.drifting import Drifting
from sidecar.oversight.findings import Findings
from sidecar.oversight.notebook import SUFFIX, Notebook
from sidecar.oversight.overseer import Overseer
from sidecar.oversight.reviewing import FILE as REVIEWS
from sidecar.oversight.reviewing import Reviewing
from sidecar.oversight.shadows import Shadows
from sidecar.pipeline import Pipeline
from sidecar.providers.pool import Pools
from sidecar.refresh import Refreshes
from sidecar.releasing import artifact_folder, build_rollout, build_shadows
from sidecar.replicas.fleet import Fleet
from sidecar.replies import Replies
from sidecar.rollout.arms import Arms
from sidecar.rollout.rollout import Rollout
from sidecar.routes import Routes, TextEncoder
from sidecar.routing import Routing
from sidecar.sealing import cipher_of
from sidecar.sessions import Sessions
from sidecar.steering import Steering
from sidecar.storage import build_storage
from sidecar.targets import Targets
from sidecar.telemetry.metrics import Metrics
from sidecar.traffic.redaction import Redaction
from sidecar.traffic.writer import NoLog, TrafficWriter
from sidecar.upstreams import MAX_CONNECTIONS, build_tiers, build_upstream

OFF_PEAK_RATIO: Final = 0.25
"""Chosen: of `max_in_flight`: while more is inside, hits drawn for a check wait."""


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


def build_pipeline(config: Config, lasting: Lasting) -> Pipeline:
    """All that a reload replaces, built from `config`.

    Raises:
        ConfigError: The artifact or a recording cannot be used.
    """
    guardrails = Guardrails(config.guardrails)
    ladder = Ladder([tier.tier() for tier in config.tiers])
    base = build_router(config, ladder, lasting)
    router = lasting.rollout.know(Arms(ladder=ladder, config=config.router, base=base))
    upstreams = {each.name: build_upstream(each, lasting.pools) for each in config.upstreams}
    accounting = Accounting(
        ladder=ladder,
        released=router,
        watch=lasting.rollout
        if lasting.display is None
        else Both(lasting.rollout, lasting.display),
        config_hash=config.digest,
        encoder_id=lasting.encoder_id,
        log=lasting.log,
        meter=lasting.metrics,
        logger=lasting.logger,
    )
    tiers = build_tiers(config, ladder, upstreams, lasting)
    routing = Routing(
        targets=Targets(ladder, [tier.upstreams for tier in config.tiers]),
        routes=build_routes(config, lasting),
        ladder=ladder,
        steering=lasting.steering,
        sessions=lasting.sessions if config.router.sticky_sessions else None,
        router=router,
        drifting=lasting.drifting,
        quality=quality_of(config.router.quality),
        relays_streams=config.router.streams == "live",
        latencies=lambda: tuple(tier.usual_s() for tier in tiers),
    )
    dispatch = Dispatch(ladder=ladder, judge=router, tiers=tiers)
    return Pipeline(
        targets=routing.targets,
        rulings=lasting.board.ruling,
        guardrails=guardrails,
        ladder=ladder,
        cache_config=config.cache,
        encoder_id=lasting.encoder_id,
        lookup=Lookup(
            store=lasting.store,
            below=lasting.keeper,
            encoder=lasting.memo,
            index=lasting.index,
            config=config.lookup,
            trust=lasting.trust,
            serves_by_meaning=config.semantic.mode == "on",
        ),
        coalesce=lasting.coalesce,
        nearby=lasting.nearby,
        refreshes=lasting.refreshes,
        router=router,
        routing=routing,
        dice=lasting.dice,
        pinned=[
            Decision(entry=place, probabilities=(), reason="pinned") for place in range(len(ladder))
        ],
        till=build_till(
            config,
            ladder,
            admission=lasting.admission,
            guardrails=guardrails,
            background=lasting.refresh_budget,
        ),
        dispatch=dispatch,
        keeper=lasting.keeper,
        replies=Replies(accounting),
        statics=StaticAnswers(config.degraded),
        accounting=accounting,
        overseer=lasting.overseer,
        shadows=lasting.shadows,
        reviewing=lasting.reviewing,
        shadow_share=config.router.shadow_share,
        shadow_tiers=config.router.shadow_tiers,
        asking=Asking(ladder=ladder, dispatch=dispatch, judge=config.semantic.verify_judge),
    )


def build_routes(config: Config, lasting: Lasting) -> Routes:
    """The rules, whose examples are encoded before any question that comes after.

    Raises:
        ConfigError: A pattern or an example cannot be used.
    """
    try:
        routes = Routes(config.router.rules)
        if routes.has_examples:
            lasting.batcher.post(partial(routes.learn, lasting.encoder))
    except (ValueError, EncoderError) as fault:
        raise ConfigError([f"router.rules: {fault}"]) from fault
    return routes


def build_router(config: Config, ladder: Ladder, lasting: Lasting) -> Router:
    """The router with the artifact that the config names, else with the one that comes along.

    The artifact that comes along knows tiers called small, medium and large. A ladder of other
    names runs without it, in default mode, and says so; an artifact asked for by name must fit.

    Raises:
        ConfigError: The artifact asked for cannot be used.
    """
    try:
        artifact = lasting.artifacts.load(artifact_folder(config.router))
        artifact.check_encoder(lasting.encoder_id)
        return Router(ladder=ladder, artifact=artifact, config=config.router)
    except RouterError as fault:
        if config.router.artifact or not isinstance(fault, ArtifactError):
            raise ConfigError([f"router.artifact: {fault}"]) from fault
        lasting.logger.warning("the router runs without an artifact: %s", fault)
        return Router(ladder=ladder, artifact=None, config=config.router)


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
    overseer = _build_overseer(
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
    reviewing = await _build_reviewing(config, stack, metrics=metrics, dice=dice, logger=logger)
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
    metrics.table(
        "sidecar_breaker_state",
        "Of each model at each upstream: 0 closed, 1 half open, 2 open",
        ("upstream", "model"),
        lambda: [((at.upstream, at.model), at.state.gauge) for at in fleet.standings()],
    )
    if off := index.why_off():
        logger.warning("nothing is served by meaning: %s", off)
    metrics.gauge(
        "sidecar_semantic_risk_limit",
        "Risk up to which hits by meaning are served; 0 where none are",
        lambda: 0.0 if index.why_off() else index.statistics().risk_limit or 0.0,
    )
    metrics.gauge(
        "sidecar_coalesce_listeners",
        "Requests that wait for a climb, whoever leads it",
        lambda: coalesce.listeners,
    )
    facts = {"version": __version__, "encoder": encoder.encoder_id, "device": encoder.device}
    metrics.info("sidecar_build_info", "What runs here", facts)
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
    metrics.table("sidecar_router_lambda", told, ("tenant",), steering.prices)
    told = "What was had over what was wanted: dollars, or the estimated gain"
    metrics.table("sidecar_router_goal_ratio", told, ("tenant",), steering.ratios)
    return steering


def _build_drifting(metrics: Metrics, logger: logging.Logger) -> Drifting:
    """Who watches the traffic move away from the artifact, on the gauges."""
    drifting = Drifting(logger)
    told = "How far traffic is from what the router was fitted on, by kind"
    metrics.table("sidecar_router_drift", told, ("kind",), drifting.rows)
    told = "1 while the alarm of that kind is raised"
    metrics.table("sidecar_router_drift_alarm", told, ("kind",), drifting.alarms)
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
    metrics.gauges(
        "sidecar_override_active",
        "Switches of the operator that hold, whomever for",
        "switch",
        {switch: partial(board.active, switch) for switch in SWITCHES},
    )
    return board


def _show_ruled(board: Board, display: Display | None) -> None:
    if display is not None:
        display.ruled(is_ruled=bool(board.held))


async def _build_reviewing(
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
    metrics.gauge(
        "sidecar_review_items", "Answers that wait for a person's verdict", lambda: len(reviewing)
    )
    return reviewing


def _build_overseer(
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
    metrics.gauges(
        "sidecar_semantic_partitions",
        "Partitions with semantic hits of late",
        "state",
        {state.value: partial(trust.states.__getitem__, state) for state in State},
    )
    for name in ("value", "lower", "upper"):
        metrics.gauge(
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
