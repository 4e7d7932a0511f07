"""The only upstream I/O: an OpenAI-compatible endpoint, spoken to over one pool of connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

import aiohttp

from sidecar.errors import ProviderError, UpstreamGarbled
from sidecar.providers import openai
from sidecar.providers.errors import (
    CallerRefused,
    KeyRefused,
    UpstreamTooSlow,
    UpstreamUnreachable,
)
from sidecar.providers.wire import Call, Completion

MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
"""Chosen: no real answer comes near it, and a vendor gone mad does not fill memory."""

CALLERS_KEY: Final = "caller"

MIN_SECRET: Final = 8
"""Chosen: a shorter word of the config's headers is a version or a flag, and no secret."""

_ABOUT_KEYS: Final = frozenset({401, 402, 403})
_ABOUT_CALLERS: Final = _ABOUT_KEYS | {429}
"""Said of a caller's own key: his limits are his, and no other caller must suffer for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutsConfig:
    """How long one call may take; the request's own deadline holds as well.

    Attributes:
        connect_s: To a connection, TLS included.
        first_token_s: To a stream's first chunk; pings of the vendor's are none.
        read_s: Between two chunks of a stream; of a whole answer, between two arrivals of bytes.
        total_s: To the last byte.

    Raises:
        ValueError: A time is not positive; the message names it.
    """

    connect_s: float = 5.0
    first_token_s: float = 120.0
    read_s: float = 120.0
    total_s: float = 600.0

    def __post_init__(self) -> None:
        for name in ("connect_s", "first_token_s", "read_s", "total_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, is {getattr(self, name)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointConfig:
    """Where an OpenAI-compatible upstream is, and how it is spoken to.

    Attributes:
        name: The config's name for it.
        base_url: Up to and with the version (`https://api.openai.com/v1`).
        api_key: Sent as a bearer token; `caller` passes the caller's own on; empty sends none.
        timeouts: See TimeoutsConfig.
        headers: Sent with every call.
        usage_in_streams: Ask streams for their usage (a few old servers refuse the field).
    """

    name: str
    base_url: str
    api_key: str = field(default="", repr=False)
    timeouts: TimeoutsConfig = field(default_factory=TimeoutsConfig)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    usage_in_streams: bool = True


class HttpUpstream:
    """One OpenAI-compatible endpoint."""

    def __init__(self, config: EndpointConfig, session: aiohttp.ClientSession) -> None:
        self.name: Final = config.name
        self._config = config
        self._session = session
        self._url = config.base_url.rstrip("/") + "/chat/completions"
        # `sock_connect` and not `connect`, which would count the wait for a place in our own pool
        # against the upstream. A stream's silences are timed by its chunks, in `_events`.
        self._stream_timeout = aiohttp.ClientTimeout(
            total=config.timeouts.total_s, sock_connect=config.timeouts.connect_s
        )
        secrets = {config.api_key, *config.headers.values()} - {CALLERS_KEY}
        self._secrets = [secret for secret in secrets if len(secret) >= MIN_SECRET]
        self._whole_timeout = aiohttp.ClientTimeout(
            total=config.timeouts.total_s,
            sock_connect=config.timeouts.connect_s,
            sock_read=config.timeouts.read_s,
        )

    async def ask(self, call: Call) -> Completion:
        """See `wire.Upstream`."""
        async with self._post(call, stream=False) as response:
            raw = await _read(response, self.name)
            if response.status != HTTPStatus.OK:
                raise self._refusal(response, raw)
            return openai.completion(self.name, raw, self._discreet(response.headers))

    async def stream(self, call: Call) -> AsyncGenerator[bytes, None]:
        """See `wire.Upstream`."""
        timeouts = self._config.timeouts
        first_by_s = asyncio.get_running_loop().time() + timeouts.first_token_s
        async with self._post(call, stream=True, headers_by_s=first_by_s) as response:
            await self._check_stream(response)
            call.hear(openai.passed_headers(self._discreet(response.headers)))
            async for data in _events(response, self.name, first_by_s, timeouts.read_s):
                if data == b"[DONE]":
                    return
                yield data

    async def _check_stream(self, response: aiohttp.ClientResponse) -> None:
        if response.status != HTTPStatus.OK:
            raise self._refusal(response, await _read(response, self.name))
        if response.content_type != "text/event-stream":
            raise UpstreamGarbled(f"upstream {self.name} sent {response.content_type}, no stream")

    def _discreet(self, headers: Mapping[str, str]) -> dict[str, str]:
        """The headers that quote no secret of ours, names in lower case."""
        return {
            name.lower(): value
            for name, value in headers.items()
            if not any(secret in value for secret in self._secrets)
        }

    def _refusal(self, response: aiohttp.ClientResponse, raw: bytes) -> ProviderError:
        """What the refusal means; one of our own key is told as ours, and without its body."""
        status, is_callers = response.status, self._config.api_key == CALLERS_KEY
        if status < HTTPStatus.BAD_REQUEST:
            # A redirect, say: no refusal, and no answer. The caller must not hear it as his own.
            return UpstreamGarbled(f"upstream {self.name} answered {status}")
        if any(secret.encode() in raw for secret in self._secrets):
            raw = b""  # some vendors quote the key that they refuse
        headers = self._discreet(response.headers)
        if status in _ABOUT_KEYS and not is_callers:
            return KeyRefused(self.name, status)
        told = openai.refusal(self.name, status, raw, headers, time.time())
        if status in _ABOUT_CALLERS and is_callers:
            return CallerRefused(self.name, status, told.body, told.headers, told.retry_after_s)
        return told

    @asynccontextmanager
    async def _post(
        self, call: Call, *, stream: bool, headers_by_s: float | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer's head, by the loop's instant `headers_by_s` if one is given."""
        body = openai.request_body(
            call.body, stream=stream, usage_in_streams=self._config.usage_in_streams
        )
        try:
            async with asyncio.timeout(call.deadline.remaining_s()):
                async with asyncio.timeout_at(headers_by_s):
                    response = await self._session.post(
                        self._url,
                        data=body,
                        headers=self._headers(call.headers),
                        timeout=self._stream_timeout if stream else self._whole_timeout,
                        allow_redirects=False,
                    )
                async with response:
                    yield response
        except TimeoutError as fault:
            raise UpstreamTooSlow(f"upstream {self.name} took too long") from fault
        except (aiohttp.ClientError, OSError) as fault:
            kind = type(fault).__name__
            raise UpstreamUnreachable(
                f"upstream {self.name} could not be reached: {kind}"
            ) from fault

    def _headers(self, callers: Mapping[str, str]) -> dict[str, str]:
        headers = {
            "content-type": "application/json",
            **self._config.headers,
            **{name: value for name, value in callers.items() if name != "authorization"},
        }
        if self._config.api_key == CALLERS_KEY:
            if "authorization" in callers:
                headers["authorization"] = callers["authorization"]
        elif self._config.api_key:
            headers["authorization"] = f"Bearer {self._config.api_key}"
        return headers


async def _read(response: aiohttp.ClientResponse, upstream: str) -> bytes:
    parts, size = [], 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            raise UpstreamGarbled(f"upstream {upstream} sent more than {MAX_ANSWER_BYTES} bytes")
        parts.append(part)
    return b"".join(parts)


async def _events(
    response: aiohttp.ClientResponse, upstream: str, first_by_s: float, read_s: float
) -> AsyncIterator[bytes]:
    """Each event's data; the first by the loop's instant `first_by_s`, the next within `read_s`."""
    splitter, by_s, size = openai.EventSplitter(upstream), first_by_s, 0
    clock = asyncio.get_running_loop().time
    while True:
        # Around the read alone: a timer that ran while the consumer holds the chunk would end him.
        async with asyncio.timeout_at(by_s):
            received = await response.content.readany()
        size += len(received)
        if size > MAX_ANSWER_BYTES:  # a stream without an end, every chunk of which is held
            raise UpstreamGarbled(f"upstream {upstream} sent more than {MAX_ANSWER_BYTES} bytes")
        for data in splitter.feed(received) if received else splitter.finish():
            yield data
            by_s = clock() + read_s
        if not received:
            return
