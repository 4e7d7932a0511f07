"""A request and what its caller wishes in, what the cache may do with it out.

Everything here is a table; nothing is kept. A reason is a few plain words for the
debug header and is empty where nothing is forbidden.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import orjson

from cache.phrases import is_time_bound, needs_context

_MAX_NUMBER_DIGITS: Final = 10
"""Chosen: ten digits of seconds are three centuries; RFC 9111 section 1.2.2 asks for 2**31."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheConfig:
    """The `[cache]` table.

    Attributes:
        enabled: False: every request goes upstream, and nothing is kept.
        ttl_s: An answer is served for so long; never longer for having been served.
        max_bytes: What memory may hold of entries.
        max_entry_bytes: A longer answer is not kept.
        max_temperature: A request that asks for more is sampled, and not cached. Unset is not more.
        cache_tool_calls: Requests with tools, and answers that call them, may be kept.
        ttl_jitter_ratio: Up to this share of the ttl is taken off, another for each entry, so that
            what was kept together does not expire together.
        stale_while_revalidate_s: For so long after it expired an answer is still served, while a
            new one is fetched behind it.
        stale_if_error_s: For so long after it expired it is served where every upstream failed.

    Raises:
        ValueError: A time or a size is negative, or the jitter no share.
    """

    enabled: bool = True
    ttl_s: float = 86_400.0
    # Chosen: a tenth spreads a day's entries over more than two hours.
    ttl_jitter_ratio: float = 0.1
    stale_while_revalidate_s: float = 0.0
    # Chosen: an hour outlives most failures of a vendor; a day-old answer is seldom worse for it.
    stale_if_error_s: float = 3_600.0
    max_bytes: int = 256 * 2**20
    max_entry_bytes: int = 2**20
    max_temperature: float = 0.5
    cache_tool_calls: bool = False

    def __post_init__(self) -> None:
        for name in (
            "ttl_s",
            "max_bytes",
            "max_entry_bytes",
            "max_temperature",
            "stale_while_revalidate_s",
            "stale_if_error_s",
        ):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")
        if not 0.0 <= self.ttl_jitter_ratio < 1.0:
            raise ValueError("ttl_jitter_ratio must lie in [0, 1)")

    @property
    def keep_stale_s(self) -> float:
        """How long an expired entry still takes room."""
        return max(self.stale_while_revalidate_s, self.stale_if_error_s)

    def lifetime_s(self, entry_id: int) -> float:
        """How long this entry is served: the ttl less its own share of the jitter."""
        # Multiples of the golden ratio fill [0, 1) evenly, however few of them there are.
        # Source: Knuth, The Art of Computer Programming, volume 3, section 6.4, theorem S.
        share = entry_id * 0.618033988749895 % 1.0
        return self.ttl_s * (1.0 - self.ttl_jitter_ratio * share)


