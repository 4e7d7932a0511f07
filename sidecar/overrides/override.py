"""The operator's switches as values: which are set, and what they come to for one tenant.

Rule 1: every switch has an end and a reason; nothing is off for ever, and nobody wonders why.
Rule 2: setting what is set already replaces it: there is one a switch, tenant and, for
        `block-model`, value.
Rule 3: one that names a tenant holds for that tenant alone; several add up, the narrower tier wins.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, NamedTuple, Self, get_args

import orjson

Switch = Literal[
    "semantic-off", "cache-off", "cascade-off", "force-tier", "block-model", "read-only"
]
SWITCHES: Final[tuple[Switch, ...]] = get_args(Switch)

VALUED: Final = frozenset({"force-tier", "block-model"})
"""Those that name a tier, or a tier or model."""

MAX_HELD: Final = 64
"""Chosen: more switches than an operator can keep in mind are a config, not an emergency."""

MAX_EXPIRES_S: Final = 30 * 86_400.0
"""Chosen: what is to hold for longer than a month belongs in the config."""

MAX_REASON: Final = 500
"""Chosen: characters; two or three sentences."""

MAX_NAME: Final = 128
"""Chosen: characters; longer than any vendor's model id."""


class Key(NamedTuple):
    """What there is one of."""

    switch: str
    value: str
    tenant: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """One switch, set.

    Attributes:
        switch: Which.
        value: The tier of `force-tier`, the tier or model of `block-model`; empty for the others.
        tenant: Whom it holds for; empty for all.
        reason: Why, in the operator's words.
        set_at: When, in seconds since the epoch, UTC.
        expires_at: Until when.

    Raises:
        ValueError: A field is missing, too long or of no use to this switch; it is named.
    """

    switch: Switch
    value: str = ""
    tenant: str = ""
    reason: str
    set_at: float
    expires_at: float

    def __post_init__(self) -> None:
        if self.switch not in SWITCHES:
            raise ValueError(f"switch must be one of {', '.join(SWITCHES)}")
        if (self.switch in VALUED) != bool(self.value):
            needs = "must name a tier" if self.switch in VALUED else "must be left out"
            raise ValueError(f"value {needs} for {self.switch}")
        for name, longest in (("value", MAX_NAME), ("tenant", MAX_NAME), ("reason", MAX_REASON)):
            text = getattr(self, name)
            if len(text) > longest or not text.isprintable():
                raise ValueError(f"{name} must be at most {longest} printable characters")
        if not self.reason.strip():
            raise ValueError("reason must say why")
        if not 0.0 < self.expires_at - self.set_at <= MAX_EXPIRES_S:
            raise ValueError(f"expires_in_s must lie in (0, {MAX_EXPIRES_S:.0f}]")

    @property
    def key(self) -> Key:
        """What it replaces, and is lifted by."""
        value = self.value if self.switch == "block-model" else ""
        return Key(self.switch, value, self.tenant)

    def to_map(self) -> dict[str, Any]:
        """Plain values; `from_map` takes them back."""
        return asdict(self)

    @classmethod
    def from_map(cls, values: Mapping[str, Any]) -> Self:
        """Raises ValueError: it is none that `to_map` made."""
        odd = [name for name in _FIELDS[:4] if not isinstance(values.get(name), str)]
        odd += [name for name in _FIELDS[4:] if not isinstance(values.get(name), int | float)]
        if odd:
            raise ValueError(f"{odd[0]} is missing, or of the wrong kind")
        return cls(**{name: values[name] for name in _FIELDS})


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What the switches come to for one request.

    Attributes:
        switches: Those that hold, for headers and logs.
        semantic: Answers may be found by meaning.
        cache: Answers may be read and kept at all.
        cascade: A better tier may be asked for a better answer.
        writes: Anything may be written: cache, log, feedback, what is learnt.
        forced: The tier that every `auto` goes to; empty if none.
        blocked: Tiers and models that are not to be asked.
        until_at: When the first of them ends; None if none holds.
    """

    switches: tuple[Switch, ...] = ()
    semantic: bool = True
    cache: bool = True
    cascade: bool = True
    writes: bool = True
    forced: str = ""
    blocked: frozenset[str] = frozenset()
    until_at: float | None = None

    def blocks(self, tier: str, model: str) -> bool:
        """The tier, or the model that it asks for, is taken out of the ladder."""
        return tier in self.blocked or model in self.blocked

    @property
    def mark(self) -> bytes:
        """Equal for equal rulings; empty where nothing holds."""
        if not self.switches:
            return b""
        told = [self.switches, self.forced, sorted(self.blocked)]
        return hashlib.sha256(orjson.dumps(told)).digest()

    @property
    def learns(self) -> bool:
        """What is served may be watched, and asked again of the tier that answered."""
        return self.writes and not self.blocked


_FIELDS: Final = ("switch", "value", "tenant", "reason", "set_at", "expires_at")

UNRULED: Final = Ruling()
"""No switch is set: everything works as the config says."""


@dataclass(frozen=True, slots=True)
class Overrides:
    """The switches that are set; a new value whenever one is."""

    held: tuple[Override, ...] = ()

    def adding(self, override: Override) -> Overrides:
        """With `override`, in the place of the one of its key.

        Raises:
            ValueError: As many as may be are set.
        """
        others = self.less(override.key).held
        if len(others) >= MAX_HELD:
            raise ValueError(f"at most {MAX_HELD} overrides may be set at once")
        return Overrides((*others, override))

    def less(self, key: Key) -> Overrides:
        """Without the one of that key."""
        return Overrides(tuple(each for each in self.held if each.key != key))

    def at(self, now_at: float) -> Overrides:
        """Those that have not expired by then."""
        alive = tuple(each for each in self.held if now_at < each.expires_at)
        return self if len(alive) == len(self.held) else Overrides(alive)

    def ruling(self, tenant: str, now_at: float) -> Ruling:
        """What they come to for a request of `tenant`."""
        if not self.held:
            return UNRULED
        mine = [each for each in self.at(now_at).held if each.tenant in {"", tenant}]
        if not mine:
            return UNRULED
        names = {each.switch for each in mine}
        # The tenant's own stands behind the common one, and so has the last word.
        forced = [e.value for e in sorted(mine, key=_narrowness) if e.switch == "force-tier"]
        return Ruling(
            switches=tuple(switch for switch in SWITCHES if switch in names),
            semantic="semantic-off" not in names,
            cache="cache-off" not in names,
            cascade="cascade-off" not in names,
            writes="read-only" not in names,
            forced=forced[-1] if forced else "",
            blocked=frozenset(each.value for each in mine if each.switch == "block-model"),
            until_at=min(each.expires_at for each in mine),
        )

    def active(self, switch: Switch, now_at: float) -> int:
        """How many of that switch hold, for whomever."""
        return sum(each.switch == switch for each in self.at(now_at).held)


def _narrowness(override: Override) -> bool:
    return bool(override.tenant)
