"""The only upstream I/O: an OpenAI-compatible endpoint, spoken to over one pool of connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final
from urllib.parse import quote, urlsplit

from sidecar import __version__
from sidecar.errors import ProviderError, UpstreamGarbled
from sidecar.providers import openai
from sidecar.providers.errors import (
    CallerRefused,
    KeyRefused,
    UpstreamTooSlow,
    UpstreamUnreachable,
)
from sidecar.providers.pool import Origin, Pools
from sidecar.providers.reading import OK, Body, Events
from sidecar.providers.wire import Call, Completion, Hear, Tell

CALLERS_KEY: Final = "caller"

MIN_SECRET: Final = 8
"""Chosen: a shorter word of the config's headers is a version or a flag, and no secret."""

_ABOUT_KEYS: Final = frozenset({401, 402, 403})
_ABOUT_CALLERS: Final = _ABOUT_KEYS | {429}
"""Said of a caller's own key: his limits are his, and no other caller must suffer for them."""

_ENDS: Final = frozenset("\r\n\0")

_PLAIN_IN_PATHS: Final = "/%:@!$&'()*+,;=~"
"""Source: RFC 3986, section 3.3; `%` for what is escaped already."""


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

    def __init__(self, config: EndpointConfig, pools: Pools) -> None:
        """`pools` outlive this upstream, which a reload builds anew."""
        self.name: Final = config.name
        self._config = config
        self._timeouts = config.timeouts
        parts = urlsplit(config.base_url.rstrip("/") + "/chat/completions")
        is_tls = parts.scheme == "https"
        origin = Origin(parts.hostname or "", parts.port or (443 if is_tls else 80), is_tls)
        self._pool = pools.to(origin)
        path = quote(parts.path, _PLAIN_IN_PATHS) + (f"?{parts.query}" if parts.query else "")
        self._first_line = f"POST {path} HTTP/1.1\r\n"
        self._fixed = {
            "host": parts.netloc.rpartition("@")[2],
            "accept": "*/*",
            "accept-encoding": "gzip",
            "user-agent": f"semantic-sidecar/{__version__}",
            "content-type": "application/json",
            **{name.lower(): value for name, value in config.headers.items()},
        }
        if config.api_key and config.api_key != CALLERS_KEY:
            self._fixed["authorization"] = f"Bearer {config.api_key}"
        self._head = self._head_of(self._fixed)
        secrets = {config.api_key, *config.headers.values()} - {CALLERS_KEY}
        self._secrets = [secret for secret in secrets if len(secret) >= MIN_SECRET]

    async def ask(self, call: Call) -> Completion:
        """See `wire.Upstream`."""
        now_s = asyncio.get_running_loop().time()
        until_s = now_s + min(self._timeouts.total_s, call.deadline.remaining_s())
        body = Body(self.name, self._timeouts.read_s, until_s)
        await self._post(call, body, stream=False)
        if body.status != OK:
            raise self._refusal(body)
        return openai.completion(self.name, body.whole(), self._discreet(body.headers))

    async def stream(self, call: Call, hear: Hear, tell: Tell) -> None:
        """See `wire.Upstream`."""
        timeouts, now_s = self._timeouts, asyncio.get_running_loop().time()
        events = Events(
            self.name,
            timeouts.read_s,
            now_s + min(timeouts.total_s, call.deadline.remaining_s()),
            first_by_s=now_s + timeouts.first_token_s,
            hear=lambda headers: hear(self._discreet(headers)),
            tell=tell,
        )
        await self._post(call, events, stream=True)
        if events.status != OK:
            raise self._refusal(events)
        events.finish()

    async def _post(self, call: Call, reader: Body, *, stream: bool) -> None:
        """Ask, and have `reader` read the answer."""
        raw = openai.request_body(
            call.body, stream=stream, usage_in_streams=self._config.usage_in_streams
        )
        request = b"%scontent-length: %d\r\n\r\n%s" % (self._head_for(call), len(raw), raw)
        try:
            connection = self._pool.find()
            if connection is None:
                async with asyncio.timeout_at(reader.due_s):
                    connection = await self._pool.opened(self._timeouts.connect_s)
            await connection.exchange(request, reader)
        except TimeoutError as fault:
            raise UpstreamTooSlow(f"upstream {self.name} took too long") from fault
        except (OSError, UnicodeError) as fault:  # the latter of a host's name that is none
            kind = type(fault).__name__
            raise UpstreamUnreachable(
                f"upstream {self.name} could not be reached: {kind}"
            ) from fault

    def _head_for(self, call: Call) -> bytes:
        """The request's head, but for its length."""
        callers = call.headers
        if not callers or (
            len(callers) == 1 and "authorization" in callers and not self._is_callers
        ):
            return self._head
        told = {name: value for name, value in callers.items() if name != "authorization"}
        if self._is_callers and "authorization" in callers:
            told["authorization"] = callers["authorization"]
        return self._head_of({**self._fixed, **told})

    @property
    def _is_callers(self) -> bool:
        return self._config.api_key == CALLERS_KEY

    def _head_of(self, headers: Mapping[str, str]) -> bytes:
        # What holds the end of a line would begin another one.
        plain = (pair for pair in headers.items() if not _ENDS.intersection(pair[1]))
        lines = "".join(f"{name}: {value}\r\n" for name, value in plain)
        return (self._first_line + lines).encode("utf-8", "surrogateescape")

    def _discreet(self, headers: Mapping[str, str]) -> dict[str, str]:
        """The headers that pass through, and quote no secret of ours."""
        return {
            name: value
            for name, value in openai.passed_headers(headers).items()
            if not any(secret in value for secret in self._secrets)
        }

    def _refusal(self, body: Body) -> ProviderError:
        """What the refusal means; one of our own key is told as ours, and without its body."""
        status, raw = body.status, body.whole()
        if status < HTTPStatus.BAD_REQUEST:
            # A redirect, say: no refusal, and no answer. The caller must not hear it as his own.
            return UpstreamGarbled(f"upstream {self.name} answered {status}")
        if any(secret.encode() in raw for secret in self._secrets):
            raw = b""  # some vendors quote the key that they refuse
        headers = self._discreet(body.headers)
        if status in _ABOUT_KEYS and not self._is_callers:
            return KeyRefused(self.name, status)
        told = openai.refusal(self.name, status, raw, headers, time.time())
        if status in _ABOUT_CALLERS and self._is_callers:
            return CallerRefused(self.name, status, told.body, told.headers, told.retry_after_s)
        return told
