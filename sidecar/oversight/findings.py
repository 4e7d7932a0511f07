"""What was found out about hits in; entries forgotten, pairs rejected or promoted, all told."""

from __future__ import annotations

import logging
from collections.abc import Callable
from decimal import Decimal
from typing import Protocol

from cache.entry import EntryId
from cache.rejections import Question
from cache.standing import Change, Owner, State
from cache.trust import Trust
from sidecar.oversight.checks import Check, Verdict


class Meter(Protocol):
    """Where counts go."""

    def verified(self, outcome: str, cost_usd: Decimal) -> None:
        """One hit was checked, or could not be."""
        ...

    def quarantined(self) -> None:
        """One entry was taken out for having served wrongly."""
        ...


class Findings:
    """Acts on them. Lives on the event loop's thread."""

    def __init__(
        self,
        *,
        trust: Trust,
        forget: Callable[[EntryId], bool],
        meter: Meter,
        logger: logging.Logger,
    ) -> None:
        """`forget` takes an entry out of memory, index and disk; False if it was not kept."""
        self._trust = trust
        self._forget = forget
        self._meter = meter
        self._logger = logger

    def served(self, partition: bytes, risk: float, owner: Owner) -> None:
        """A hit by meaning went out."""
        self._tell(partition, self._trust.served(partition, risk, owner))

    def checked(self, check: Check, verdict: Verdict, cost_usd: Decimal) -> None:
        """A check came to its end."""
        self._meter.verified(verdict, cost_usd)
        if verdict not in {"right", "wrong"}:
            return
        is_right, entry = verdict == "right", check.entry
        if check.kind != "near":
            change = self._trust.checked(
                check.partition,
                entry.entry_id,
                is_right=is_right,
                is_sample=check.kind != "watched",
                owner=Owner(entry.tenant, entry.namespace),
            )
            self._tell(check.partition, change)
        elif is_right:
            self._trust.stood(entry.entry_id, entry.tenant)
            self._trust.promote(entry.entry_id, check.asked.text, entry.tenant)
        if not is_right:
            self._trust.reject(check.partition, check.asked, check.kept, entry.tenant)
        if not is_right and check.kind in {"served", "watched"}:
            self.quarantine(entry.entry_id)

    def bad(
        self, partition: bytes, entry_id: EntryId, asked: Question, kept: Question, tenant: str
    ) -> None:
        """Somebody said of a hit by meaning that it was wrong."""
        self._tell(partition, self._trust.bad(partition, Owner(tenant)))
        self._trust.reject(partition, asked, kept, tenant)
        self.quarantine(entry_id)

    def quarantine(self, entry_id: EntryId) -> None:
        """Take an entry out, if it is still kept."""
        self._trust.forget(entry_id)
        if self._forget(entry_id):
            self._meter.quarantined()
            self._logger.info("entry quarantined", extra={"facts": {"entry": entry_id}})

    def _tell(self, partition: bytes, change: Change | None) -> None:
        if change is None:
            return
        worse = change.after is State.OFF or change.before is State.OPEN
        facts = {
            "partition": partition.hex(),
            "before": change.before.value,
            "after": change.after.value,
        }
        level = logging.WARNING if worse else logging.INFO
        self._logger.log(level, "semantic tier of a partition", extra={"facts": facts})
