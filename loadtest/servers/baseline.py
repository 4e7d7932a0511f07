"""What the sidecar is held against: a bare handler and a bare reverse proxy, in their own process.

`POST /handler` reads the whole body and returns the bytes of a file; `POST /proxy` passes body and
answer on, whole, and `POST /relay` as it comes, as plainly as aiohttp can.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import uvloop
from aiohttp import web

from loadtest.vendors.provider import serve


class Baseline:
    """The handlers."""

    def __init__(self, body: bytes, upstream_url: str) -> None:
        self._body = body
        self._upstream_url = upstream_url
        self._http: aiohttp.ClientSession | None = None

    def app(self) -> web.Application:
        """The server's application."""
        app = web.Application()
        app.router.add_post("/handler", self._handler)
        app.router.add_post("/proxy", self._proxy)
        app.router.add_post("/relay", self._relay)
        app.router.add_get("/ready", self._ready)
        app.cleanup_ctx.append(self._session)
        return app

    async def _session(self, _: web.Application) -> AsyncIterator[None]:
        async with aiohttp.ClientSession() as self._http:
            yield

    async def _ready(self, _: web.Request) -> web.Response:
        return web.Response(text="ready")

    async def _handler(self, request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=self._body, content_type="application/json")

    async def _proxy(self, request: web.Request) -> web.StreamResponse:
        assert self._http is not None  # noqa: S101 - the cleanup context opened it
        headers = {"content-type": "application/json"}
        async with self._http.post(
            self._upstream_url, data=await request.read(), headers=headers
        ) as upstream:
            return web.Response(
                status=upstream.status,
                body=await upstream.read(),
                content_type=upstream.content_type,
            )

    async def _relay(self, request: web.Request) -> web.StreamResponse:
        assert self._http is not None  # noqa: S101 - the cleanup context opened it
        headers = {"content-type": "application/json"}
        async with self._http.post(
            self._upstream_url, data=await request.read(), headers=headers
        ) as upstream:
            response = web.StreamResponse(
                status=upstream.status, headers={"content-type": upstream.content_type}
            )
            await response.prepare(request)
            async for piece in upstream.content.iter_any():
                await response.write(piece)
            await response.write_eof()
            return response


def main() -> None:
    """Serve until told to stop, on the sidecar's own event loop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--body", type=Path, required=True)
    parser.add_argument("--upstream", required=True)
    args = parser.parse_args()
    app = Baseline(args.body.read_bytes(), args.upstream).app()
    with contextlib.closing(uvloop.new_event_loop()) as loop:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(serve(app, args.port))


if __name__ == "__main__":
    main()
