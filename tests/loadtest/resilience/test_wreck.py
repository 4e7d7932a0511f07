"""The wreck's examiner against sidecars that lie, over real loopback HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from random import Random

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from loadtest.callers.client import session
from loadtest.resilience.place import Place
from loadtest.resilience.rejection import refusal, reject
from loadtest.resilience.successor import examine
from loadtest.resilience.wreck import Past, Wreck, load
from loadtest.vendors.provider import answer_to
from tests.loadtest.fake_sidecar import FakeSidecar


class Forgetful(FakeSidecar):
    """Says that it forgets, on disk too, and keeps everything."""

    def app(self) -> web.Application:
        app = super().app()
        app.router.add_post("/admin/cache/invalidate", self._invalidate)
        return app

    async def _invalidate(self, _: web.Request) -> web.Response:
        return web.json_response({"is_persisted": True})


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    async with TestServer(Forgetful(answer_to).app()) as server, session() as http:
        url = str(server.make_url("")).rstrip("/")
        yield Place(http=http, base_url=f"{url}/v1", admin_url=url)


async def test_what_was_to_be_forgotten_and_is_served_is_found(place: Place) -> None:
    """Every acknowledged change names questions that are then asked for."""
    wreck = await load(place, Random(1), load_s=1.0, at_once=4, kill=lambda: None)  # noqa: S311 - dice of a test
    assert wreck.counts["invalidations"] + wreck.counts["complaints"] > 0
    assert wreck.counts["foreign"] == 0
    found = await examine(place, wreck, [], Random(1), settle_s=0.0, ttl_s=60.0, at_once=4)  # noqa: S311 - as above
    assert found.asked_for_gone > 0
    assert found.resurrected == found.asked_for_gone
    assert found.hits == found.asked_again


async def test_what_outlived_its_time_is_found(place: Place) -> None:
    """It is asked for in such a way that nobody may answer it anew."""
    old = Past("An old one?", {}, "red", "one", answered_at=1.0)
    await load(place, Random(1), load_s=0.1, at_once=1, kill=lambda: None)  # noqa: S311 - as above
    found = await examine(
        place,
        Wreck(),
        [old],
        Random(1),  # noqa: S311 - as above
        settle_s=0.0,
        ttl_s=60.0,
        at_once=1,
    )
    assert (found.asked_for_old, found.outlived) == (1, 0)
    found = await examine(
        place,
        Wreck(),
        [old],
        Random(1),  # noqa: S311 - as above
        settle_s=0.0,
        ttl_s=60.0,
        at_once=1,
    )
    assert found.outlived == 1  # the fake kept it the first time


async def test_a_sidecar_without_hits_by_meaning_rejects_nothing(place: Place) -> None:
    """A pair that was not served cannot be complained of, and why it is not is told."""
    assert not await reject(place, ("n", 1, 2))
    assert await refusal(place, ("n", 3, 4)) == "miss"
