"""The composition root: a `Config` in, a running sidecar out; every part is built here.

Two kinds of part: what lives as long as the process (encoder, cache, log, connections) and what a
reload replaces (ladder, router, prices, tenants), which is one `Pipeline`, swapped whole.
"""

from __future__ import annotations

import asyncio
import logging
import random
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
from aiohttp import web

from cache.errors import CacheError
from cache.risk import RiskModel
from cache.semantic import SemanticCache
from cache.stores.disk import DiskStore
from cache.stores.memory import MemoryStore
from router.artifact import DEFAULT, Artifact
from router.errors import ArtifactError, RouterError
from router.policy import Router, quality_of
from router.tiers import Ladder
from sidecar import __version__
from sidecar.accounting import Accounting
from sidecar.admission import Admission
from sidecar.coalesce import Coalesce
from sidecar.config import Config, UpstreamConfig
from sidecar.dispatch import Dispatch
from sidecar.encoder.batcher import Batcher
from sidecar.encoder.onnx import OnnxEncoder
from sidecar.errors import ConfigError, EncoderError
from sidecar.keeper import Keeper
from sidecar.lookup import Lookup
from sidecar.pipeline import Pipeline
from sidecar.providers.client import EndpointConfig, HttpUpstream
from sidecar.providers.demo import DemoUpstream
from sidecar.providers.replay import ReplayUpstream, load_recording
from sidecar.providers.wire import Upstream
from sidecar.targets import Targets
from sidecar.telemetry.metrics import Metrics
from sidecar.traffic.writer import NoLog, TrafficWriter
from sidecar.web.feedback_api import FeedbackApi
from sidecar.web.health import OperatorPlane, Readiness
from sidecar.web.listen import Door, ThreadedDoor
from sidecar.web.middleware import errors_told
from sidecar.web.openai_api import OpenAIApi

RESTART_ONLY: Final = ("server", "encoder", "cache", "semantic", "lookup", "disk", "traffic")
"""Sections that shape parts which outlive a reload; a change in them is refused until a restart."""

MAX_CONNECTIONS: Final = 512
"""Chosen: to all upstreams together; a vendor's own limit is met long before."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Lasting:
    """The parts that outlive a reload."""

    metrics: Metrics
    log: TrafficWriter | NoLog
    encoder_id: str
    batcher: Batcher
    index: SemanticCache
    store: MemoryStore
    keeper: Keeper
    coalesce: Coalesce
    session: aiohttp.ClientSession
    admission: Admission
    dice: Callable[[], float]
    logger: logging.Logger


class Sidecar:
    """One process's sidecar: what lasts, and the pipeline in force."""

    def __init__(self, config: Config, lasting: Lasting, load: Callable[[], Config]) -> None:
        self._config = config
        self._lasting = lasting
        self._load = load
        self._pipeline = build_pipeline(config, lasting)

    def pipeline(self) -> Pipeline:
        """The pipeline in force."""
        return self._pipeline

    def reload(self) -> str:
        """Read the config again; the new one's digest. Valid or unchanged, never half.

        Raises:
            ConfigError: With all its faults; nothing has changed.
        """
        config = self._load()
        frozen = [n for n in RESTART_ONLY if getattr(config, n) != getattr(self._config, n)]
        if frozen:
            raise ConfigError([f"{name}: a change takes hold only at a restart" for name in frozen])
        pipeline = build_pipeline(config, self._lasting)
        self._config, self._pipeline = config, pipeline
        self._lasting.admission.know(config.tenants)
        return config.digest


def build_pipeline(config: Config, lasting: Lasting) -> Pipeline:
    """All that a reload replaces, built from `config`.

    Raises:
        ConfigError: The artifact or a recording cannot be used.
    """
    ladder = Ladder([tier.tier() for tier in config.tiers])
    router = build_router(config, ladder, lasting.encoder_id, lasting.logger)
    upstreams = {each.name: build_upstream(each, lasting.session) for each in config.upstreams}
    accounting = Accounting(
        ladder=ladder,
        artifact_version=router.version,
        config_hash=config.digest,
        encoder_id=lasting.encoder_id,
        log=lasting.log,
        meter=lasting.metrics,
    )
    return Pipeline(
        targets=Targets(ladder),
        ladder=ladder,
        cache_config=config.cache,
        epoch=0,
        encoder_id=lasting.encoder_id,
        lookup=Lookup(
            store=lasting.store,
            encoder=lasting.batcher,
            index=lasting.index,
            config=config.lookup,
            serves_by_meaning=config.semantic.mode == "on",
        ),
        coalesce=lasting.coalesce,
        router=router,
        quality=quality_of(config.router.quality),
        relays_streams=config.router.streams == "live",
        dice=lasting.dice,
        dispatch=Dispatch(
            ladder=ladder,
            judge=router,
            upstreams=[[upstreams[name] for name in tier.upstreams] for tier in config.tiers],
        ),
        keeper=lasting.keeper,
        accounting=accounting,
    )


