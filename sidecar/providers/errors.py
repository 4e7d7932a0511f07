"""How an upstream can fail us.

ProviderError
├── UpstreamRefused          answered with an error status, which is the caller's to see
│   ├── CallerAtFault        400, 404, 409, 413, 422: every upstream would say the same
│   └── UpstreamBusy         408, 429, 5xx: another upstream or tier may do
│       ├── KeyRefused       401, 402, 403 about a key of ours: it is not asked again for long
│       └── CallerRefused    401, 402, 403, 429 about the caller's own key: no word on the upstream
├── UpstreamShut             not asked: its breaker is open, or its retries are spent
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
        retry_after_s: Seconds after which it wants to be asked again; None if it did not say.
    """

    def __init__(
        self,
        upstream: str,
        status: int,
        body: Mapping[str, Any] | None,
        headers: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(f"upstream {upstream} answered {status}", retry_after_s=retry_after_s)
        self.upstream = upstream
        self.status = status
        self.body = body
        self.headers = dict(headers or {})


class CallerAtFault(UpstreamRefused):
    """The request itself is refused; asking elsewhere would only multiply the refusal."""


class UpstreamBusy(UpstreamRefused):
    """This upstream refuses now, or refuses our key; another may do."""


class KeyRefused(UpstreamBusy):
    """The upstream refuses our key; told to the caller as ours, and without its body.

    Attributes:
        told: The status that it came with.
    """

    def __init__(self, upstream: str, told: int) -> None:
        super().__init__(upstream, 502, None)
        self.told = told

    @property
    def is_certain(self) -> bool:
        """It is the key and nothing else: a 403 may also be said of one prompt, by a filter."""
        return self.told != 403  # noqa: PLR2004 - HTTP's own number


class CallerRefused(UpstreamBusy):
    """The upstream refuses the caller's own key, or has had enough of him; others it may serve."""


class UpstreamShut(ProviderError):
    """It was not asked, for it has failed too often of late."""

    status = 503
    code = "upstream_shut"


class UpstreamUnreachable(ProviderError):
    """No connection, or it broke before the answer began."""


class UpstreamTooSlow(ProviderError):
    """The deadline or one of the upstream's timeouts passed."""

    status = 504
    kind = "timeout_error"


class StreamBroken(ProviderError):
    """A stream ended before it was finished; what came of it is no answer and is never kept."""
