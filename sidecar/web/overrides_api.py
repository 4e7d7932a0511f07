"""`/admin/overrides` on the operator plane: which switches are set, setting one, lifting one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from aiohttp import web

from router.tiers import Ladder
from sidecar.errors import MalformedRequest
from sidecar.overrides.board import Board
from sidecar.overrides.override import Key, Override
from sidecar.web.bodies import parse_object, read_body
from sidecar.web.listen import MainLoop
from sidecar.web.middleware import json_response
from sidecar.web.token import OperatorToken

_SET: Final = frozenset({"switch", "value", "tenant", "expires_in_s", "reason"})
_LIFTED: Final = frozenset({"switch", "value", "tenant"})


class OverridesApi:
    """The operator's door to the switchboard."""

    def __init__(
        self, *, board: Board, ladder: Callable[[], Ladder], main: MainLoop, token: OperatorToken
    ) -> None:
        """`ladder` gives the one in force, on the main loop."""
        self._board = board
        self._ladder = ladder
        self._main = main
        self._token = token

    def routes(self) -> list[web.RouteDef]:
        """Where the handlers stand."""
        return [
            web.get("/admin/overrides", self.listed),
            web.post("/admin/overrides", self.set),
            web.delete("/admin/overrides", self.lift),
        ]

    async def listed(self, request: web.Request) -> web.Response:
        """`GET /admin/overrides`."""
        self._token.check(request)

        async def told() -> dict[str, Any]:
            return self._told()

        return json_response(await self._main.run(told))

    async def set(self, request: web.Request) -> web.Response:
        """`POST` {"switch", "value"?, "tenant"?, "expires_in_s", "reason"}: from now on."""
        self._token.check(request)
        body = parse_object(await read_body(request))
        override = _override(body, time.time())

        async def done() -> dict[str, Any]:
            self._check_value(override)
            try:
                is_persisted = await self._board.set(override)
            except ValueError as fault:
                raise MalformedRequest("switch", str(fault)) from fault
            return {"set": _shown(override), **self._told(), "is_persisted": is_persisted}

        return json_response(await self._main.run(done))

    async def lift(self, request: web.Request) -> web.Response:
        """`DELETE ?switch=&value=&tenant=`, or the same as a JSON body."""
        self._token.check(request)
        raw = await read_body(request)
        body = parse_object(raw) if raw else dict(request.query)
        _check_fields(body, _LIFTED)
        key = Key(*(_text(body, name) for name in ("switch", "value", "tenant")))
        if key.switch != "block-model":
            key = key._replace(value="")

        async def done() -> tuple[bool, dict[str, Any]]:
            there_was, is_persisted = await self._board.lift(key)
            return there_was, {**self._told(), "is_persisted": is_persisted}

        there_was, told = await self._main.run(done)
        if not there_was:
            raise web.HTTPNotFound(text="no such override is set")
        return json_response({"lifted": key._asdict(), **told})

    def _told(self) -> dict[str, Any]:
        """On the main loop."""
        return {
            "overrides": [_shown(override) for override in self._board.held],
            "is_persisted": self._board.is_persisted,
        }

    def _check_value(self, override: Override) -> None:
        """A switch that names what is not there would be believed in force, and do nothing."""
        ladder = self._ladder()
        known = list(ladder.names)
        if override.switch == "block-model":
            known += [tier.model for tier in ladder.tiers]
        if override.value and override.value not in known:
            raise MalformedRequest("value", f"must be one of {', '.join(dict.fromkeys(known))}")


def _override(body: Mapping[str, Any], now_at: float) -> Override:
    _check_fields(body, _SET)
    expires_in_s = body.get("expires_in_s")
    if isinstance(expires_in_s, bool) or not isinstance(expires_in_s, int | float):
        raise MalformedRequest("expires_in_s", "must be a number of seconds")
    try:
        return Override.from_map(
            {
                "value": "",
                "tenant": "",
                "reason": "",
                "switch": "",
                **{name: value for name, value in body.items() if name != "expires_in_s"},
                "set_at": now_at,
                "expires_at": now_at + expires_in_s,
            }
        )
    except (ValueError, OverflowError) as fault:
        raise MalformedRequest(str(fault).split(" ", 1)[0], str(fault)) from fault


def _check_fields(body: Mapping[str, Any], known: frozenset[str]) -> None:
    if strange := sorted(body.keys() - known):
        raise MalformedRequest(strange[0][:64], f"is none of {', '.join(sorted(known))}")


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name, "")
    if not isinstance(value, str):
        raise MalformedRequest(name, "must be a string")
    return value


def _shown(override: Override) -> dict[str, Any]:
    return {**override.to_map(), "expires_in_s": round(override.expires_at - time.time(), 3)}
