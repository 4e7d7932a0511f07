"""The operator's rules and what is known of a request in, the first rule that it meets out.

1. Rules come before the classifier, in the order in which they are written; the first whose every
   condition holds is the one. Within a condition that lists several words, any of them will do,
   but for `capabilities`, of which all must be needed.
2. A rule by `examples` is met by meaning: it can only be told once the question has a vector. Until
   then it is a *candidate*; the rules behind it stand back until it is settled.
3. What binds (upstreams that the request may not leave) must never hang on meaning, which may be
   missing: such a rule has no examples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from router.language import LANGUAGES, language
from router.quality import quality_of
from router.tiers import CAPABILITIES

MAX_RULES: Final = 64
MAX_EXAMPLES: Final = 64
MAX_ALL_EXAMPLES: Final = 512
MAX_EXAMPLE_CHARACTERS: Final = 500
"""Chosen: a few sentences make a route; all rules' examples are encoded at once when the config is
read, some milliseconds each, and are compared with every question."""

SECRET_HEADERS: Final = frozenset({"x-api-key", "x-auth-token", "x-amz-security-token"})

Floats = NDArray[np.float32]

_CONDITIONS: Final = (
    *("regex", "path", "tags", "tenants", "languages", "headers"),
    *("capabilities", "min_tokens", "max_tokens", "examples"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """What a request must be like; what is left out holds for every request.

    Attributes:
        regex: RE2 pattern that some message's text holds.
        path: Of the URL, from its beginning: `/v1/chat`.
        tags: The caller's `x-sidecar-tags` hold one of these.
        tenants: It is of one of these.
        languages: The question is written in one of these, as two letters; see `router.language`.
        headers: Each of these `x-` headers has this value.
        capabilities: It needs all of these: `vision`, `tools`, `json_schema` ...
        min_tokens: The prompt is estimated at so many or more.
        max_tokens: At so many or fewer; 0 sets no bound.
        examples: The question means something like one of these.
        min_similarity: How like: cosine of the vectors.
        by: The likeness of the nearest example (`max`) or of all of them on average (`mean`).

    Raises:
        ValueError: A value is out of its range, or nothing is asked for.
    """

    regex: str = ""
    path: str = ""
    tags: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    capabilities: frozenset[str] = frozenset()
    min_tokens: int = 0
    max_tokens: int = 0
    examples: tuple[str, ...] = ()
    # Measured: banking77, five examples of each of 77 intents, 20 other questions of each: `max`
    # at .6 meets 86 % of the same intent's and 2.7 % of all others'; at .7 66 % and .6 %.
    min_similarity: float = 0.6
    by: Literal["max", "mean"] = "max"

    def __post_init__(self) -> None:
        if not any(getattr(self, name) for name in _CONDITIONS):
            raise ValueError("asks for nothing: every request would meet it")
        for name, known in (("languages", LANGUAGES), ("capabilities", CAPABILITIES)):
            if strange := sorted(set(getattr(self, name)) - known):
                raise ValueError(f"{name}: {strange[0]!r} is none of {', '.join(sorted(known))}")
        for name in self.headers:
            if not name.startswith("x-") or name.lower() != name or name in SECRET_HEADERS:
                raise ValueError(f"headers: {name!r} must begin with x-, in small letters, no key")
        if min(self.min_tokens, self.max_tokens) < 0 or 0 < self.max_tokens < self.min_tokens:
            raise ValueError("min_tokens and max_tokens must be a range")
        if len(self.examples) > MAX_EXAMPLES:
            raise ValueError(f"examples: at most {MAX_EXAMPLES}")
        if any(not 0 < len(text.strip()) <= MAX_EXAMPLE_CHARACTERS for text in self.examples):
            raise ValueError(f"examples: each must be 1 to {MAX_EXAMPLE_CHARACTERS} characters")
        if not 0.0 < self.min_similarity <= 1.0:
            raise ValueError("min_similarity must lie in (0, 1]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where such a request goes; of `auto` alone, for a caller who names a tier gets it.

    Attributes:
        tier: It is asked of this tier, and of another only if this one fails.
        min_tier: The lowest tier that may be asked.
        max_tier: The highest.
        quality: The point on the curve, unless the caller names one.

    Raises:
        ValueError: The tier stands beside bounds, or the quality is none.
    """

    tier: str = ""
    min_tier: str = ""
    max_tier: str = ""
    quality: float | str = ""

    def __post_init__(self) -> None:
        if self.tier and (self.min_tier or self.max_tier or self.quality != ""):
            raise ValueError("tier leaves nothing for min_tier, max_tier and quality to say")
        if self.quality != "":
            quality_of(self.quality)

    @property
    def tiers(self) -> tuple[str, ...]:
        """Every tier that it names."""
        return tuple(name for name in (self.tier, self.min_tier, self.max_tier) if name)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleConfig:
    """One of `[router] rules`.

    Attributes:
        name: How headers, metrics and the log call it.
        when: What a request must be like.
        route: Where it goes.
        upstreams: Nobody else is asked for anything of such a request; empty binds nothing.

    Raises:
        ValueError: It is nameless, says nothing, or binds by meaning.
    """

    name: str
    when: When
    route: Route = field(default_factory=Route)
    upstreams: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.name or not self.name.isascii() or not self.name.isprintable():
            raise ValueError("name must be some plain characters")
        if self.route == Route() and not self.upstreams:
            raise ValueError("says nothing: neither a route nor upstreams")
        if self.when.examples and self.upstreams:
            raise ValueError("upstreams cannot hang on examples: a question may have no vector")


