"""Who lets requests in and who pays for them, built from a `Config` and started."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Final, get_args

from router.tiers import Ladder
from sidecar.admission.admission import Admission
from sidecar.admission.bookkeeper import Bookkeeper
from sidecar.config.sections import Config
from sidecar.guardrails.guardrails import Guardrails
from sidecar.options import Priority
from sidecar.telemetry.metrics import Metrics
from sidecar.till import Allowance, Till

FILE: Final = "admission.sqlite"
"""Where what was spent stands, if the config names no other place."""


async def build_admission(
    config: Config, stack: AsyncExitStack, *, metrics: Metrics, logger: logging.Logger
) -> Admission:
    """Who may come in, with what the disk knows of what they took; `stack` ends it.

    A disk that fails costs what it knows, not the start.
    """
    admission = Admission(
        tenants=config.tenants,
        max_in_flight=config.server.max_in_flight,
        max_queued=config.server.max_queued,
        queue_timeout_s=config.server.queue_timeout_s,
        meter=metrics,
    )
    bookkeeper = Bookkeeper(
        purses=admission.purses, rates=admission.rates, hook=metrics, logger=logger
    )
    stack.push_async_callback(bookkeeper.close)
    path = _path(config)
    if path is not None:
        await bookkeeper.start(path)
    elif any(tenant.has_budget for tenant in config.tenants):
        logger.warning("budgets begin anew at a restart: no file is named, nor a state_dir")
    _show(admission, metrics)
    return admission


def _path(config: Config) -> Path | None:
    if config.admission.path:
        return Path(config.admission.path)
    return None if config.state_dir is None else config.state_dir / FILE


def _show(admission: Admission, metrics: Metrics) -> None:
    metrics.exposition.gauge("sidecar_in_flight", "Requests inside", lambda: admission.in_flight)
    metrics.exposition.gauges(
        "sidecar_queued",
        "Requests that wait for a place",
        "priority",
        {name: partial(admission.waiting, name) for name in get_args(Priority)},
    )
    for figure in ("limit", "spent", "reserved", "remaining"):
        metrics.exposition.table(
            f"sidecar_budget_{figure}_usd",
            f"Of each tenant's budget, in all and today: {figure}",
            ("tenant", "period"),
            partial(admission.budget_rows, f"{figure}_usd"),
        )


def build_till(
    config: Config,
    ladder: Ladder,
    *,
    admission: Admission,
    guardrails: Guardrails,
    background: Allowance,
) -> Till:
    """Who reserves and settles, at this config's prices."""
    return Till(
        admission=admission,
        ladder=ladder,
        # A hedged tier may have both calls answered.
        most_calls=[2 if tier.hedge_after else 1 for tier in config.tiers],
        may_mend=lambda request: guardrails.of_answers(request) is not None,
        answer_tokens=config.admission.answer_tokens,
        background=background,
    )
