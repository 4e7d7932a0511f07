"""Requests and tokens a minute, of each tenant and of each of its users.

Rule 1: a request is taken when it comes in, whatever becomes of it: a hit counts as one.
Rule 2: tokens are reserved before an upstream is asked (the prompt's estimate, and the answer's
        limit or, without one, the mean of the tenant's answers so far) and settled by what was
        billed. A hit bills none, and so does who follows another's call.
Rule 3: tenant and user both have enough, or nothing is taken of either.
Rule 4: `MAX_USERS` are known; of the tenant with the most, who has been silent longest is
        forgotten, and starts with a full minute should he come back: no tenant's users push out
        another's. Requests that name no user are one user together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

from cache.shelf import Shelf
from sidecar.admission.bucket import Bucket
from sidecar.admission.tenants import TenantConfig
from sidecar.errors import RateLimited

MAX_USERS: Final = 10_000
"""Chosen: two megabytes. Inventing users gains a caller nothing beyond its tenant's own limit."""

FIRST_ANSWER_TOKENS: Final = 256.0
"""Chosen: an answer's length as long as none of the tenant's was seen."""

_LEARNING_RATE: Final = 0.05
"""Chosen: the mean is that of the last twenty answers or so."""

Kind = Literal["requests", "tokens"]
_HEADERS: Final[Mapping[Kind, tuple[str, str, str]]] = {
    kind: (
        f"x-ratelimit-limit-{kind}",
        f"x-ratelimit-remaining-{kind}",
        f"x-ratelimit-reset-{kind}",
    )
    for kind in get_args(Kind)
}

Key = tuple[str, str | None, Kind]
"""Tenant, user (None for the tenant as a whole), and what is counted."""


@dataclass(frozen=True, slots=True)
class Level:
    """How full a bucket was at an instant.

    Attributes:
        tenant: Whose.
        user: None for the tenant as a whole.
        kind: What is counted.
        held: Requests or tokens that could be taken.
        at: Seconds since the epoch, UTC.
    """

    tenant: str
    user: str | None
    kind: Kind
    held: float
    at: float


