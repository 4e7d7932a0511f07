"""The upstream behind the demo tiers: simulated models, answering in OpenAI's shape from memory."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from sidecar import answer
from sidecar.chat import question_of, text_of
from sidecar.errors import ProviderError, UpstreamGarbled
from sidecar.providers.demo_models import MODELS, DemoModel, Dice, Said, as_json, said, unable
from sidecar.providers.demo_questions import understand
from sidecar.providers.errors import (
    CallerAtFault,
    StreamBroken,
    UpstreamBusy,
    UpstreamTooSlow,
    UpstreamUnreachable,
)
from sidecar.providers.wire import Call, Completion, Hear, Tell

CHARACTERS_PER_TOKEN: Final = 4
"""Chosen: a simulated model has no tokenizer. A token is four characters, the last one may be
shorter; usage, limits and log-probabilities all count so, and thus agree."""

_MAX_CHOICES: Final = 128
"""Source: https://platform.openai.com/docs/api-reference/chat/create, `n` at most 128, read
2026-11-01."""

_SURE_LOGPROB: Final = -0.03
_UNSURE_LOGPROB: Final = -0.9
"""Chosen: probabilities of .97 and .41, as one sees them on plain and on guessed tokens."""


class DemoUpstream:
    """Answers questions whose right answer it knows, as well as the model asked for would.

    A body's `demo_fault` asks for a failure: `500`, `429`, `timeout`, `truncate` or `garbage`, for
    every model, or with `@` and a model's id for that one (`500@demo-small`).
    """

    def __init__(self, name: str, *, seed: int = 0, speed: float = 1.0) -> None:
        """`seed` decides which questions go wrong; `speed` multiplies all waiting, 0 is none."""
        self.name: Final = name
        self._dice = Dice(seed)
        self._speed = speed

    async def ask(self, call: Call) -> Completion:
        """See `wire.Upstream`."""
        model = self._model(call.body)
        fault = _fault_of(call.body)
        if fault == "truncate":
            raise UpstreamUnreachable(f"upstream {self.name} broke off before its answer was whole")
        self._fail_if_asked(fault)
        body = self._answer(model, call.body)
        spoken = body["usage"]["completion_tokens"] / model.tokens_per_s
        await self._wait(model.first_token_s + spoken, call)
        return Completion(body=body)

    async def stream(self, call: Call, hear: Hear, tell: Tell) -> None:  # noqa: ARG002 - it has no headers
        """See `wire.Upstream`."""
        model = self._model(call.body)
        fault = _fault_of(call.body)
        self._fail_if_asked(fault)
        body = self._answer(model, call.body)
        options = call.body.get("stream_options") or {}
        chunks = list(answer.chunks(body, include_usage=bool(options.get("include_usage"))))
        pause = body["usage"]["completion_tokens"] / model.tokens_per_s / len(chunks)
        await self._wait(model.first_token_s, call)
        for place, chunk in enumerate(chunks):
            if fault == "truncate" and place == len(chunks) // 2:
                raise StreamBroken(f"upstream {self.name} broke off its stream")
            tell([orjson.dumps(chunk)])
            await self._wait(pause, call)

    def _model(self, body: Mapping[str, Any]) -> DemoModel:
        model = MODELS.get(str(body.get("model")))
        if model is None:
            message = f"the demo has no model {body.get('model')!r}; it has {', '.join(MODELS)}"
            raise _refused(self.name, 404, message, "model_not_found")
        return model

    def _fail_if_asked(self, fault: str | None) -> None:
        """Raise what `demo_fault` asks for; `truncate` is the two callers' own business."""
        if fault in {None, "truncate"}:
            return
        faults: dict[str | None, ProviderError] = {
            "500": UpstreamBusy(self.name, 500, _asked_for("server_error")),
            "429": UpstreamBusy(self.name, 429, _asked_for("rate_limit"), {"retry-after": "1"}),
            "timeout": UpstreamTooSlow(f"upstream {self.name} was asked to be too slow"),
            "garbage": UpstreamGarbled(f"upstream {self.name} was asked to send garbage"),
        }
        known = ", ".join([*(name for name in faults if name), "truncate"])
        message = f"demo_fault {fault!r} is unknown; known are {known}"
        raise faults.get(fault) or _refused(self.name, 400, message, "demo_fault_unknown")

    async def _wait(self, seconds: float, call: Call) -> None:
        simulated = seconds * self._speed
        remaining = call.deadline.remaining_s()
        await asyncio.sleep(min(simulated, remaining))
        if simulated > remaining:
            raise UpstreamTooSlow(f"upstream {self.name} was not done by the deadline")

    def _answer(self, model: DemoModel, body: Mapping[str, Any]) -> dict[str, Any]:
        messages: Sequence[Mapping[str, Any]] = body["messages"]
        prompt = sum(_tokens(text_of(message) or "") for message in messages)
        wanted = _choices_wanted(self.name, body)
        choices = [self._choice(model, body, index) for index in range(wanted)]
        spoken = sum(_tokens(choice["message"]["content"]) for choice in choices)
        return {
            "id": answer.fresh_id(),
            "object": "chat.completion",
            "created": int(time.time()),
            "model": model.model,
            "system_fingerprint": "simulated",
            "service_tier": "default",
            "choices": choices,
            "usage": {
                "prompt_tokens": prompt,
                "completion_tokens": spoken,
                "total_tokens": prompt + spoken,
                "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
            },
        }

    def _choice(self, model: DemoModel, body: Mapping[str, Any], index: int) -> dict[str, Any]:
        asked = question_of(body["messages"]) or ""
        question = understand(asked)
        told = said(model, question, f"{index} {asked}", self._dice) if question else unable(asked)
        shape = (body.get("response_format") or {}).get("type")
        text = told.text
        if shape in _JSON_SHAPES:
            text = as_json(told, is_strict=shape == "json_schema")
        limit = body.get("max_completion_tokens") or body.get("max_tokens")
        cut = text[: limit * CHARACTERS_PER_TOKEN] if limit else text
        return {
            "index": index,
            "message": {"role": "assistant", "content": cut, "refusal": None, "annotations": []},
            "logprobs": _logprobs(cut, told, self._dice) if body.get("logprobs") else None,
            "finish_reason": "length" if len(cut) < len(text) else "stop",
        }


