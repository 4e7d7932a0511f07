"""The simulated vendor: an OpenAI-compatible server on loopback that says what it was asked.

Rule 1: an answer names its question (`Answer to: ...`), so that a kept answer tells whose it was.
Rule 2: a fault comes where it is asked for: by the header `x-provider-fault`, by `[fault:NAME]` in
the question, or by flags for a share of all requests.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import re
import secrets
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

from aiohttp import web

# Source: the measuring data's own prices, which its costs were counted by; the models' names are
# those of the demo, the replay and the simulated vendor answer by tier or to any name.
PRICES_USD_PER_MTOK: Final = {
    "small": ("0.20", "0.20"),
    "medium": ("0.90", "0.90"),
    "large": ("2.50", "10.00"),
}

FAULTS: Final = ("status=NNN", "reset", "truncate", "stops", "drip", "garbage")
"""`truncate` cuts the connection midway; `stops` ends the answer midway as if that were all."""
PREFIX: Final = "Answer to: "
_IN_QUESTION: Final = re.compile(r"\[fault:([a-z]+(?:=\d{3})?)\]")
_PIECE_CHARACTERS: Final = 16
"""Chosen: four tokens a chunk, so that a short answer is a stream of several."""
_MAX_BODY_BYTES: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderConfig:
    """How the vendor behaves.

    Attributes:
        latency_s: Before an answer's first byte.
        drip_s: Before each chunk of an answer with the fault `drip`.
        fault: A fault for `fault_ratio` of all requests that ask for none themselves.
        seed: Of the dice that choose those.
        meanings: By question, what it asks: all that mean the same get the same answer.
    """

    latency_s: float = 0.0
    drip_s: float = 0.2
    fault: str = ""
    fault_ratio: float = 0.0
    seed: int = 0
    meanings: Mapping[str, str] = field(default_factory=dict)


def answer_to(question: str) -> str:
    """The text that the vendor gives: `answer_to("Why?") == "Answer to: Why?"`.

    Of a question whose meaning it was told, the meaning's name stands there in its place.
    """
    return PREFIX + question


def question_of(answer: str) -> str | None:
    """The question that an answer was made for; None if it is no answer of this vendor."""
    return answer.removeprefix(PREFIX) if answer.startswith(PREFIX) else None


class SimulatedVendor:
    """The handlers; counts what it was asked."""

    def __init__(self, config: ProviderConfig) -> None:
        self._config = config
        self._rng = Random(config.seed)
        self._counts: Counter[str] = Counter()
        self._tokens: dict[str, list[int]] = {}
        self._left = 0

    def app(self) -> web.Application:
        """The server's application."""
        app = web.Application(client_max_size=_MAX_BODY_BYTES)
        app.router.add_post("/v1/chat/completions", self._answer)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/stats", self._stats)
        return app

    async def _stats(self, _: web.Request) -> web.Response:
        told = {"calls": self._counts.total(), "by_kind": dict(self._counts)}
        return web.json_response({**told, "tokens": self._tokens, "left": self._left})

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        """Counts those who leave before their answer ends; the server must cancel for them."""
        try:
            return await self._complete(request)
        except (asyncio.CancelledError, ConnectionError):
            self._left += 1
            raise

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "echo", "object": "model"}]})

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        try:
            body = await request.json()
            question = last_user_text(body["messages"])
        except (ValueError, KeyError, TypeError):
            self._counts["refused"] += 1
            return _refusal(400, "no chat completion request")
        is_stream = bool(body.get("stream"))
        fault = self._fault(request, question)
        self._counts[fault or ("stream" if is_stream else "json")] += 1
        await asyncio.sleep(self._config.latency_s)
        if fault.startswith("status="):
            return _refusal(int(fault.removeprefix("status=")), f"the fault {fault} was asked for")
        if fault == "garbage":
            return web.Response(text="<html>not what you wanted", content_type="text/html")
        if fault == "reset":
            return _broken(request)
        completion = completion_to(body, self._config.meanings.get(question, question))
        self._bill(completion)
        if is_stream:
            options = body.get("stream_options") or {}
            chunks = list(chunks_of(completion, include_usage=bool(options.get("include_usage"))))
            return await self._stream(request, chunks, fault)
        return await self._whole(request, completion, fault)

    def _bill(self, completion: dict[str, Any]) -> None:
        """Add its tokens up by model, in and out, whether it is heard to the end or not."""
        billed = self._tokens.setdefault(str(completion["model"]), [0, 0])
        billed[0] += completion["usage"]["prompt_tokens"]
        billed[1] += completion["usage"]["completion_tokens"]

    def _fault(self, request: web.Request, question: str) -> str:
        asked = _IN_QUESTION.search(question)
        if "x-provider-fault" in request.headers:
            return request.headers["x-provider-fault"]
        if asked:
            return asked[1]
        return self._config.fault if self._rng.random() < self._config.fault_ratio else ""

    async def _whole(
        self, request: web.Request, completion: dict[str, Any], fault: str
    ) -> web.StreamResponse:
        raw = json.dumps(completion).encode()
        if fault not in {"truncate", "drip"}:
            return web.Response(body=raw, content_type="application/json")
        response = web.StreamResponse(headers={"content-type": "application/json"})
        response.content_length = len(raw)
        await response.prepare(request)
        if fault == "truncate":
            await response.write(raw[: len(raw) // 2])
            return _broken(request, response)
        for start in range(0, len(raw), _PIECE_CHARACTERS):
            await asyncio.sleep(self._config.drip_s)
            await response.write(raw[start : start + _PIECE_CHARACTERS])
        return response

    async def _stream(
        self, request: web.Request, chunks: list[dict[str, Any]], fault: str
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for place, chunk in enumerate(chunks):
            if fault in {"truncate", "stops"} and place == len(chunks) // 2:
                return _broken(request, response) if fault == "truncate" else response
            if fault == "drip":
                await asyncio.sleep(self._config.drip_s)
            await response.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        await response.write(b"data: [DONE]\n\n")
        return response


def _broken(request: web.Request, response: web.StreamResponse | None = None) -> web.StreamResponse:
    """The connection cut without a word."""
    if request.transport is not None:
        request.transport.abort()
    return response or web.Response()


def _refusal(status: int, message: str) -> web.Response:
    error = {"message": message, "type": "simulated_error", "param": None, "code": str(status)}
    headers = {"retry-after": "1"} if status in {429, 503} else {}
    return web.json_response({"error": error}, status=status, headers=headers)


def last_user_text(messages: list[dict[str, Any]]) -> str:
    """The question: the last user turn. Raises LookupError or TypeError where it has none."""
    content = next(m["content"] for m in reversed(messages) if m["role"] == "user")
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part.get("type") == "text")


def _tokens(text: str) -> int:
    """Four characters a token, the last one may be shorter: the vendor has no tokenizer."""
    return math.ceil(len(text) / 4)


def completion_to(body: dict[str, Any], question: str) -> dict[str, Any]:
    """The `chat.completion` object that answers `body`, whose question is `question`."""
    text = answer_to(question)
    tokens_in = sum(_tokens(str(message.get("content"))) for message in body["messages"])
    message = {"role": "assistant", "content": text, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return {
        "id": f"chatcmpl-{secrets.token_hex(12)}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body.get("model", "echo"),
        "system_fingerprint": "simulated",
        "choices": [choice],
        "usage": {
            "prompt_tokens": tokens_in,
            "completion_tokens": _tokens(text),
            "total_tokens": tokens_in + _tokens(text),
        },
    }


def chunks_of(completion: dict[str, Any], *, include_usage: bool) -> Iterator[dict[str, Any]]:
    """The same as the chunks of a stream."""
    head = {name: completion[name] for name in ("id", "created", "model", "system_fingerprint")}
    head["object"] = "chat.completion.chunk"
    text = completion["choices"][0]["message"]["content"]
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [
        {"content": text[start : start + _PIECE_CHARACTERS]}
        for start in range(0, len(text), _PIECE_CHARACTERS)
    ]
    for delta in deltas:
        yield head | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield head | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    if include_usage:
        yield head | {"choices": [], "usage": completion["usage"]}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own flags."""
    parser.add_argument("--port", type=int, default=9100, help="port on 127.0.0.1 (default 9100)")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="before each answer")
    parser.add_argument("--drip-ms", type=float, default=200.0, help="a chunk, with fault drip")
    parser.add_argument("--fault", default="", help=f"one of {', '.join(FAULTS)}")
    parser.add_argument("--fault-share", type=float, default=0.0, help="share of requests, 0 to 1")
    told = "JSON object of questions and what they mean; one meaning gets one answer"
    parser.add_argument("--meanings", type=Path, metavar="FILE", help=told)


def run(args: argparse.Namespace) -> None:
    """Serve until SIGINT or SIGTERM."""
    config = ProviderConfig(
        latency_s=args.latency_ms / 1_000,
        drip_s=args.drip_ms / 1_000,
        fault=args.fault,
        fault_ratio=args.fault_share,
        seed=args.seed,
        meanings=json.loads(args.meanings.read_text("utf-8")) if args.meanings else {},
    )
    print(f"simulated vendor on http://127.0.0.1:{args.port}/v1", flush=True)
    asyncio.run(serve(SimulatedVendor(config).app(), args.port))


async def serve(app: web.Application, port: int) -> None:
    """Serve `app` on loopback until the process is told to stop."""
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await stopped.wait()
    finally:
        await runner.cleanup()