class Rates:
    """Every bucket. Lives on the event loop's thread.

    Attributes:
        limited: Tenants that have a limit here.
    """

    def __init__(self, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        """`clock` is monotonic, in seconds; `wall` in seconds since the epoch, UTC."""
        self._clock = clock
        self._wall = wall
        self._limits: dict[tuple[str, bool, Kind], float] = {}
        self._known: frozenset[str] = frozenset()
        self.limited: frozenset[str] = frozenset()
        self._tenants: dict[Key, Bucket] = {}
        self._users: Shelf[Key, Bucket] = Shelf(MAX_USERS)
        self._answers: dict[str, float] = {}
        self._changed: set[Key] = set()

    def know(self, configs: Mapping[str, TenantConfig]) -> None:
        """These limits from now on; what has been taken stays taken."""
        self._known = frozenset(configs)
        self._limits = {
            (name, is_user, kind): per_minute
            for name, config in configs.items()
            for is_user, kind, per_minute in _limits(config)
            if per_minute is not None
        }
        self.limited = frozenset(name for name, _, _ in self._limits)

    def take_request(self, tenant: str, user: str | None) -> None:
        """One request, of the tenant as a whole (`user` None) or of one user.

        Raises:
            RateLimited: The minute's requests are used up.
        """
        key: Key = (tenant, user, "requests")
        if (bucket := self._find(key)) is not None:
            self._take([(key, bucket)], 1.0, tenant, user)

    def reserve_tokens(
        self, tenant: str, user: str, tokens_in: int, answer_tokens: int | None
    ) -> float:
        """What was taken for a request of `tokens_in`; 0 where no limit is.

        Raises:
            RateLimited: Tenant or user has not so many left in this minute.
        """
        buckets = self._buckets(tenant, user, "tokens")
        if not buckets:
            return 0.0
        mean = self._answers.get(tenant, FIRST_ANSWER_TOKENS)
        amount = tokens_in + (mean if answer_tokens is None else answer_tokens)
        self._take(buckets, amount, tenant, user)
        return amount

    def settle_tokens(self, tenant: str, user: str, reserved: float, billed: float) -> None:
        """What was reserved came to this; the difference is given back, or owed."""
        for key, bucket in self._buckets(tenant, user, "tokens"):
            bucket.take(billed - reserved)
            self._changed.add(key)

    def saw_answer(self, tenant: str, tokens_out: int) -> None:
        """An answer of the tenant's was so long."""
        if tenant in self._known:
            mean = self._answers.get(tenant, FIRST_ANSWER_TOKENS)
            self._answers[tenant] = mean + _LEARNING_RATE * (tokens_out - mean)

    def headers(self, tenant: str, user: str) -> dict[str, str]:
        """What is left, of tenant or user whichever has less; empty where no limit is.

        Source: OpenAI's guide "Rate limits", section "Rate limits in headers": limit, remaining,
        and the time until the limit is whole again.
        """
        told: dict[str, str] = {}
        now_s = self._clock()
        for kind, (limit, remaining, reset) in _HEADERS.items():
            least, left = None, math.inf
            for _, bucket in self._buckets(tenant, user, kind):
                if (held := bucket.held(now_s)) < left:
                    least, left = bucket, held
            if least is not None:
                told[limit] = str(int(least.per_minute))
                told[remaining] = str(max(0, int(left)))
                told[reset] = duration(least.full_s(now_s))
        return told

    def changes(self) -> list[Level]:
        """The buckets that were taken from since the last call."""
        now_s, at = self._clock(), self._wall()
        changed, self._changed = self._changed, set()
        return [
            Level(*key, bucket.held(now_s), at)
            for key in changed
            if (bucket := self._peek(key)) is not None
        ]

    def restore(self, levels: list[Level]) -> None:
        """Go on where the process before this one ended."""
        for level in levels:
            bucket = self._find((level.tenant, level.user, level.kind))
            if bucket is not None:
                bucket.restore(level.held, self._wall() - level.at)

    def _take(
        self, buckets: list[tuple[Key, Bucket]], amount: float, tenant: str, user: str | None
    ) -> None:
        now_s = self._clock()
        waits_s = [bucket.wait_s(amount, now_s) for _, bucket in buckets]
        if (wait_s := max(waits_s)) > 0.0:
            (_, of_user, kind), bucket = buckets[waits_s.index(wait_s)]
            raise RateLimited(
                _refusal(kind, bucket.per_minute, amount, wait_s, of_user=of_user is not None),
                reason=f"{'user_' if of_user is not None else ''}{kind}_per_minute",
                retry_after_s=None if wait_s == math.inf else wait_s,
                headers=self.headers(tenant, user or ""),
                may_retry=wait_s < math.inf,
            )
        for key, each in buckets:
            each.take(amount)
            self._changed.add(key)

    def _buckets(self, tenant: str, user: str, kind: Kind) -> list[tuple[Key, Bucket]]:
        keys: tuple[Key, ...] = ((tenant, None, kind), (tenant, user, kind))
        return [(key, bucket) for key in keys if (bucket := self._find(key)) is not None]

    def _peek(self, key: Key) -> Bucket | None:
        return self._tenants.get(key) if key[1] is None else self._users.get(key)

    def _find(self, key: Key) -> Bucket | None:
        """The bucket, begun if need be; None where the config sets no limit."""
        tenant, user, kind = key
        per_minute = self._limits.get((tenant, user is not None, kind))
        if per_minute is None:
            return None
        bucket = self._peek(key)
        if bucket is None:
            return self._begun(key, per_minute)
        if bucket.per_minute != per_minute:
            bucket.resize(per_minute)
        if user is not None:
            self._users.touch(key)
        return bucket

    def _begun(self, key: Key, per_minute: float) -> Bucket:
        bucket = Bucket(per_minute, self._clock())
        if key[1] is None:
            self._tenants[key] = bucket
        else:
            self._users.put(key, bucket, key[0])
        return bucket


def _limits(config: TenantConfig) -> Iterator[tuple[bool, Kind, float | None]]:
    yield False, "requests", config.requests_per_minute
    yield False, "tokens", config.tokens_per_minute
    yield True, "requests", config.user_requests_per_minute
    yield True, "tokens", config.user_tokens_per_minute


def duration(seconds: float) -> str:
    """As OpenAI writes it: `duration(61.5) == "1m1.5s"`, `duration(0.02) == "20ms"`."""
    milliseconds = math.ceil(seconds * 1e3)
    if milliseconds < 1_000:  # noqa: PLR2004 - a second's
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    return (f"{minutes}m" if minutes else "") + f"{rest / 1e3:g}s"


def _refusal(kind: str, limit: float, amount: float, wait_s: float, *, of_user: bool) -> str:
    whose = "this user" if of_user else "this tenant"
    told = f"rate limit reached for {kind} per minute of {whose}: limit {limit:g}"
    if kind == "tokens":
        told += f", requested {amount:.0f}"
    if wait_s == math.inf:
        return f"{told}; a single request may not ask for more than a minute's"
    return f"{told}; try again in {duration(wait_s)}"