def build_router(config: Config, ladder: Ladder, encoder_id: str, logger: logging.Logger) -> Router:
    """The router with the artifact that the config names, else with the one that comes along.

    The artifact that comes along knows tiers called small, medium and large. A ladder of other
    names runs without it, in default mode, and says so; an artifact asked for by name must fit.

    Raises:
        ConfigError: The artifact asked for cannot be used.
    """
    try:
        artifact = Artifact.load(Path(config.router.artifact or DEFAULT))
        artifact.check_encoder(encoder_id)
        return Router(ladder=ladder, artifact=artifact, config=config.router)
    except RouterError as fault:
        if config.router.artifact or not isinstance(fault, ArtifactError):
            raise ConfigError([f"router.artifact: {fault}"]) from fault
        logger.warning("the router runs without an artifact: %s", fault)
        return Router(ladder=ladder, artifact=None, config=config.router)


def build_upstream(config: UpstreamConfig, session: aiohttp.ClientSession) -> Upstream:
    """The upstream that one `[[upstreams]]` describes.

    Raises:
        ConfigError: A recording cannot be read.
    """
    match config.kind:
        case "demo":
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
            return HttpUpstream(endpoint, session)


async def serve(config: Config, load: Callable[[], Config], logger: logging.Logger) -> None:
    """Run until SIGTERM or SIGINT, then drain and end.

    Raises:
        ConfigError: The sidecar cannot start; with all that bars it.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        lasting = await build_lasting(config, stack, logger)
        sidecar = Sidecar(config, lasting, load)
        readiness = Readiness()

        def reload() -> str:
            digest = sidecar.reload()
            facts = {"config": digest, "router": sidecar.pipeline().router.version}
            logger.info("config reloaded", extra={"facts": facts})
            return digest

        def reload_or_tell() -> None:
            try:
                reload()
            except ConfigError as fault:
                logger.error("config unchanged", extra={"facts": {"faults": fault.faults}})  # noqa: TRY400 - a config's faults have no trace

        loop.add_signal_handler(signal.SIGHUP, reload_or_tell)

        async def reload_from_afar() -> str:
            async def here() -> str:
                return reload()

            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(here(), loop))

        door = Door(data_plane(config, sidecar, lasting), config.server.host, config.server.port)
        operator_plane = OperatorPlane(
            readiness=readiness,
            exposition=lasting.metrics.exposition,
            reload=reload_from_afar,
            admin_token=config.server.admin_token,
        )
        operator_door = ThreadedDoor(
            lambda: _application(operator_plane.routes(), logger, 1024 * 1024),
            config.server.admin_host,
            config.server.admin_port,
        )
        admin_port = await operator_door.open()
        stack.push_async_callback(operator_door.close)
        port = await door.open()
        stack.push_async_callback(door.close)
        readiness.state = "ready"
        _announce(config, sidecar, lasting, port, admin_port)
        await stop.wait()
        readiness.state = "draining"
        logger.info("draining", extra={"facts": {"in_flight": lasting.admission.in_flight}})
        await drain(door, lasting.admission, config.server.drain_s)


async def drain(door: Door, admission: Admission, drain_s: float) -> None:
    """Take no more connections, and give those in flight their time."""
    await door.stop_listening()
    deadline_s = asyncio.get_running_loop().time() + drain_s
    # Looked at now and then: drain comes once in a life, and a request is none the slower for it.
    while admission.in_flight and asyncio.get_running_loop().time() < deadline_s:  # noqa: ASYNC110 - as said above
        await asyncio.sleep(0.02)


def data_plane(config: Config, sidecar: Sidecar, lasting: Lasting) -> web.Application:
    """The application that callers speak to."""
    openai_api = OpenAIApi(
        pipeline=sidecar.pipeline,
        admission=lasting.admission,
        request_timeout_s=config.server.request_timeout_s,
    )
    feedback_api = FeedbackApi(admission=lasting.admission, log=lasting.log, meter=lasting.metrics)
    routes = [*openai_api.routes(), *feedback_api.routes()]
    return _application(routes, lasting.logger, config.server.max_body_bytes)


def _application(
    routes: list[web.RouteDef], logger: logging.Logger, max_body_bytes: int
) -> web.Application:
    app = web.Application(middlewares=[errors_told(logger)], client_max_size=max_body_bytes)
    app.add_routes(routes)
    return app


async def build_lasting(config: Config, stack: AsyncExitStack, logger: logging.Logger) -> Lasting:
    """All that outlives a reload, started; `stack` ends it in reverse order.

    Raises:
        ConfigError: A part cannot start.
    """
    metrics, dice = Metrics(), random.Random().random  # noqa: S311 - sampling is no secret
    try:
        encoder = OnnxEncoder.load(config.encoder)
    except EncoderError as fault:
        raise ConfigError([f"encoder: {fault}"]) from fault
    log = TrafficWriter(config.traffic, metrics, dice) if config.traffic.dir else NoLog()
    log.start()
    stack.callback(log.close)
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS, ttl_dns_cache=60),
        auto_decompress=True,
        trust_env=False,
    )
    stack.push_async_callback(session.close)
    batcher = Batcher(encoder, config.encoder, hook=metrics)
    batcher.start()
    stack.push_async_callback(batcher.close)
    store = MemoryStore(config.cache.max_bytes)
    try:
        risk = RiskModel.load()
    except CacheError as fault:
        raise ConfigError([f"cache: {fault}"]) from fault
    index = SemanticCache(encoder_id=encoder.encoder_id, risk=risk, config=config.semantic)
    keeper = await _build_keeper(
        config,
        stack,
        store=store,
        index=index,
        batcher=batcher,
        metrics=metrics,
        encoder=encoder,
        logger=logger,
    )
    coalesce = Coalesce()
    stack.push_async_callback(coalesce.close)
    admission = Admission(tenants=config.tenants, max_in_flight=config.server.max_in_flight)
    metrics.gauge("sidecar_in_flight", "Requests inside", lambda: admission.in_flight)
    metrics.gauge("sidecar_cache_entries", "Entries in memory", lambda: len(store))
    metrics.gauge("sidecar_cache_bytes", "Bytes of them", lambda: store.bytes_held)
    facts = {"version": __version__, "encoder": encoder.encoder_id, "device": encoder.device}
    metrics.info("sidecar_build_info", "What runs here", facts)
    return Lasting(
        metrics=metrics,
        log=log,
        encoder_id=encoder.encoder_id,
        batcher=batcher,
        index=index,
        store=store,
        keeper=keeper,
        coalesce=coalesce,
        session=session,
        admission=admission,
        dice=dice,
        logger=logger,
    )


async def _build_keeper(
    config: Config,
    stack: AsyncExitStack,
    *,
    store: MemoryStore,
    index: SemanticCache,
    batcher: Batcher,
    metrics: Metrics,
    encoder: OnnxEncoder,
    logger: logging.Logger,
) -> Keeper:
    """The keeper, with what the disk held; a disk that fails costs persistence, not the start."""
    disk_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="cache-disk")
    stack.callback(disk_thread.shutdown)
    disk = None
    if config.disk.path:
        try:
            disk = await asyncio.get_running_loop().run_in_executor(
                disk_thread, DiskStore.open, Path(config.disk.path), encoder.encoder_id
            )
        except CacheError as fault:
            logger.warning("the cache lives in memory alone: %s", fault)
    keeper = Keeper(
        store=store,
        index=index,
        owner=batcher,
        disk=disk,
        disk_thread=disk_thread,
        hook=metrics,
    )
    try:
        restored = await keeper.start()
    except (CacheError, EncoderError) as fault:
        logger.warning("the kept answers could not be read: %s", fault)
    else:
        logger.info("cache restored", extra={"facts": {"entries": restored}})
    stack.push_async_callback(keeper.close)
    return keeper


def _announce(
    config: Config, sidecar: Sidecar, lasting: Lasting, port: int, admin_port: int
) -> None:
    facts = {
        "data_plane": f"http://{config.server.host}:{port}/v1",
        "operator_plane": f"http://{config.server.admin_host}:{admin_port}",
        "tiers": [tier.name for tier in config.tiers],
        "simulated": any(upstream.kind == "demo" for upstream in config.upstreams),
        "encoder": lasting.encoder_id,
        "config": config.digest,
    }
    lasting.logger.info("ready", extra={"facts": facts})
    lasting.logger.debug("models: %s", ", ".join(sidecar.pipeline().targets.names))
