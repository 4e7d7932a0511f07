"""A fault and its number in, whether and after how long the call may be made again out.

The sidecar is the one owner of retries: no provider's client retries, so that nothing multiplies.
What a retry may cost an upstream in trouble is bounded by its RetryBudget, and with it every other
call that one request makes there after a failure (the next tier's, if the same upstream has it).

Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 (full jitter); the
budget is that of Finagle and Linkerd (a share of the traffic and a floor).
"""

from __future__ import annotations

from typing import Final

from sidecar.errors import ProviderError, UpstreamGarbled
from sidecar.providers.errors import (
    CallerRefused,
    KeyRefused,
    UpstreamBusy,
    UpstreamTooSlow,
    UpstreamUnreachable,
)

BASE_S: Final = 0.5
CAP_S: Final = 8.0
"""Source: the first and the longest wait of OpenAI's own Python client, version 2."""

MAX_WAIT_S: Final = 20.0
"""Chosen: whoever wants to be left alone for longer is, and another tier is asked meanwhile."""

FLOOR: Final = 10.0
FLOOR_PER_S: Final = 0.1
"""Chosen: ten retries at once and one in ten seconds, however little traffic there is. The ten are
those of gRPC's retry throttling (proposal A6, `maxTokens`); Finagle's floor is ten a second, for
services that are called a thousand times as often as a model is."""

_AGAIN: Final = frozenset({408, 425, 429})
_SERVER_ERRORS: Final = 500


def may_retry(fault: ProviderError) -> bool:
    """The same call to the same upstream may be answered a moment later."""
    if isinstance(fault, UpstreamBusy):
        is_about_key = isinstance(fault, KeyRefused | CallerRefused)
        return not is_about_key and (fault.status in _AGAIN or fault.status >= _SERVER_ERRORS)
    return isinstance(fault, UpstreamUnreachable | UpstreamTooSlow | UpstreamGarbled)


def wait_s(fault: ProviderError, number: int, die: float) -> float:
    """Seconds before retry `number` (0 is the first); `die` is uniform in [0, 1).

    On top of what the upstream asked for, so that all who were told the same do not come at once.
    `wait_s(UpstreamUnreachable(""), 2, 0.5) == 1.0`
    """
    return (fault.retry_after_s or 0.0) + die * min(CAP_S, BASE_S * 2.0 ** min(number, 16))


class RetryBudget:
    """How many calls beyond the first one an upstream may be sent: a token bucket.

    Each request that comes to the upstream puts `ratio` of a token in, each further call takes one
    out. So that of N requests at most N x (1 + ratio) calls come of it, and the floor.
    """

    def __init__(self, ratio: float, now_s: float) -> None:
        self.ratio = ratio
        self._tokens = FLOOR
        self._at_s = now_s

    def tokens(self, now_s: float) -> float:
        """Further calls that may be made now."""
        return min(FLOOR, self._tokens + max(0.0, now_s - self._at_s) * FLOOR_PER_S)

    def deposit(self, now_s: float) -> None:
        """A request came to this upstream."""
        if self._tokens < FLOOR:
            self._tokens, self._at_s = min(FLOOR, self.tokens(now_s) + self.ratio), now_s

    def withdraw(self, now_s: float) -> bool:
        """One further call, if there is one left."""
        tokens = self.tokens(now_s)
        if tokens < 1.0:
            return False
        self._tokens, self._at_s = tokens - 1.0, now_s
        return True
