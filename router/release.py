"""Which artifact serves, which is on trial at what share, and how it came to that: pure values.

1. Every change is a function from `State` to `State`; who keeps it is `router.registry`'s business.
2. A change that no longer applies (another candidate, another share) is none: two who see the same
   evidence at once make one step of it.
3. What served before is remembered, so that rolling back needs nobody's memory but this.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal, get_args

from router.errors import ArtifactError

SCHEMA: Final = 1

MAX_HISTORY: Final = 200
"""Chosen: a release a day for half a year; the file stays far under its bound."""

MAX_FORMER: Final = 20
"""Chosen: how far an operator may roll back, step by step."""

MAX_REASON: Final = 500
"""Chosen: characters; two or three sentences."""

Action = Literal[
    "adopted", "registered", "shadow", "canary", "promoted", "rolled_back", "activated"
]

_VERSION: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One line of the history.

    Attributes:
        at: Seconds since the epoch, UTC.
        who: Who made it: a person's login, or `sidecar`.
        action: What was done.
        version: To which artifact.
        share: Of the traffic that it decides from then on, in [0, 1].
        reason: Why.
    """

    at: float
    who: str
    action: Action
    version: str
    share: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Who changes it, when and why."""

    at: float
    who: str
    reason: str = ""

    def change(self, action: Action, version: str, share: float = 0.0) -> Change:
        """The history's line."""
        return Change(
            at=self.at,
            who=self.who[:64],
            action=action,
            version=version,
            share=share,
            reason=self.reason[:MAX_REASON],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What is released.

    Attributes:
        serving: Version that decides; empty before any was registered.
        base: Version that a config named last; a config that names another takes hold.
        candidate: Version on trial; empty if none is.
        share: Of the traffic that the candidate decides, in [0, 1); 0 is shadow: it is asked what
            it would do, and not heeded.
        former: Versions that served before, the latest last.
        history: What was done, the latest last.
    """

    serving: str = ""
    base: str = ""
    candidate: str = ""
    share: float = 0.0
    former: tuple[str, ...] = ()
    history: tuple[Change, ...] = ()

    @property
    def stage(self) -> Literal["none", "shadow", "canary"]:
        """How far a trial has come."""
        if not self.candidate:
            return "none"
        return "canary" if self.share > 0.0 else "shadow"

    def told(self, change: Change) -> State:
        """The same with one more line of history."""
        return replace(self, history=(*self.history, change)[-MAX_HISTORY:])

    def adopting(self, version: str, note: Note) -> State:
        """`version`, which a config names, serves; a trial under way ends."""
        changed = self._serving(version)
        return replace(changed, base=version).told(note.change("adopted", version, 1.0))

    def trying(self, version: str, note: Note, share: float = 0.0) -> State:
        """`version` is the candidate from now on, at `share`.

        Raises:
            ArtifactError: It serves already.
        """
        if version == self.serving:
            raise ArtifactError(f"{version} serves already")
        changed = replace(self, candidate=version, share=min(max(share, 0.0), 1.0))
        if changed.share >= 1.0:
            return self.activating(version, note)
        return changed.told(note.change(changed.stage_action, version, changed.share))

    @property
    def stage_action(self) -> Action:
        """The word for a candidate's beginning at this share."""
        return "canary" if self.share > 0.0 else "shadow"

    def stepping(self, version: str, share_before: float, share: float, note: Note) -> State:
        """The candidate's next share; at 1 it serves. Nothing if it has moved on already."""
        if (self.candidate, self.share) != (version, share_before):
            return self
        if share >= 1.0:
            return self._serving(version).told(note.change("promoted", version, 1.0))
        return replace(self, share=share).told(note.change("canary", version, share))

    def dropping(self, version: str, note: Note) -> State:
        """The candidate is taken back; nothing if it is no longer `version`."""
        if not version or self.candidate != version:
            return self
        changed = replace(self, candidate="", share=0.0)
        return changed.told(note.change("rolled_back", version))

    def activating(self, version: str, note: Note) -> State:
        """`version` serves at once; a trial under way ends."""
        return self._serving(version).told(note.change("activated", version, 1.0))

    def rolling_back(self, note: Note) -> State:
        """The trial ends; without one, what served before serves again.

        Raises:
            ArtifactError: Nothing did.
        """
        if self.candidate:
            return self.dropping(self.candidate, note)
        if not self.former:
            raise ArtifactError("there is nothing to roll back to: no other version has served")
        *former, version = self.former
        changed = replace(self, serving=version, former=tuple(former))
        return changed.told(note.change("rolled_back", self.serving))

    def _serving(self, version: str) -> State:
        former = self.former
        if self.serving and self.serving != version:
            former = (*former, self.serving)[-MAX_FORMER:]
        return replace(self, serving=version, former=former, candidate="", share=0.0)

    def to_map(self) -> dict[str, Any]:
        """As plain values."""
        return {"schema": SCHEMA, **asdict(self)}


def checked_version(name: str) -> str:
    """`name`, if it can be a version: what names a folder must not name another one.

    Raises:
        ArtifactError: It cannot.
    """
    if not _VERSION.fullmatch(name):
        raise ArtifactError("a version is 1 to 64 letters, digits, _ or -")
    return name


def parse_state(values: object) -> State:
    """The state that `to_map` made.

    Raises:
        ArtifactError: It is none, or of another schema.
    """
    if not isinstance(values, Mapping) or values.get("schema") != SCHEMA:
        raise ArtifactError(f"no release state of schema {SCHEMA}")
    try:
        share = float(values["share"])
        state = State(
            serving=_version_or_none(values["serving"]),
            base=_version_or_none(values["base"]),
            candidate=_version_or_none(values["candidate"]),
            share=share,
            former=tuple(checked_version(name) for name in values["former"][-MAX_FORMER:]),
            history=tuple(_change(one) for one in values["history"][-MAX_HISTORY:]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as fault:
        raise ArtifactError(f"the release state does not fit: {fault!r}") from fault
    if not 0.0 <= share < 1.0:
        raise ArtifactError(f"the candidate's share must lie in [0, 1), is {share}")
    return state


def _version_or_none(value: str) -> str:
    return checked_version(value) if value else ""


def _change(values: Mapping[str, Any]) -> Change:
    change = Change(**values)
    if change.action not in get_args(Action):
        raise ValueError(change.action)
    return change
