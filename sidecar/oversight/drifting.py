"""Requests that are over and feedback in; how far traffic has drifted from the artifact, out.

One artifact is watched, the one that serves; with another one all begins anew. An alarm that is
raised or cleared is logged once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final, Protocol

from cache.shelf import Shelf
from router.drift import KINDS, Kind, Known, Standing, Watch
from router.signals import conclusion
from sidecar import answer
from sidecar.ledger import Ledger
from sidecar.outcome import Outcome
from sidecar.traffic.record import FeedbackRecord

MAX_SEEN: Final = 5_000
"""Chosen: answers that feedback finds again, 200 bytes each."""


class Artifact(Protocol):
    """What serves."""

    @property
    def version(self) -> str:
        """Its name."""
        ...

    @property
    def known(self) -> Known | None:
        """What it was fitted on."""
        ...


class Drifting:
    """Watches the traffic. Lives on the event loop's thread."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._version = ""
        self._watch = Watch(None)
        self._alarmed: frozenset[Kind] = frozenset()
        self._seen: Shelf[str, tuple[str, str, float]] = Shelf(MAX_SEEN)

    @property
    def standings(self) -> Mapping[Kind, Standing]:
        """By kind."""
        return self._watch.standings

    @property
    def is_wary(self) -> bool:
        """What is asked is unlike what the artifact was fitted on."""
        return "input" in self._alarmed

    def rows(self) -> Iterator[tuple[tuple[str], float]]:
        """By kind, how far; see `router.drift`."""
        for kind, standing in self._watch.standings.items():
            yield (kind,), standing.value

    def alarms(self) -> Iterator[tuple[tuple[str], float]]:
        """By kind, 1 while its alarm is raised."""
        for kind, standing in self._watch.standings.items():
            yield (kind,), float(standing.is_alarmed)

    def report(self) -> dict[str, Any]:
        """As an operator reads it."""
        kinds = {
            kind: {"value": each.value, "alarmed": each.is_alarmed, "seen": each.seen}
            for kind, each in self._watch.standings.items()
        }
        return {"artifact": self._version, "kinds": kinds}

    def ended(self, ledger: Ledger, outcome: Outcome, artifact: Artifact) -> None:
        """A climb that the router decided ended well."""
        decision = outcome.decision
        if not decision.probabilities or decision.version not in {"", artifact.version}:
            return
        if artifact.version != self._version:
            self._version, self._watch = artifact.version, Watch(artifact.known)
        self._watch.decided(decision.strangeness, decision.probabilities)
        self._compare(outcome)
        if outcome.judgement is not None:
            inquiry = ledger.inquiry
            tenant, confidence = inquiry.caller.tenant, outcome.judgement.confidence
            self._seen.put(inquiry.request_id, (tenant, self._version, confidence), tenant)
        self._tell()

    def _compare(self, outcome: Outcome) -> None:
        """The final answers of the first two tiers that gave one."""
        bodies = (each.body for each in outcome.attempts if each.body is not None)
        two = [*islice(bodies, 2)]
        if len(two) < 2:  # noqa: PLR2004 - one agrees with nobody
            return
        reached = [conclusion(answer.text(body)) for body in two]
        if all(reached):
            self._watch.agreed(same=reached[0] == reached[1])

    def feedback(self, record: FeedbackRecord) -> None:
        """Somebody scored an answer; of the tenant whose it was, once."""
        seen = self._seen.get(record.request_id)
        if seen is None or record.score is None or seen[0] != record.tenant:
            return
        self._seen.pop(record.request_id)
        if seen[1] == self._version:
            self._watch.scored(seen[2], min(1.0, max(0.0, record.score)))
            self._tell()

    def _tell(self) -> None:
        standings = self._watch.standings
        alarmed = frozenset(kind for kind in KINDS if standings[kind].is_alarmed)
        for kind in sorted(alarmed ^ self._alarmed):
            facts = {
                "kind": kind,
                "artifact": self._version,
                "raised": kind in alarmed,
                "value": round(standings[kind].value, 4),
            }
            self._logger.warning("router drift", extra={"facts": facts})
        self._alarmed = alarmed