class Facts(NamedTuple):
    """What is known of a request before its question has a vector.

    Attributes:
        texts: Of all its messages.
        question: The last one, if it is text; else empty.
        path: Of the URL.
        tags: The caller's.
        tenant: Whose it is.
        headers: Those that begin with x-, names in small letters.
        capabilities: What it needs.
        tokens: Estimated, of the prompt.
    """

    texts: Sequence[str]
    question: str
    path: str
    tags: Sequence[str]
    tenant: str
    headers: Mapping[str, str]
    capabilities: frozenset[str]
    tokens: int


class Rule(NamedTuple):
    """A rule, its pattern compiled by whoever may."""

    config: RuleConfig
    holds: Callable[[str], bool] | None = None

    @property
    def name(self) -> str:
        """As the config has it."""
        return self.config.name


class Met(NamedTuple):
    """What a request meets.

    Attributes:
        rule: The first whose conditions hold, those by examples apart; None if there is none.
        candidates: Rules by examples before that one, whose other conditions hold.
    """

    rule: Rule | None = None
    candidates: tuple[Rule, ...] = ()

    @property
    def mark(self) -> str:
        """Equal for requests that are to be treated alike; empty where no rule speaks."""
        named = [*self.candidates, *([self.rule] if self.rule is not None else [])]
        return "\n".join(rule.name for rule in named)


NOTHING: Final = Met()


def first_met(
    rules: Sequence[Rule], facts: Facts, language_of: Callable[[str], str] = language
) -> Met:
    """Which rule a request meets."""
    candidates: list[Rule] = []
    for rule in rules:
        if not _holds(rule, facts, language_of):
            continue
        if not rule.config.when.examples:
            return Met(rule, tuple(candidates))
        if facts.question:
            candidates.append(rule)
    return Met(None, tuple(candidates)) if candidates else NOTHING


def _holds(rule: Rule, facts: Facts, language_of: Callable[[str], str]) -> bool:
    """Every condition but likeness, the cheap ones first."""
    when = rule.config.when
    return (
        when.min_tokens <= facts.tokens <= (when.max_tokens or math.inf)
        and (not when.tenants or facts.tenant in when.tenants)
        and facts.path.startswith(when.path)
        and (not when.tags or not set(when.tags).isdisjoint(facts.tags))
        and when.capabilities <= facts.capabilities
        and all(facts.headers.get(name) == value for name, value in when.headers.items())
        and (not when.languages or language_of(facts.question) in when.languages)
        and (rule.holds is None or any(map(rule.holds, facts.texts)))
    )


def likeness(examples: Floats, vector: Floats, by: Literal["max", "mean"]) -> float:
    """How like `vector` is to a rule's examples, (n, dim) float32, all of unit length."""
    cosines = examples @ vector
    return float(cosines.max() if by == "max" else cosines.mean())


def first_meant(
    candidates: Sequence[Rule], examples: Mapping[str, Floats], vector: Floats | None
) -> Rule | None:
    """The first candidate that the question is like enough to; None without a vector."""
    if vector is None:
        return None
    for rule in candidates:
        when, known = rule.config.when, examples.get(rule.name)
        fits = known is not None and known.shape[1:] == vector.shape
        if known is not None and fits and likeness(known, vector, when.by) >= when.min_similarity:
            return rule
    return None
