"""Invalidations in, whether an entry is older than one of them out.

Every invalidation raises one number, the epoch, and leaves a mark: what it named, and the epoch
that it raised. An entry carries the epoch that stood when its question was asked; it is void if
anything that names it was marked later. So an answer that was on its way while it was invalidated
is never kept, and one that a torn deletion left on disk is never loaded.

Rule 1: the epoch only rises; a restart goes on from the highest that was kept.
Rule 2: the marks on a tenant and on everything are part of the keys (`of_tenant`).
Rule 3: a mark on everything makes all before it moot, and they are forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, get_args

from cache.entry import UNKNOWN_PROMPT, Entry

By = Literal["entry", "tag", "namespace", "tenant", "model", "prompt", "all"]
KINDS: Final[tuple[By, ...]] = get_args(By)

MAX_MARKS: Final = 10_000
"""Chosen: beyond it everything is marked at once, which forgets too much and never too little."""


@dataclass(frozen=True, slots=True)
class Selector:
    """Which entries an invalidation names.

    Attributes:
        by: What is compared.
        value: Of it: a tag, a namespace, a tenant, a tier's or vendor's model, the version of a
            prompt, or an entry's fingerprint as hex; empty for `all`, for the namespace without a
            name, and for what was asked without a prompt.
        tenant: Whose entries alone; empty for everybody's.
    """

    by: By
    value: str = ""
    tenant: str = ""

    def covers(self, entry: Entry) -> bool:
        """`entry` is named by it."""
        if self.tenant not in {"", entry.tenant}:
            return False
        match self.by:
            case "all":
                return True
            case "tenant":
                named: tuple[str, ...] = (entry.tenant,)
            case "entry":
                named = (entry.fingerprint.hex(),)
            case "namespace":
                named = (entry.namespace,)
            case "model":
                named = (entry.model, entry.tier)
            case "prompt":
                if entry.prompt == UNKNOWN_PROMPT:
                    return True
                named = (entry.prompt,)
            case "tag":
                named = entry.tags
        return self.value in named


EVERYTHING: Final = Selector("all")


@dataclass(frozen=True, slots=True)
class Mark:
    """One invalidation.

    Attributes:
        selector: What it named.
        epoch: What it raised the epoch to.
        raised_at: Seconds since the epoch of time, UTC.
    """

    selector: Selector
    epoch: int
    raised_at: float


def selectors_of(entry: Entry) -> Iterator[Selector]:
    """Every selector that names `entry`, the most general first."""
    yield EVERYTHING
    yield Selector("tenant", entry.tenant)
    for tenant in ("", entry.tenant):
        yield Selector("entry", entry.fingerprint.hex(), tenant)
        yield Selector("namespace", entry.namespace, tenant)
        yield Selector("model", entry.model, tenant)
        yield Selector("model", entry.tier, tenant)
        yield Selector("prompt", entry.prompt, tenant)
        for tag in entry.tags:
            yield Selector("tag", tag, tenant)


class Epochs:
    """The marks in force. One owner; nothing in here takes a lock."""

    def __init__(self) -> None:
        self.now = 0
        self._marks: dict[Selector, Mark] = {}

    def __len__(self) -> int:
        return len(self._marks)

    def restore(self, marks: Iterable[Mark], newest: int) -> None:
        """Go on from what an earlier process kept; `newest` is the highest epoch of any entry."""
        for mark in marks:
            self._marks[mark.selector] = mark
        self.now = max([self.now, newest, *(mark.epoch for mark in self._marks.values())])

    def of_tenant(self, tenant: str) -> int:
        """What stands in the tenant's keys: the newest mark on it or on everything."""
        if not self._marks:
            return 0
        marks = (self._marks.get(EVERYTHING), self._marks.get(Selector("tenant", tenant)))
        return max((mark.epoch for mark in marks if mark is not None), default=0)

    def voids(self, entry: Entry) -> bool:
        """`entry` was asked for before something that names it was invalidated."""
        if entry.epoch >= self.now:
            return False
        if entry.prompt == UNKNOWN_PROMPT:  # any prompt's mark may be its own: look at them all
            marks = self._marks.values()
            return any(mark.epoch > entry.epoch and mark.selector.covers(entry) for mark in marks)
        found = (self._marks.get(selector) for selector in selectors_of(entry))
        return any(mark is not None and mark.epoch > entry.epoch for mark in found)

    def raise_for(self, selector: Selector, now_at: float) -> Mark:
        """Mark what `selector` names as void up to now; the mark, which may name more."""
        if len(self._marks) >= MAX_MARKS:
            selector = EVERYTHING
        if selector == EVERYTHING:
            self._marks.clear()
        self.now += 1
        mark = self._marks[selector] = Mark(selector, self.now, now_at)
        return mark
