"""The operator plane: is the process alive, is it ready, what does it count."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from sidecar import __version__
from sidecar.errors import ConfigError
from sidecar.telemetry.exposition import CONTENT_TYPE
from sidecar.web.middleware import json_response
from sidecar.web.token import OperatorToken


@dataclass(slots=True)
class Readiness:
    """Whether requests are welcome. Written by the main loop, read by the operator plane's.

    One plain attribute, replaced whole: a reader sees the old word or the new one.
    """

    state: str = "starting"

    @property
    def is_ready(self) -> bool:
        """Requests are welcome."""
        return self.state == "ready"


class OperatorPlane:
    """Health, metrics, and reload; the cache has a door of its own, see admin_api.py."""

    def __init__(
        self,
        *,
        readiness: Readiness,
        exposition: Callable[[], bytes],
        upstreams: Callable[[], str],
        reload: Callable[[], Awaitable[str]],
        token: OperatorToken,
    ) -> None:
        """`reload` is awaited on the operator plane's loop and must do its work on the main one.

        `upstreams` says in a word how they are. It is no part of being ready: a sidecar whose
        upstreams are all down still serves what it has kept.
        """
        self._readiness = readiness
        self._exposition = exposition
        self._upstreams = upstreams
        self._reload = reload
        self._token = token

    def routes(self) -> list[web.RouteDef]:
        """Where the handlers stand."""
        return [
            web.get("/healthz", self.live),
            web.get("/livez", self.live),
            web.get("/readyz", self.ready),
            web.get("/metrics", self.metrics),
            web.post("/admin/config/reload", self.reload_config),
        ]

    async def live(self, _request: web.Request) -> web.Response:
        """The process runs; that it answers is the answer."""
        return json_response({"status": "alive", "version": __version__})

    async def ready(self, _request: web.Request) -> web.Response:
        """200 when requests are welcome, else 503: starting, draining."""
        status = 200 if self._readiness.is_ready else 503
        told = {"status": self._readiness.state, "upstreams": self._upstreams()}
        return json_response(told, status=status)

    async def metrics(self, _request: web.Request) -> web.Response:
        """Prometheus' text."""
        return web.Response(body=self._exposition(), headers={"content-type": CONTENT_TYPE})

    async def reload_config(self, request: web.Request) -> web.Response:
        """`POST /admin/config/reload`: the new config, or all its faults and the old one."""
        self._token.check(request)
        try:
            digest = await self._reload()
        except ConfigError as fault:
            return json_response({"status": "unchanged", "faults": fault.faults}, status=400)
        return json_response({"status": "reloaded", "config": digest})
