"""Expired answers, over HTTP: served while a new one is fetched, or where nobody answers."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from cache.key import Scope, keys
from tests.integration.conftest import Running, Start

SUM = "What is 12 plus 7?"
KEPT_S = 500.0


async def _expired(sidecar: Running, since_s: float, **fields: Any) -> None:
    """Ask once, and make the answer look as if it had expired so long ago."""
    await sidecar.ask(SUM, **fields)
    store = sidecar.lasting.store
    (entry,) = store
    old = replace(
        entry,
        created_at=entry.created_at - KEPT_S - since_s,
        expires_at=entry.created_at - since_s,
    )
    store.put(old)


def _config(revalidate_s: float = 0.0, error_s: float = 0.0) -> str:
    return f"[cache]\nstale_while_revalidate_s = {revalidate_s}\nstale_if_error_s = {error_s}\n"


async def test_an_expired_answer_is_served_while_a_new_one_is_fetched(start: Start) -> None:
    """`stale` with its age to whoever asks, one call behind them all, then a fresh hit."""
    sidecar = await start(extra=_config(revalidate_s=60.0))
    await _expired(sidecar, since_s=10.0)
    answers = await asyncio.gather(*(sidecar.ask(SUM) for _ in range(5)))
    assert {a.headers["x-sidecar-cache"] for a in answers} <= {"stale", "hit-exact"}
    assert answers[0].headers["x-sidecar-cache"] == "stale"
    assert int(answers[0].headers["age"]) >= KEPT_S
    assert answers[0].headers["x-sidecar-cost-usd"] == "0"
    while len(sidecar.lasting.refreshes):
        await asyncio.sleep(0.001)
    fresh = await sidecar.ask(SUM)
    assert fresh.headers["x-sidecar-cache"] == "hit-exact"
    assert int(fresh.headers["age"]) < KEPT_S
    exposition = sidecar.lasting.metrics.exposition.text()
    assert b'sidecar_cache_refreshes_total{outcome="done"} 1.0' in exposition


@pytest.mark.parametrize(
    ("extra", "since_s", "headers"),
    [
        pytest.param(_config(revalidate_s=60.0), 61.0, {}, id="too-old"),
        pytest.param(_config(), 1.0, {}, id="off"),
        pytest.param(_config(revalidate_s=60.0), 1.0, {"cache-control": "max-age=9"}, id="max-age"),
        pytest.param(_config(revalidate_s=60.0), 1.0, {"cache-control": "no-cache"}, id="no-cache"),
    ],
)
async def test_what_may_not_be_stale_is_asked_anew(
    start: Start, extra: str, since_s: float, headers: dict[str, str]
) -> None:
    """Neither beyond the time that the operator gave nor beyond the caller's own."""
    sidecar = await start(extra=extra)
    await _expired(sidecar, since_s)
    answer = await sidecar.ask(SUM, headers)
    assert answer.headers["x-sidecar-cache"] in {"miss", "bypass"}


async def test_only_if_cached_takes_no_stale_answer(start: Start) -> None:
    """It asks nobody, so that nothing would be fetched behind it."""
    sidecar = await start(extra=_config(revalidate_s=60.0))
    await _expired(sidecar, since_s=1.0)
    answer = await sidecar.ask(SUM, {"cache-control": "only-if-cached"})
    assert answer.status == 504


FAILING = {"demo_fault": "500"}


@pytest.mark.parametrize(
    ("error_s", "since_s", "headers", "cache"),
    [
        pytest.param(60.0, 10.0, {}, "stale", id="by-the-operator"),
        pytest.param(60.0, 10.0, {"cache-control": "stale-if-error=600"}, "stale", id="asked"),
        pytest.param(60.0, 10.0, {"cache-control": "stale-if-error=5"}, None, id="asked-less"),
        pytest.param(60.0, 61.0, {}, None, id="too-old"),
        pytest.param(0.0, 1.0, {}, None, id="off"),
    ],
)
async def test_where_every_upstream_fails_the_expired_answer_serves(
    start: Start, error_s: float, since_s: float, headers: dict[str, str], cache: str | None
) -> None:
    """For as long as operator and caller allow; else the vendor's fault is told."""
    sidecar = await start(extra=_config(error_s=error_s))
    await _kept_under_the_failing_key(sidecar, since_s)
    answer = await sidecar.ask(SUM, headers, **FAILING)
    if cache is None:
        assert answer.status == 500
        return
    assert (answer.status, answer.headers["x-sidecar-cache"]) == (200, cache)
    assert int(answer.headers["age"]) >= KEPT_S
    stream = await sidecar.ask(SUM, headers, stream=True, **FAILING)
    assert stream.headers["x-sidecar-cache"] == cache
    assert "[DONE]" in stream.body


async def _kept_under_the_failing_key(
    sidecar: Running, since_s: float, fields: dict[str, Any] = FAILING
) -> None:
    """The fault is part of the body, hence of the key: what was answered without one goes there."""
    await _expired(sidecar, since_s)
    (entry,) = sidecar.lasting.store
    body = {"model": "auto", "messages": [{"role": "user", "content": SUM}], **fields}
    made = keys(Scope("anonymous", "", 0), body, SUM, sidecar.lasting.encoder_id)
    sidecar.lasting.store.put(replace(entry, fingerprint=made.fingerprint))


async def test_a_refused_request_is_never_papered_over(start: Start) -> None:
    """The caller's own mistake is the caller's to see."""
    sidecar = await start(extra=_config(error_s=60.0))
    fields: dict[str, Any] = {"demo_fault": "400"}
    await _kept_under_the_failing_key(sidecar, 1.0, fields)
    assert (await sidecar.ask(SUM, **fields)).status == 400
