"""Recorded answers of real models, given again: how quality is measured without asking anybody."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from sidecar import answer
from sidecar.chat import question_of
from sidecar.errors import ConfigError
from sidecar.providers.errors import CallerAtFault
from sidecar.providers.wire import Call, Completion, Hear, Tell


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One model's answer to one question."""

    model: str
    text: str
    tokens_in: int
    tokens_out: int


Recording = Mapping[str, Mapping[str, Recorded]]
"""By question, then by tier."""


def load_recording(path: Path) -> Recording:
    """The rows of a JSON Lines file (`.gz` too) in the tier3 format: `query`, `answers[tier]`.

    Raises:
        ConfigError: The file cannot be read, or a line is no such row; the line is named.
    """
    recording: dict[str, dict[str, Recorded]] = {}
    line = b""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for line in file:
                row = orjson.loads(line)
                answers = {tier: _recorded(told) for tier, told in row["answers"].items()}
                recording.setdefault(row["query"].strip(), answers)
    except OSError as fault:
        raise ConfigError([f"replay: {path} cannot be read: {fault.strerror or fault}"]) from fault
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as fault:
        raise ConfigError([f"replay: {path} holds no tier3 row: {line[:60]!r}"]) from fault
    return recording


def _recorded(told: Mapping[str, Any]) -> Recorded:
    return Recorded(
        model=told["model"],
        text=told["text"],
        tokens_in=int(told["tok_in"]),
        tokens_out=int(told["tok_out"]),
    )


class ReplayUpstream:
    """Answers each known question as the tier's model once did; any other is a 404."""

    def __init__(self, name: str, recording: Recording) -> None:
        self.name: Final = name
        self._recording = recording

    async def ask(self, call: Call) -> Completion:
        """See `wire.Upstream`."""
        recorded = self._find(call)
        usage = {
            "prompt_tokens": recorded.tokens_in,
            "completion_tokens": recorded.tokens_out,
            "total_tokens": recorded.tokens_in + recorded.tokens_out,
        }
        message = {"role": "assistant", "content": recorded.text}
        body = {
            "id": answer.fresh_id(),
            "object": "chat.completion",
            "created": int(time.time()),
            "model": recorded.model,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": usage,
        }
        return Completion(body=body)

    async def stream(self, call: Call, hear: Hear, tell: Tell) -> None:  # noqa: ARG002 - it has no headers
        """See `wire.Upstream`."""
        completion = await self.ask(call)
        for chunk in answer.chunks(completion.body, include_usage=True):
            tell([orjson.dumps(chunk)])
            await asyncio.sleep(0)  # a real stream lets others run between its chunks

    def _find(self, call: Call) -> Recorded:
        question = question_of(call.body["messages"])
        answers = self._recording.get(question or "")
        if answers is None or call.tier not in answers:
            error = {
                "message": "the recording holds no answer of this tier to this question",
                "type": "invalid_request_error",
                "param": "messages",
                "code": "replay_miss",
            }
            raise CallerAtFault(self.name, 404, {"error": error})
        return answers[call.tier]
