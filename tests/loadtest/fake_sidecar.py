"""A tiny sidecar in front of the demo's own generator: exact hits by text, answers by oracle.

Run as a module it serves on the port given, for the verbs that need a process of their own.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable

from aiohttp import web


class FakeSidecar:
    """Keeps each answer by namespace and question, and says what the contract's headers say.

    `answer` makes the text for a question; feedback is collected in `judged`.
    """

    def __init__(self, answer: Callable[[str], str], tier: str = "small") -> None:
        self._answer = answer
        self._tier = tier
        self._kept: dict[tuple[str, str], str] = {}
        self._ids = itertools.count()
        self.judged: list[dict[str, object]] = []
        self.seen_headers: list[dict[str, str]] = []

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/feedback", self._feedback)
        return app

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": []})

    async def _feedback(self, request: web.Request) -> web.Response:
        self.judged.append(await request.json())
        return web.json_response({})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.seen_headers.append({name.lower(): value for name, value in request.headers.items()})
        question = body["messages"][-1]["content"]
        key = (request.headers.get("x-sidecar-namespace", ""), question)
        is_read = "no-" not in request.headers.get("cache-control", "")
        is_read &= request.headers.get("x-sidecar-bypass") != "1"
        is_hit = is_read and key in self._kept
        text = self._kept[key] if is_hit else self._answer(question)
        if is_read:
            self._kept[key] = text
        headers = {
            "x-sidecar-request-id": f"r{next(self._ids)}",
            "x-sidecar-cache": "hit-exact" if is_hit else "miss" if is_read else "bypass",
            "x-sidecar-tier": self._tier,
            "x-sidecar-cost-usd": "0" if is_hit else "0.001",
            "x-sidecar-escalations": "0",
            "x-sidecar-overhead-ms": "0.5",
            "server-timing": 'lookup;dur=0.25, dispatch;desc="up";dur=1.5',
        }
        if body.get("stream"):
            return await self._stream(request, headers, text)
        choice = {"index": 0, "message": {"role": "assistant", "content": text}}
        told = {
            "id": "x",
            "object": "chat.completion",
            "created": 1,
            "model": "fake",
            "choices": [choice | {"finish_reason": "stop"}],
        }
        return web.json_response(told, headers=headers)

    async def _stream(
        self, request: web.Request, headers: dict[str, str], text: str
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers=headers | {"content-type": "text/event-stream"})
        await response.prepare(request)
        for piece in (text[:5], text[5:]):
            chunk = {"choices": [{"index": 0, "delta": {"content": piece}}]}
            await response.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        last = {"choices": [], "sidecar": {"cost_usd": 0.002, "escalations": 1}}
        await response.write(b"data: " + json.dumps(last).encode() + b"\n\n")
        await response.write(b"data: [DONE]\n\n")
        return response


if __name__ == "__main__":
    sidecar = FakeSidecar(lambda question: f"Answer to: {question}")
    web.run_app(sidecar.app(), host="127.0.0.1", port=int(sys.argv[1]), print=None)
