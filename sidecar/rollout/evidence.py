"""Requests that are over and what was said of them in; what each arm came to out.

Counts are this process's own and begin anew with each stage of a trial.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

from cache.shelf import Shelf
from router.decision import Decision
from router.release import State
from sidecar.ledger import Ledger
from sidecar.rollout.guard import Tally
from sidecar.traffic.record import FeedbackRecord, Source

MAX_SEEN: Final = 5_000
"""Chosen: requests that a score may still speak of, as in oversight; some 200 bytes each."""

_TOLD: Final = 1
_SURETY: Final[Mapping[Source, int]] = {"": 2, "review": 3}
"""Whose word stands: another tier's gives way to the caller's, and that to a reviewer's."""


class _Seen(NamedTuple):
    """A request that a score or a label may speak of, and how sure what was said of it is."""

    tenant: str
    version: str
    said: float | None = None
    surety: int = 0


class Evidence:
    """The tallies of the arms, by version. One owner: the rollout."""

    def __init__(self) -> None:
        self._tallies: dict[str, Tally] = {}
        self._seen: Shelf[str, _Seen] = Shelf(MAX_SEEN)

    def begin_anew(self) -> None:
        """Another stage: nothing of before counts."""
        self._tallies = {}

    def of(self, version: str) -> Tally:
        """What that artifact came to so far."""
        return self._tallies.setdefault(version, Tally())

    def told(self, version: str) -> dict[str, Any]:
        """The same, for the operator."""
        return self._tallies.get(version, Tally()).told()

    def add(self, ledger: Ledger, cost_usd: Decimal, state: State) -> bool:
        """A request is over that was decided while `state` held; whether it counts."""
        decision = ledger.decision
        if decision is None or not state.candidate or decision.reason == "only_one":
            return False
        tally = self.of(decision.version)
        tally.requests += 1
        tally.errors.add(float(_has_failed(ledger)))
        if ledger.outcome is not None:
            tally.escalations.add(float(ledger.outcome.escalations > 0))
            tally.cost_usd.add(float(cost_usd))
        if decision.rival == state.candidate:
            self._count_rival(decision, state)
        seen = _Seen(ledger.inquiry.caller.tenant, decision.version)
        self._seen.put(ledger.inquiry.request_id, seen, seen.tenant)
        return True

    def _count_rival(self, decision: Decision, state: State) -> None:
        rival = self.of(decision.rival)
        if decision.rival_entry is None:
            rival.faults += 1
        elif state.stage == "shadow":
            rival.requests += 1
        rival.differs += decision.rival_entry not in {None, decision.entry}

    def scored(self, record: FeedbackRecord) -> bool:
        """Somebody scored an answer, and the last word counts; whether it does."""
        if record.score is None:
            return False
        surety = _SURETY[record.source]
        return self._hear(record.request_id, record.tenant, record.score, surety)

    def labelled(self, request_id: str, tenant: str, score: float) -> bool:
        """Another tier's word: an answer would have stood, or not, 0 to 1; whether it counts."""
        return self._hear(request_id, tenant, score, _TOLD)

    def _hear(self, request_id: str, tenant: str, score: float, surety: int) -> bool:
        """Of an answer only its own tenant is believed."""
        seen = self._seen.get(request_id)
        if seen is None or seen.tenant != tenant or seen.version not in self._tallies:
            return False
        if surety < seen.surety:
            return False
        quality = self._tallies[seen.version].quality
        if seen.said is None:
            quality.add(score)
        else:
            quality.replace(seen.said, score)
        self._seen.put(request_id, seen._replace(said=score, surety=surety), tenant)
        return True


def _has_failed(ledger: Ledger) -> bool:
    """Nobody was answered, and that was not for the caller's leaving or his own mistake."""
    return ledger.outcome is None and ledger.status >= 500  # noqa: PLR2004 - HTTP's own
