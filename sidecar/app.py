"""The life of one process: start, reload, drain, end. What it is made of stands in `assembly`."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Middleware

from sidecar.admission.tenants import OTHER
from sidecar.assembly.lasting import Lasting, build_lasting
from sidecar.assembly.pipeline import build_pipeline
from sidecar.assembly.releasing import begin_anew
from sidecar.config.sections import Config
from sidecar.errors import ConfigError, EncoderError
from sidecar.front.fronts import Fronts
from sidecar.inspection import Inspection
from sidecar.pipeline import Pipeline
from sidecar.process import collector
from sidecar.traffic.redaction import PATTERNS, Redaction
from sidecar.web import openapi
from sidecar.web.admin_api import AdminApi
from sidecar.web.bodies import BodyRoom, long_bodies_bounded
from sidecar.web.budgets_api import BudgetsApi
from sidecar.web.connections import room_for_connections
from sidecar.web.drift_api import DriftApi
from sidecar.web.drills import Drills
from sidecar.web.feedback_api import FeedbackApi, Listener
from sidecar.web.fragments_api import FragmentsApi
from sidecar.web.given import Givens
from sidecar.web.health import OperatorPlane, Readiness
from sidecar.web.listen import Door, MainLoop, ThreadedDoor, drain
from sidecar.web.middleware import double_talk_refused, errors_told, pages_kept_out
from sidecar.web.openai_api import OpenAIApi
from sidecar.web.overrides_api import OverridesApi
from sidecar.web.review_api import ReviewApi
from sidecar.web.router_api import RouterApi
from sidecar.web.straight import Straight
from sidecar.web.token import OperatorToken
from sidecar.web.upstreams_api import UpstreamsApi, shut

RESTART_ONLY: Final = (
    "server",
    "encoder",
    "cache",
    "semantic",
    "lookup",
    "disk",
    "traffic",
    "review",
    "admission",
    "canary",
)
"""Sections that shape parts which outlive a reload; a change in them is refused until a restart."""

OF_RELEASES: Final = ("registry", "shadow_budget_usd_per_hour")
"""Fields of `[router]` for which the same holds."""


class Sidecar:
    """One process's sidecar: what lasts, and the pipeline in force."""

    def __init__(self, config: Config, lasting: Lasting, load: Callable[[], Config]) -> None:
        self._config = config
        self._lasting = lasting
        self._load = load
        self._pipeline = build_pipeline(config, lasting)
        lasting.steering.know(config.goals())

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
        if any(getattr(config.router, n) != getattr(self._config.router, n) for n in OF_RELEASES):
            told = f"router: a change of {' or '.join(OF_RELEASES)} takes hold only at a restart"
            raise ConfigError([told])
        pipeline = build_pipeline(config, self._lasting)
        if config.router.artifact != self._config.router.artifact:
            lasting = self._lasting
            begin_anew(lasting.rollout, config, lasting.artifacts, lasting.encoder_id)
        self._config, self._pipeline = config, pipeline
        self._lasting.admission.know(config.tenants)
        self._lasting.steering.know(config.goals())
        self._lasting.keeper.allot(config.cache_quotas())
        return config.digest


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
        fronts = Fronts(config.server, stack) if config.server.workers > 1 else None
        display = fronts.display if fronts is not None else None
        lasting = await build_lasting(config, stack, logger, display)
        sidecar = Sidecar(config, lasting, load)
        readiness = Readiness()
        lasting.metrics.exposition.gauge(
            "sidecar_event_loop_tasks",
            "Tasks of the main loop",
            lambda: len(asyncio.all_tasks(loop)),
        )

        def reload() -> str:
            digest = sidecar.reload()
            if display is not None:
                display.void()
            facts = {"config": digest, "router": sidecar.pipeline().router_version}
            logger.info("config reloaded", extra={"facts": facts})
            return digest

        def reload_or_tell() -> None:
            try:
                reload()
            except ConfigError as fault:
                logger.error("config unchanged", extra={"facts": {"faults": fault.faults}})  # noqa: TRY400 - a config's faults have no trace

        loop.add_signal_handler(signal.SIGHUP, reload_or_tell)

        main = MainLoop(loop)

        async def reload_from_afar() -> str:
            async def here() -> str:
                return reload()

            return await main.run(here)

        routes = operator_routes(
            config, sidecar, lasting, main=main, readiness=readiness, reload=reload_from_afar
        )
        operator_door = ThreadedDoor(
            lambda: _application(routes, logger, 1024 * 1024),
            config.server.admin_host,
            config.server.admin_port,
        )
        admin_port = await operator_door.open()
        stack.push_async_callback(operator_door.close)
        port, door = await _open_data_plane(config, sidecar, lasting, stack, fronts)
        await _open_encoder(lasting)  # exact hits are served meanwhile
        collector.settle()
        readiness.state = "ready"
        _announce(config, sidecar, lasting, port, admin_port)
        await stop.wait()
        readiness.state = "draining"
        logger.info("draining", extra={"facts": {"in_flight": lasting.admission.in_flight}})
        if fronts is not None:
            await fronts.end()
        await drain(door, lambda: lasting.admission.in_flight, config.server.drain_s)


