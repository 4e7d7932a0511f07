"""How an upstream can fail us.

ProviderError
├── UpstreamRefused          answered with an error status, which is the caller's to see
│   ├── CallerAtFault        400, 404, 409, 413, 422: every upstream would say the same
│   └── UpstreamBusy         401, 403, 408, 429, 5xx: another upstream or tier may do
├── UpstreamUnreachable      no connection, or it broke before the answer began
├── UpstreamTooSlow          the deadline or a timeout passed
├── UpstreamGarbled          200, and yet no answer that the protocol allows (in sidecar/errors.py)
└── StreamBroken             a stream ended before it was finished; what came is no answer
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sidecar.errors import ProviderError


class UpstreamRefused(ProviderError):
    """The upstream answered with an error; its status and body are what the caller must see.

    Attributes:
        upstream: Name of the upstream.
        status: Its HTTP status, and so the caller's.
        body: Its JSON body if it had OpenAI's error shape, else None.
        headers: Its headers that pass through (`retry-after`, `x-ratelimit-*`, `x-request-id`).
    """

    def __init__(
        self,
        upstream: str,
        status: int,
        body: Mapping[str, Any] | None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"upstream {upstream} answered {status}")
        self.upstream = upstream
        self.status = status
        self.body = body
        self.headers = dict(headers or {})


class CallerAtFault(UpstreamRefused):
    """The request itself is refused; asking elsewhere would only multiply the refusal."""


class UpstreamBusy(UpstreamRefused):
    """This upstream refuses now, or refuses our key; another may do."""


class UpstreamUnreachable(ProviderError):
    """No connection, or it broke before the answer began."""


class UpstreamTooSlow(ProviderError):
    """The deadline or one of the upstream's timeouts passed."""

    status = 504
    kind = "timeout_error"


class StreamBroken(ProviderError):
    """A stream ended before it was finished; what came of it is no answer and is never kept."""