@dataclass(frozen=True, slots=True, kw_only=True)
class SemanticConfig:
    """The `[cache.semantic]` table.

    Attributes:
        mode: `shadow` decides and does not serve.
        max_false_hit_rate: Upper bound on the share of hits that may be wrong, in (0, 1).
        min_similarity: The operator's own floor under the cosine; None: the risk model's alone.
        candidates: How many neighbours are looked at.
        max_index_bytes: What the partitions that were asked for lately may take of memory; only
            where a disk keeps the others.
        verifier: Folder of the network that is asked where the cheap look leaves doubt; `auto`
            takes the one that comes along, `off` none.
        verify_share: Share of semantic hits that are asked again and compared, in [0, 1].
        verify_budget_usd_per_hour: What that may cost; a check once begun is finished.
        verify_judge: The tier that is asked whether two answers say the same; empty asks none.

    Raises:
        ValueError: A value lies outside its range; the message names it.
    """

    mode: Literal["on", "shadow", "off"] = "on"
    max_false_hit_rate: float = 0.02
    min_similarity: float | None = None
    candidates: int = 5
    verifier: str = "auto"
    # Chosen: a partition of 1.7 million entries, or 17,000 of a hundred.
    max_index_bytes: int = 2**30
    # Chosen: a hundred hits for one more call; and at a large model's prices the budget buys some
    # twenty-five checks an hour.
    verify_share: float = 0.01
    verify_budget_usd_per_hour: float = 0.1
    verify_judge: str = ""

    def __post_init__(self) -> None:
        if not 0.0 < self.max_false_hit_rate < 1.0:
            raise ValueError("max_false_hit_rate must lie between 0 and 1")
        if self.min_similarity is not None and not -1.0 <= self.min_similarity <= 1.0:
            raise ValueError("min_similarity must lie in [-1, 1]")
        if self.candidates < 1:
            raise ValueError("candidates must be at least 1")
        if self.max_index_bytes < 2**20:
            raise ValueError(f"max_index_bytes must be at least {2**20}")
        if not 0.0 <= self.verify_share <= 1.0:
            raise ValueError("verify_share must lie between 0 and 1, both included")
        if self.verify_budget_usd_per_hour < 0.0:
            raise ValueError("verify_budget_usd_per_hour must not be negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheControl:
    """The request directives of `Cache-Control` that are honoured (RFC 9111, 5.2.1; RFC 5861)."""

    no_cache: bool = False
    no_store: bool = False
    only_if_cached: bool = False
    max_age_s: float | None = None
    stale_if_error_s: float | None = None


class Permit(NamedTuple):
    """What the cache may do with one request.

    Attributes:
        read: An answer already given may be served.
        write: The answer may be kept.
        semantic: Both may be done by meaning too.
        max_age_s: An older answer does not serve; None: any that has not expired.
        only_if_cached: Nobody is to be asked.
        stale_if_error_s: How long after it expired an answer may serve where nobody answers.
        reason: Why something is forbidden; empty if nothing is.
    """

    read: bool
    write: bool
    semantic: bool
    max_age_s: float | None = None
    only_if_cached: bool = False
    stale_if_error_s: float = 0.0
    reason: str = ""


def parse_cache_control(header: str) -> CacheControl:
    """`parse_cache_control("max-age=60, no-store").max_age_s == 60`.

    Raises:
        ValueError: A directive that needs a number of seconds has none; it is named.
    """
    said: dict[str, str] = {}
    for directive in header.split(","):
        name, _, value = directive.strip().partition("=")
        said[name.strip().lower()] = value.strip().strip('"')
    return CacheControl(
        no_cache="no-cache" in said,
        no_store="no-store" in said,
        only_if_cached="only-if-cached" in said,
        max_age_s=_seconds(said, "max-age"),
        stale_if_error_s=_seconds(said, "stale-if-error"),
    )


def _seconds(said: Mapping[str, str], name: str) -> float | None:
    if name not in said:
        return None
    value = said[name]
    if not (value.isascii() and value.isdigit() and len(value) <= _MAX_NUMBER_DIGITS):
        raise ValueError(f"{name} needs a whole number of seconds")
    return float(value)


def permit(
    body: Mapping[str, Any],
    question: str | None,
    control: CacheControl,
    config: CacheConfig,
    *,
    bypass: bool = False,
) -> Permit:
    """What the cache may do with the request `body`, whose last user turn says `question`."""
    reason = _forbidden(body, question, control, config, bypass=bypass)
    if reason:
        return Permit(
            read=False,
            write=False,
            semantic=False,
            only_if_cached=control.only_if_cached,
            reason=reason,
        )
    exact_only = _exact_only(body, question)
    stale_s = control.stale_if_error_s
    return Permit(
        read=not control.no_cache,
        write=True,
        semantic=not exact_only,
        max_age_s=control.max_age_s,
        only_if_cached=control.only_if_cached,
        stale_if_error_s=config.stale_if_error_s if stale_s is None else stale_s,
        reason="no-cache" if control.no_cache else exact_only,
    )


def _forbidden(
    body: Mapping[str, Any],
    question: str | None,
    control: CacheControl,
    config: CacheConfig,
    *,
    bypass: bool,
) -> str:
    """Why the cache may do nothing at all; empty if it may."""
    if not config.enabled:
        return "cache off"
    if bypass:
        return "bypass"
    checks = (
        (control.no_store, "no-store"),
        ((body.get("n") or 1) > 1, "n above 1"),
        ((body.get("temperature") or 0.0) > config.max_temperature, "sampled"),
        (_has_tools(body) and not config.cache_tool_calls, "tools"),
    )
    for applies, reason in checks:
        if applies:
            return reason
    # Last, for these read the whole question.
    if question is not None and needs_context(question):
        return "needs its context"
    return "time-bound" if question is not None and is_time_bound(question) else ""


def _has_tools(body: Mapping[str, Any]) -> bool:
    return bool(body.get("tools") or body.get("functions"))


def _exact_only(body: Mapping[str, Any], question: str | None) -> str:
    """Why meaning may not be compared; empty if it may."""
    if question is None:
        return "no question in plain text"
    messages = body.get("messages")
    if isinstance(messages, Sequence) and any(map(_has_media, messages)):
        return "more than text"
    return ""


def _has_media(message: Any) -> bool:
    content = message.get("content") if isinstance(message, Mapping) else None
    return isinstance(content, list) and any(
        not isinstance(part, Mapping) or part.get("type") != "text" for part in content
    )


def storable(body: Mapping[str, Any], config: CacheConfig) -> str:
    """Why the `chat.completion` object `body` may not be kept; empty if it may."""
    choices = body.get("choices")
    if "error" in body or not isinstance(choices, list) or not choices:
        return "no answer"
    reason = next(filter(None, (_unfit(choice, config) for choice in choices)), "")
    if reason:
        return reason
    return "too large" if len(orjson.dumps(body)) > config.max_entry_bytes else ""


def _unfit(choice: Any, config: CacheConfig) -> str:
    message = choice.get("message") if isinstance(choice, Mapping) else None
    if not isinstance(message, Mapping):
        return "no answer"
    calls_tool = bool(message.get("tool_calls") or message.get("function_call"))
    if calls_tool and not config.cache_tool_calls:
        return "calls a tool"
    finished = {"stop", "tool_calls", "function_call"} if calls_tool else {"stop"}
    if choice.get("finish_reason") not in finished:
        return "not finished"
    if message.get("refusal"):
        return "refused"
    content = message.get("content")
    is_empty = not (isinstance(content, str) and content.strip())
    return "empty" if is_empty and not calls_tool else ""
