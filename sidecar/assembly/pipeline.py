"""A config in, and what lasts; all that a reload replaces out, which is one `Pipeline`.

Ladder, router, prices, upstreams: built anew each time, and handed to the next one's constructor.
"""

from __future__ import annotations

from functools import partial

from router.decision import Decision
from router.errors import ArtifactError, RouterError
from router.policy import Router
from router.quality import quality_of
from router.tiers import Ladder
from sidecar.accounting.closing import Accounting, Both
from sidecar.assembly.gatehouse import build_till
from sidecar.assembly.lasting import Lasting
from sidecar.assembly.releasing import artifact_folder
from sidecar.assembly.upstreams import build_tiers, build_upstream
from sidecar.caching.lookup import Lookup
from sidecar.climbs import Climbs
from sidecar.config.sections import Config
from sidecar.degraded import StaticAnswers
from sidecar.dispatch import Dispatch
from sidecar.errors import ConfigError, EncoderError
from sidecar.guardrails.guardrails import Guardrails
from sidecar.oversight.asking import Asking
from sidecar.pipeline import Pipeline
from sidecar.replies import Replies
from sidecar.rollout.arms import Arms
from sidecar.routing.course import Routing
from sidecar.routing.routes import Routes
from sidecar.targets import Targets


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
        meter=lasting.metrics.requests,
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
    asking = Asking(ladder=ladder, dispatch=dispatch, judge=config.semantic.verify_judge)
    till = build_till(
        config,
        ladder,
        admission=lasting.admission,
        guardrails=guardrails,
        background=lasting.refresh_budget,
    )
    climbs = Climbs(
        till=till,
        rulings=lasting.board.ruling,
        routing=routing,
        router=router,
        dice=lasting.dice,
        pinned=[
            Decision(entry=place, probabilities=(), reason="pinned") for place in range(len(ladder))
        ],
        guardrails=guardrails,
        ladder=ladder,
        dispatch=dispatch,
        cache_config=config.cache,
        keeper=lasting.keeper,
        overseer=lasting.overseer,
        shadows=lasting.shadows,
        reviewing=lasting.reviewing,
        shadow_share=config.router.shadow_share,
        shadow_tiers=config.router.shadow_tiers,
        asking=asking,
    )
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
        routing=routing,
        till=till,
        climbs=climbs,
        keeper=lasting.keeper,
        replies=Replies(accounting),
        statics=StaticAnswers(config.degraded),
        accounting=accounting,
        overseer=lasting.overseer,
        asking=asking,
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
