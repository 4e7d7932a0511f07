"""The published document: every path that is served, and none else."""

from __future__ import annotations

import asyncio
import logging
import re
import tomllib
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiohttp import web

from sidecar.app import Sidecar, data_plane, operator_routes
from sidecar.assembly.lasting import build_lasting
from sidecar.config.file import parse_config
from sidecar.web.health import Readiness
from sidecar.web.listen import MainLoop
from sidecar.web.openai_api import NOT_BUILT
from sidecar.web.openapi import DOCUMENT
from tests.integration.conftest import BUNDLE, DEMO


def _served(app: web.Application) -> set[tuple[str, str]]:
    """Methods and paths, a parameter's pattern left out."""
    found = {
        (route.method.lower(), re.sub(r"\{(\w+):?.*\}", r"{\1}", route.resource.canonical))
        for route in app.router.routes()
        if route.resource is not None and route.method not in {"HEAD", "*"}
    }
    return {(method, path) for method, path in found if not path.startswith(NOT_BUILT)}


async def test_every_route_stands_in_the_document_and_none_else() -> None:
    """A route that is added, moved or removed is told, or fails here."""
    if not BUNDLE.exists():
        pytest.skip("no encoder bundle in .sidecar/encoder: run `make encoder`")
    config = parse_config(tomllib.loads(DEMO))
    async with AsyncExitStack() as stack:
        lasting = await build_lasting(config, stack, logging.getLogger("test"))
        sidecar = Sidecar(config, lasting, lambda: config)

        async def reload() -> str:
            return ""

        operator = web.Application()
        operator.add_routes(
            operator_routes(
                config,
                sidecar,
                lasting,
                main=MainLoop(asyncio.get_running_loop()),
                readiness=Readiness(),
                reload=reload,
            )
        )
        served = _served(operator) | _served(data_plane(config, sidecar, lasting))
    told = {
        (method, path)
        for path, item in DOCUMENT["paths"].items()
        for method in item.keys() - {"parameters"}
    }
    assert told == served


def _refs(part: Any) -> set[str]:
    if isinstance(part, dict):
        own = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
        return own.union(*map(_refs, part.values()))
    return set().union(*map(_refs, part)) if isinstance(part, list | tuple) else set()


def test_every_schema_is_there_and_used() -> None:
    """No reference leads nowhere, and nothing is described that nobody promises."""
    schemas = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}
    assert _refs(DOCUMENT) == schemas