_JSON_SHAPES: Final = ("json_object", "json_schema")
"""A tuple, for a caller may have put there what no set can look up."""


def _choices_wanted(upstream: str, body: Mapping[str, Any]) -> int:
    wanted = int(body.get("n") or 1)
    if not 1 <= wanted <= _MAX_CHOICES:
        raise _refused(upstream, 400, f"n must lie between 1 and {_MAX_CHOICES}", "n_out_of_range")
    return wanted


def _refused(upstream: str, status: int, message: str, code: str) -> CallerAtFault:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return CallerAtFault(upstream, status, {"error": error})


def _fault_of(body: Mapping[str, Any]) -> str | None:
    """The fault that is asked of this model, if any."""
    fault, _, model = str(body.get("demo_fault") or "").partition("@")
    return fault or None if model in {"", body.get("model")} else None


def _asked_for(code: str) -> dict[str, Any]:
    error = {
        "message": "this failure was asked for by demo_fault",
        "type": "server_error",
        "param": None,
        "code": code,
    }
    return {"error": error}


def _tokens(text: str) -> int:
    """`_tokens("12345") == 2`."""
    return math.ceil(len(text) / CHARACTERS_PER_TOKEN)


def _logprobs(text: str, told: Said, dice: Dice) -> dict[str, Any]:
    """Made-up log-probabilities, token by token: low all over where the answer seems unsure."""
    mean = _SURE_LOGPROB if told.seems_sure else _UNSURE_LOGPROB
    starts = range(0, len(text), CHARACTERS_PER_TOKEN)
    content = [
        {
            "token": (token := text[start : start + CHARACTERS_PER_TOKEN]),
            "logprob": round(mean * (0.5 + dice.roll("logprob", start, text)), 4),
            "bytes": list(token.encode()),
            "top_logprobs": [],
        }
        for start in starts
    ]
    return {"content": content, "refusal": None}
