"""The encoder's bare session, in a process of its own: what a hit by meaning is held against.

`POST /` with a text as its body runs the session on the text's tokens and answers with the
milliseconds that the run alone took.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from pathlib import Path

import uvloop
from aiohttp import web

from loadtest.servers.bareencoder import BareEncoder
from loadtest.vendors.provider import serve


def app(encoder: BareEncoder) -> web.Application:
    """Its server."""

    async def run(request: web.Request) -> web.Response:
        inputs = encoder.inputs(await request.text())
        begun_s = time.perf_counter()
        encoder.run(inputs)
        return web.Response(text=f"{1e3 * (time.perf_counter() - begun_s):.6f}")

    async def ready(_: web.Request) -> web.Response:
        return web.Response(text="ready")

    told = web.Application()
    told.router.add_post("/", run)
    told.router.add_get("/ready", ready)
    return told


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--bundle", type=Path, required=True)
    args = parser.parse_args()
    encoder = BareEncoder(args.bundle)
    encoder.run(encoder.inputs("warm up"))
    with contextlib.closing(uvloop.new_event_loop()) as loop:
        loop.run_until_complete(serve(app(encoder), args.port))


if __name__ == "__main__":
    main()