async def _open_data_plane(
    config: Config,
    sidecar: Sidecar,
    lasting: Lasting,
    stack: AsyncExitStack,
    fronts: Fronts | None,
) -> tuple[int, Door]:
    """The port that callers speak to, and the door behind which they are answered."""
    if fronts is not None:
        return await fronts.open(
            stack,
            make_app=lambda around: data_plane(config, sidecar, lasting, around),
            pipeline=sidecar.pipeline,
            admission=lasting.admission,
            store=lasting.store,
            meter=lasting.metrics,
            gauge=lasting.metrics.exposition.gauge,
            log_level=config.telemetry.log_level,
            logger=lasting.logger,
        )
    givens = Givens(sidecar.pipeline, lasting.admission)
    door = Door(
        data_plane(config, sidecar, lasting, givens=givens),
        config.server.host,
        config.server.port,
        max_connections=room_for_connections(config.server.max_connections),
        send_s=config.server.send_timeout_s,
        givens=givens,
    )
    port = await door.open()
    stack.push_async_callback(door.close)
    return port, door


async def _open_encoder(lasting: Lasting) -> None:
    try:
        await lasting.opening
    except EncoderError as fault:
        raise ConfigError([f"encoder: {fault}"]) from fault


def data_plane(
    config: Config,
    sidecar: Sidecar,
    lasting: Lasting,
    around: Middleware | None = None,
    givens: Givens | None = None,
) -> web.Application:
    """The application that callers speak to, with one middleware more `around` the others.

    What it gives that may be given again is kept in `givens`.
    """
    drills = Drills(config.server.admin_token, lasting.logger)
    fragments_api = FragmentsApi(
        pipeline=sidecar.pipeline,
        admission=lasting.admission,
        request_timeout_s=config.server.request_timeout_s,
        send_s=config.server.send_timeout_s,
        drills=drills,
    )
    openai_api = OpenAIApi(
        pipeline=sidecar.pipeline,
        admission=lasting.admission,
        request_timeout_s=config.server.request_timeout_s,
        send_s=config.server.send_timeout_s,
        drills=drills,
        givens=givens,
    )
    if givens is not None:
        givens.straight = Straight(
            openai_api,
            max_body_bytes=config.server.max_body_bytes,
            send_s=config.server.send_timeout_s,
            logger=lasting.logger,
        )
    feedback_api = FeedbackApi(
        admission=lasting.admission,
        log=lasting.log,
        meter=lasting.metrics,
        listeners=listeners(lasting),
        rulings=lasting.board.ruling,
    )
    routes = [*openai_api.routes(), *fragments_api.routes(), *feedback_api.routes()]
    most = config.server.max_body_bytes
    bounded = long_bodies_bounded(
        BodyRoom(config.server.max_bodies_bytes),
        most,
        lambda reason: lasting.metrics.refused(OTHER, reason),
    )
    guards = [*([around] if around is not None else []), pages_kept_out, bounded]
    return _application(routes, lasting.logger, most, guards)


def listeners(lasting: Lasting) -> tuple[Listener, ...]:
    """Who learns at once from what is said of an answer."""
    return lasting.overseer, lasting.rollout, lasting.drifting, lasting.reviewing


def operator_routes(
    config: Config,
    sidecar: Sidecar,
    lasting: Lasting,
    *,
    main: MainLoop,
    readiness: Readiness,
    reload: Callable[[], Awaitable[str]],
) -> list[web.RouteDef]:
    """What the operator's application serves; its handlers run on that plane's own loop."""
    token = OperatorToken(config.server.admin_token)
    operator_plane = OperatorPlane(
        readiness=readiness,
        exposition=lasting.metrics.exposition.text,
        upstreams=lambda: shut(lasting.fleet.standings()),
        reload=reload,
        token=token,
    )
    admin_api = AdminApi(cache=inspection(config, sidecar, lasting), main=main, token=token)
    upstreams_api = UpstreamsApi(read=lasting.fleet.standings, token=token)
    overrides_api = OverridesApi(
        board=lasting.board, ladder=lambda: sidecar.pipeline().ladder, main=main, token=token
    )
    router_api = RouterApi(rollout=lasting.rollout, main=main, token=token)
    drift_api = DriftApi(drifting=lasting.drifting, main=main, token=token)
    review_api = ReviewApi(
        queue=lasting.reviewing,
        log=lasting.log,
        listeners=listeners(lasting),
        rulings=lasting.board.ruling,
        main=main,
        token=token,
    )
    budgets_api = BudgetsApi(read=lasting.admission.budgets, token=token)
    return [
        *budgets_api.routes(),
        *operator_plane.routes(),
        *overrides_api.routes(),
        *admin_api.routes(),
        *router_api.routes(),
        *drift_api.routes(),
        *review_api.routes(),
        *upstreams_api.routes(),
        *openapi.routes(),
    ]


def inspection(config: Config, sidecar: Sidecar, lasting: Lasting) -> Inspection:
    """The cache as the operator sees it."""
    return Inspection(
        store=lasting.store,
        index=lasting.index,
        trust=lasting.trust,
        keeper=lasting.keeper,
        batcher=lasting.batcher,
        pipeline=sidecar.pipeline,
        cache_config=config.cache,
        semantic_config=config.semantic,
        redaction=Redaction((*PATTERNS, *config.traffic.redact)),
        logger=lasting.logger,
    )


def _application(
    routes: list[web.RouteDef],
    logger: logging.Logger,
    max_body_bytes: int,
    guards: Sequence[Middleware] = (),
) -> web.Application:
    middlewares = [errors_told(logger), double_talk_refused, *guards]
    app = web.Application(middlewares=middlewares, client_max_size=max_body_bytes)
    app.add_routes(routes)
    return app


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
