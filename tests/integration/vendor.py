"""Vendors on loopback that fail as the test says: one server, a path for each of them."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator

from aiohttp import web

TEXT = "The answer is four."
USAGE = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}


class Vendors:
    """Each is told its fault by `faults[name]`; empty answers well. Counts its calls."""

    def __init__(self) -> None:
        self.faults: dict[str, str] = {}
        self.calls: Counter[str] = Counter()
        self.gone = asyncio.Event()

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/{name}/v1/chat/completions", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        name, body = request.match_info["name"], await request.json()
        self.calls[name] += 1
        fault = self.faults.get(name, "")
        if fault.isdigit():
            headers = {"retry-after": "3"} if fault in {"429", "503"} else {}
            error = {"error": {"message": f"no: {fault}", "type": "x", "param": None, "code": "c"}}
            return web.json_response(error, status=int(fault), headers=headers)
        if fault == "hang":
            await self.gone.wait()
        if fault == "html":
            return web.Response(text="<html>", content_type="text/html")
        if fault == "reset":
            return _cut(request, web.Response())
        if not body.get("stream"):
            return web.json_response(_whole(name))
        return await self._stream(request, name, fault)

    async def _stream(self, request: web.Request, name: str, fault: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for place, data in enumerate(_chunks(name)):
            if fault == f"truncate-{place}":
                await response.write_eof()
                return response
            if fault == f"reset-{place}":
                return _cut(request, response)
            if fault == f"stall-{place}":
                await self.gone.wait()
            if fault == f"garbage-{place}":
                await response.write(b"data: <html>\n\n")
            if fault == f"odd-{place}":
                await response.write(b'data: {"choices": "none"}\n\n')
            if fault == f"error-{place}":
                await response.write(b'data: {"error": {"message": "overloaded"}}\n\n')
            await response.write(b"data: " + data + b"\n\n")
            if fault == f"twice-{place}":
                await response.write(b"data: " + data + b"\n\n")
        await response.write(b"data: [DONE]\n\n")
        return response


def _cut(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return response


def _whole(name: str) -> dict[str, object]:
    message = {"role": "assistant", "content": f"{TEXT} ({name})"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"id": "v", "object": "chat.completion", "created": 1, "choices": [choice]} | {
        "usage": USAGE
    }


def _chunks(name: str) -> Iterator[bytes]:
    """The role, two of words, the end, the usage."""
    head = {"id": "v", "object": "chat.completion.chunk", "created": 1}
    deltas: list[tuple[dict[str, str], str | None]] = [
        ({"role": "assistant", "content": ""}, None),
        ({"content": "The answer "}, None),
        ({"content": f"is four. ({name})"}, None),
        ({}, "stop"),
    ]
    for delta, finish_reason in deltas:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        yield json.dumps({**head, "choices": [choice]}).encode()
    yield json.dumps({**head, "choices": [], "usage": USAGE}).encode()
